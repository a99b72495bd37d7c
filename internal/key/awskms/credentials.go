// SPDX-License-Identifier: Apache-2.0

package awskms

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials/stscreds"
	"github.com/aws/aws-sdk-go-v2/service/sts"
)

const (
	// renewBefore is how long before its end a session is renewed. Until the end
	// a failed renewal does no harm.
	renewBefore = 5 * time.Minute
	// renewAgain is how soon a failed renewal is tried again.
	renewAgain = 10 * time.Second
	// assumeTimeout bounds one request to STS. All callers wait for the same, and
	// the cache takes it out of their deadlines.
	assumeTimeout = 5 * time.Second

	sessionName = "hsmsigner" // in CloudTrail
)

// credentials is what requests are signed with.
type credentials struct {
	provider aws.CredentialsProvider
	static   *static               // nil with an ambient identity
	session  *aws.CredentialsCache // of the role or of the ambient identity; nil with static keys alone
}

// credentials makes the chain that the configuration asks for, and nothing
// besides: clients are built from their options, never from the environment,
// unless Ambient is given.
func (c *Config) credentials(ctx context.Context, client *http.Client) (*credentials, error) {
	creds := &credentials{}
	if c.Ambient == nil {
		creds.static = &static{id: c.AccessKeyID, secret: c.Secret}
		creds.provider = creds.static
	} else {
		options := []func(*config.LoadOptions) error{config.WithRegion(c.Region)}
		if c.Ambient.Profile != "" {
			options = append(options, config.WithSharedConfigProfile(c.Ambient.Profile))
		}
		loaded, err := config.LoadDefaultConfig(ctx, options...)
		if err != nil {
			return nil, fmt.Errorf("ambient identity: %w", err)
		}
		var ok bool
		if creds.session, ok = loaded.Credentials.(*aws.CredentialsCache); !ok {
			creds.session = aws.NewCredentialsCache(loaded.Credentials)
		}
		creds.provider = creds.session
	}
	if c.RoleARN == "" {
		return creds, nil
	}
	asker := sts.New(sts.Options{
		Region: c.Region, Credentials: creds.provider, HTTPClient: client, Retryer: aws.NopRetryer{},
		BaseEndpoint: optional(c.STSEndpoint), EndpointOptions: sts.EndpointResolverOptions{UseFIPSEndpoint: fips(c.FIPS)},
	})
	assume := stscreds.NewAssumeRoleProvider(asker, c.RoleARN, func(o *stscreds.AssumeRoleOptions) {
		o.RoleSessionName = sessionName
		o.Duration = time.Hour // what every role allows, and the most that one assumed from another allows
		o.ExternalID = optional(c.ExternalID)
	})
	creds.session = aws.NewCredentialsCache(&patient{AssumeRoleProvider: assume}, func(o *aws.CredentialsCacheOptions) {
		o.ExpiryWindow = renewBefore
	})
	creds.provider = creds.session
	return creds, nil
}

// mark is a moment in the life of a credential: what a request was signed with.
type mark int

func (c *credentials) mark() mark {
	if c.static == nil {
		return 0
	}
	return c.static.mark()
}

// refused is told that AWS did not take a credential of the moment m. It reports
// whether there is another one now, so that asking again makes sense.
func (c *credentials) refused(m mark, expired bool) bool {
	renewed := c.static != nil && c.static.refused(m)
	if c.session != nil && (renewed || expired) {
		c.session.Invalidate()
		return true
	}
	return renewed
}

func (c *credentials) forget() {
	if c.session != nil {
		c.session.Invalidate()
	}
	if c.static != nil {
		c.static.forget()
	}
}

// errSecret marks the failure of Config.Secret.
var errSecret = errors.New("secret access key")

// static gives the configured access key, which it reads again when it was
// refused.
type static struct {
	id     string
	secret func() (string, error)

	mu     sync.Mutex
	value  aws.Credentials
	have   bool
	serial mark
}

// Retrieve implements aws.CredentialsProvider.
func (s *static) Retrieve(context.Context) (aws.Credentials, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.have {
		return s.value, nil
	}
	value, err := s.read()
	if err != nil {
		return aws.Credentials{}, err
	}
	s.value, s.have = value, true
	return value, nil
}

func (s *static) read() (aws.Credentials, error) {
	text, err := s.secret()
	if err != nil {
		return aws.Credentials{}, fmt.Errorf("%w: %w", errSecret, err)
	}
	value := aws.Credentials{AccessKeyID: s.id, SecretAccessKey: strings.TrimSpace(text), Source: "configuration"}
	// Neither an id nor a secret nor a token has a colon in it.
	switch parts := strings.Split(value.SecretAccessKey, ":"); len(parts) {
	case 1:
	case 2:
		value.AccessKeyID, value.SecretAccessKey = parts[0], parts[1]
	case 3:
		value.AccessKeyID, value.SecretAccessKey, value.SessionToken = parts[0], parts[1], parts[2]
	default:
		return aws.Credentials{}, fmt.Errorf("%w: want secret, id:secret or id:secret:token", errSecret)
	}
	if value.SecretAccessKey == "" || value.AccessKeyID == "" {
		return aws.Credentials{}, fmt.Errorf("%w: it is empty", errSecret)
	}
	return value, nil
}

func (s *static) mark() mark {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.serial
}

func (s *static) refused(m mark) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.serial != m {
		return true // another caller has read the new one already
	}
	value, err := s.read()
	if err != nil || (s.have && value == s.value) {
		return false
	}
	s.value, s.have = value, true
	s.serial++
	return true
}

func (s *static) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.value, s.have = aws.Credentials{}, false
}

// patient assumes a role, and goes on with the old session until its end if it
// cannot be renewed.
type patient struct {
	*stscreds.AssumeRoleProvider
	mu  sync.Mutex
	end time.Time
}

// Retrieve implements aws.CredentialsProvider.
func (p *patient) Retrieve(ctx context.Context) (aws.Credentials, error) {
	ctx, cancel := context.WithTimeout(ctx, assumeTimeout)
	defer cancel()
	value, err := p.AssumeRoleProvider.Retrieve(ctx)
	if err == nil {
		p.mu.Lock()
		p.end = value.Expires
		p.mu.Unlock()
	}
	return value, err
}

// HandleFailToRefresh implements aws.HandleFailRefreshCredentialsCacheStrategy.
func (p *patient) HandleFailToRefresh(_ context.Context, old aws.Credentials, err error) (aws.Credentials, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !old.HasKeys() || time.Until(p.end) < renewAgain {
		return aws.Credentials{}, err
	}
	old.Expires = time.Now().Add(renewBefore + renewAgain) // the cache takes renewBefore off again
	return old, nil
}
