// SPDX-License-Identifier: Apache-2.0

// Package awskms is the key backend of AWS KMS: keys of the spec
// ECC_SECG_P256K1 with the usage SIGN_VERIFY, in one region, each named for ever
// by its key ARN. An alias is a name for people and a way to find keys; it is
// resolved to the ARN once and never signed with, since it can be pointed at
// another key.
//
// One signature is one call of Sign, without a retry of the SDK and without a
// look at the public key. What KMS answers is not believed: the DER is read
// strictly, and the answer must name the key that was asked.
//
// A backend with static keys or with a role assumed on top of them never looks
// at the identity of the process: no environment, no profile, no instance
// metadata. That identity is used only where the configuration says [Ambient].
package awskms

import (
	"context"
	"crypto/x509"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/resourcegroupstaggingapi"

	"github.com/hsmsigner/hsmsigner/internal/key"
)

// The default quotas of an account in one region, in requests per second, from
// https://docs.aws.amazon.com/kms/latest/developerguide/requests-per-second.html.
// Each operation has a bucket of its own, so signing and reading do not take from
// each other, and all can be raised in Service Quotas. Older copies of the page
// say 300 for SignPerSecond, and some regions still have it: throttling is
// expected and obeyed.
const (
	// SignPerSecond is shared by Sign and Verify with all ECC keys.
	SignPerSecond = 1000
	// ReadPerSecond is that of GetPublicKey, of DescribeKey and of
	// ListResourceTags, each by itself. ListKeys and ListAliases allow 500.
	ReadPerSecond = 2000
	// TagPagesPerSecond is that of GetResources of the tagging API, which gives
	// 100 keys at a time; the adapter paces itself by it, since its quota is far
	// smaller than those of KMS.
	TagPagesPerSecond = 15
	// OneBucket says whether one quota covers both.
	OneBucket = false
)

// DefaultConcurrency is how many keys are described at a time. At 20 ms a
// call, fewer than 40 could not use up the quota; the rest is for slower moments.
const DefaultConcurrency = 128

// Config describes one account and region. Exactly one of AccessKeyID and
// Ambient is given; RoleARN goes with either.
type Config struct {
	Region string // as in eu-central-1

	AccessKeyID string
	// Secret gives the secret access key. It is called before the first use and
	// whenever AWS refuses what it gave before, so a replaced file is picked up.
	// "id:secret" replaces AccessKeyID too, since AWS rotates the two together,
	// and "id:secret:token" holds a session.
	Secret func() (string, error)

	// Ambient uses the identity of the process. For the operator's own wallets.
	Ambient *Ambient

	RoleARN    string // the role to assume; empty: none
	ExternalID string // what the trust policy of that role may ask for

	Endpoint        string // of KMS: a VPC endpoint or another server; empty: AWS's own
	STSEndpoint     string // of STS; empty: AWS's own
	TaggingEndpoint string // of the Resource Groups Tagging API; empty: AWS's own
	FIPS            bool   // AWS's FIPS 140 endpoints; excludes the endpoints above

	// RootCAs are the authorities that the endpoints are trusted by; nil: the
	// system's.
	RootCAs *x509.CertPool
	// DialContext opens connections; nil: a net.Dialer. The proxy of the
	// environment is used only where it is nil.
	DialContext func(ctx context.Context, network, address string) (net.Conn, error)

	Discovery   Discovery
	Tags        bool // fetch each key's tags; one more call a key unless Discovery is by tag
	Concurrency int  // keys described at a time; 0 means DefaultConcurrency

	Reads  *key.Quota   // waited for before every call that is not Sign; nil: no limit
	Logger *slog.Logger // nil: silent
}

// Ambient is the identity of the process itself: environment, profile, web
// identity, container or instance metadata, in the SDK's order.
type Ambient struct {
	Profile string // of the shared configuration files; empty: AWS_PROFILE or the default one
}

// Discovery says how keys are found. The zero value lists every key of the
// account and region, which asks about keys of other kinds once each; an alias
// prefix or a tag asks only about those that are meant.
type Discovery struct {
	AliasPrefix string // with or without "alias/" in front
	TagKey      string // keys with this tag …
	TagValue    string // … and this value; empty: any
}

// Backend is one opened configuration. It implements key.Backend, Creator,
// Importer, Enabler and Deleter, and is safe for concurrent use.
type Backend struct {
	cfg     Config
	log     *slog.Logger
	kms     *kms.Client
	tagging *resourcegroupstaggingapi.Client
	creds   *credentials
	http    *http.Transport
	pages   *key.Quota // of the tagging API
	perPage int        // pageKeys, or less in a test
	closed  atomic.Bool

	mu       sync.Mutex
	known    map[key.Ref]known   // what does not change about a key
	listings map[uint64]*listing // those that are being paged through
	serial   uint64              // of listings
	sample   key.Ref             // a key that health asks about
}

var (
	_ key.Backend  = (*Backend)(nil)
	_ key.Creator  = (*Backend)(nil)
	_ key.Importer = (*Backend)(nil)
	_ key.Enabler  = (*Backend)(nil)
	_ key.Deleter  = (*Backend)(nil)
)

// Open checks the configuration and makes the clients. It asks nobody, and does
// not fail because AWS is away; with Ambient it reads the SDK's files.
func Open(ctx context.Context, c Config) (*Backend, error) {
	if err := c.check(); err != nil {
		return nil, fmt.Errorf("awskms: %w", err)
	}
	if c.Concurrency == 0 {
		c.Concurrency = DefaultConcurrency
	}
	b := &Backend{
		cfg: c, log: c.Logger, http: c.transport(),
		pages: key.NewQuota(TagPagesPerSecond), perPage: pageKeys,
		known: map[key.Ref]known{}, listings: map[uint64]*listing{},
	}
	if b.log == nil {
		b.log = slog.New(slog.DiscardHandler)
	}
	client := &http.Client{Transport: b.http, CheckRedirect: noRedirect}
	var err error
	if b.creds, err = c.credentials(ctx, client); err != nil {
		return nil, fmt.Errorf("awskms: %w", err)
	}
	b.kms = kms.New(kms.Options{
		Region: c.Region, Credentials: b.creds.provider, HTTPClient: client, Retryer: aws.NopRetryer{},
		BaseEndpoint: optional(c.Endpoint), EndpointOptions: kms.EndpointResolverOptions{UseFIPSEndpoint: fips(c.FIPS)},
	})
	b.tagging = resourcegroupstaggingapi.New(resourcegroupstaggingapi.Options{
		Region: c.Region, Credentials: b.creds.provider, HTTPClient: client, Retryer: aws.NopRetryer{},
		BaseEndpoint:    optional(c.TaggingEndpoint),
		EndpointOptions: resourcegroupstaggingapi.EndpointResolverOptions{UseFIPSEndpoint: fips(c.FIPS)},
	})
	return b, nil
}

// Close lets go of connections and credentials. Strings cannot be overwritten in
// Go, so the secret is left to the garbage collector.
func (b *Backend) Close() error {
	if b.closed.Swap(true) {
		return nil
	}
	b.creds.forget()
	b.http.CloseIdleConnections()
	return nil
}
