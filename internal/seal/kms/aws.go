// SPDX-License-Identifier: Apache-2.0

package kms

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials/stscreds"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go"

	"github.com/hsmsigner/hsmsigner/internal/seal"
)

// AWS is a symmetric key of AWS KMS.
type AWS struct {
	KeyID  string // id or ARN of the key, not an alias, which may come to mean another
	Region string

	AccessKeyID string
	Secret      func() (string, error) // the secret access key, or id:secret, or id:secret:token; nil: the ambient identity
	Profile     string                 // of the shared files, for the ambient identity
	RoleARN     string                 // assumed by the identity above
	ExternalID  string

	Endpoint    string // in place of the region's own
	STSEndpoint string
	RootCAs     *x509.CertPool // nil: the system's
}

type awsKey struct {
	cfg    AWS
	name   string // id of the key without region and account
	client *kms.Client
}

var awsKeyID = regexp.MustCompile(`^(arn:aws[a-z-]*:kms:[a-z0-9-]+:[0-9]{12}:key/)?((mrk-[0-9a-f]{32})|([0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}))$`)

// OpenAWS makes the client of a key. It asks nobody.
func OpenAWS(ctx context.Context, c AWS) (seal.KEK, error) {
	m := awsKeyID.FindStringSubmatch(c.KeyID)
	if m == nil {
		return nil, fmt.Errorf("aws_kms: key %q: want the id or ARN of a key, not an alias", c.KeyID)
	}
	client := httpClient(c.RootCAs, nil)
	var identity aws.CredentialsProvider
	if c.Secret != nil {
		identity = aws.CredentialsProviderFunc(c.static)
	} else {
		options := []func(*config.LoadOptions) error{config.WithRegion(c.Region)}
		if c.Profile != "" {
			options = append(options, config.WithSharedConfigProfile(c.Profile))
		}
		loaded, err := config.LoadDefaultConfig(ctx, options...)
		if err != nil {
			return nil, fmt.Errorf("aws_kms: ambient identity: %w", err)
		}
		identity = loaded.Credentials
	}
	if c.RoleARN != "" {
		asker := sts.New(sts.Options{Region: c.Region, Credentials: identity, HTTPClient: client, BaseEndpoint: optional(c.STSEndpoint)})
		identity = aws.NewCredentialsCache(stscreds.NewAssumeRoleProvider(asker, c.RoleARN, func(o *stscreds.AssumeRoleOptions) {
			o.RoleSessionName = "hsmsigner-seal"
			o.ExternalID = optional(c.ExternalID)
		}))
	}
	return &awsKey{cfg: c, name: m[2], client: kms.New(kms.Options{
		Region: c.Region, Credentials: identity, HTTPClient: client, BaseEndpoint: optional(c.Endpoint),
	})}, nil
}

func (c AWS) static(context.Context) (aws.Credentials, error) {
	text, err := c.Secret()
	if err != nil {
		return aws.Credentials{}, err
	}
	v := aws.Credentials{AccessKeyID: c.AccessKeyID, SecretAccessKey: strings.TrimSpace(text), Source: "configuration"}
	switch parts := strings.Split(v.SecretAccessKey, ":"); len(parts) {
	case 2:
		v.AccessKeyID, v.SecretAccessKey = parts[0], parts[1]
	case 3:
		v.AccessKeyID, v.SecretAccessKey, v.SessionToken = parts[0], parts[1], parts[2]
	}
	return v, nil
}

func optional(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

// ID implements [seal.KEK]: the same for all replicas of a multi-region key.
func (k *awsKey) ID() string { return "aws_kms:" + k.name }

func about(s string) map[string]string { return map[string]string{"hsmsigner": s} }

// Wrap implements [seal.KEK].
func (k *awsKey) Wrap(ctx context.Context, key []byte, purpose string) ([]byte, error) {
	out, err := k.client.Encrypt(ctx, &kms.EncryptInput{KeyId: &k.cfg.KeyID, Plaintext: key, EncryptionContext: about(purpose)})
	if err != nil {
		return nil, awsFault("Encrypt", err)
	}
	return out.CiphertextBlob, nil
}

// Unwrap implements [seal.KEK].
func (k *awsKey) Unwrap(ctx context.Context, wrapped []byte, purpose string) ([]byte, error) {
	out, err := k.client.Decrypt(ctx, &kms.DecryptInput{KeyId: &k.cfg.KeyID, CiphertextBlob: wrapped, EncryptionContext: about(purpose)})
	if err != nil {
		return nil, awsFault("Decrypt", err)
	}
	return out.Plaintext, nil
}

func awsFault(call string, err error) error {
	var answer smithy.APIError
	code, again := "", false
	if errors.As(err, &answer) {
		code = visible(answer.ErrorCode())
		again = answer.ErrorFault() == smithy.FaultServer || strings.Contains(code, "Throttl") || code == "KMSInternalException" || code == "DependencyTimeoutException"
		if code == "InvalidCiphertextException" || code == "IncorrectKeyException" {
			return fmt.Errorf("aws_kms: %s: %s: %w", call, code, seal.ErrDamaged)
		}
	}
	return fault("aws_kms", call, code, again, err)
}
