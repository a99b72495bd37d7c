// SPDX-License-Identifier: Apache-2.0

// Package gcpkms signs with keys of Google Cloud KMS. Every usable version of
// the signing keys of one key ring is an account, named by its resource name,
// which never comes to mean another key.
//
// It guarantees that the digest arrived and the signature came back as they
// were sent (CRC32C both ways, and the name of the key that signed), and that
// one signature is one AsymmetricSign call, repeated only where nothing was
// signed or what came back was damaged. It never follows an address out of a
// credential: a service account's key signs the tokens here, and no token
// service is asked (AIP-4111).
//
// Cloud KMS has secp256k1 at protection level HSM only. It was proven against
// the fake in package gcpkmsfake, since no emulator signs with that curve.
package gcpkms

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	kms "cloud.google.com/go/kms/apiv1"
	"google.golang.org/api/option"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"

	"github.com/hsmsigner/hsmsigner/internal/key"
	"github.com/hsmsigner/hsmsigner/internal/secp"
)

// DefaultEndpoint serves every location.
const DefaultEndpoint = "cloudkms.googleapis.com:443"

// Config names a key ring and the identity that uses it.
type Config struct {
	// KeyRing is projects/PROJECT/locations/LOCATION/keyRings/RING. PROJECT is
	// the id and not the number: answers are compared with what was asked for.
	KeyRing string

	// Credentials returns the JSON of a service account key. It is called again
	// whenever a token is made, so a rotated secret is taken up without restart.
	Credentials func() (string, error)
	// Ambient takes the application default credentials of this process in place
	// of Credentials. Only for wallets of the operator.
	Ambient bool

	Endpoint string      // host:port; DefaultEndpoint if empty. A tenant has no say in it.
	TLS      *tls.Config // nil: the system's roots
	Insecure bool        // no TLS, to a loopback address only; then credentials may be missing

	Concurrency int        // calls at once for one page of a listing; 16 if zero
	Reads       *key.Quota // waited for before each list call; nil: no limit
	// Crypto is waited for before each GetPublicKey, which Google counts with the
	// signatures: give the quota that limits those. Nil: no limit.
	Crypto *key.Quota
	Logger *slog.Logger

	// DialContext opens connections, and is given the endpoint's name; nil: gRPC's
	// own way, which uses the proxy of the environment. The token service of
	// Ambient is not asked through it.
	DialContext func(ctx context.Context, network, address string) (net.Conn, error)
}

// Backend is one key ring. It is a [key.Backend], and with an identity that may,
// a [key.Creator], [key.Importer], [key.Enabler] and [key.Deleter].
type Backend struct {
	cfg    Config
	keys   string // what the names of the ring's keys begin with
	log    *slog.Logger
	client *kms.KeyManagementClient
	conn   *grpc.ClientConn
	tokens *tokens // nil: none are sent
	closed atomic.Bool

	mu      sync.RWMutex
	publics map[key.Ref]secp.PublicKey // never change; states are asked for anew
}

var (
	_ key.Backend  = (*Backend)(nil)
	_ key.Creator  = (*Backend)(nil)
	_ key.Importer = (*Backend)(nil)
	_ key.Enabler  = (*Backend)(nil)
	_ key.Deleter  = (*Backend)(nil)
)

// ringRE: ids of projects begin with a letter and may be scoped by a domain
// (https://cloud.google.com/resource-manager/docs/creating-managing-projects);
// the name of a ring is as CreateKeyRing takes it.
var ringRE = regexp.MustCompile(`^projects/(?:[a-z0-9.-]{1,253}:)?[a-z][a-z0-9-]{4,28}[a-z0-9]/locations/[a-z0-9-]{1,63}/keyRings/[a-zA-Z0-9_-]{1,63}$`)

var errClosed = errors.New("the backend is closed")

// errRefused is what Config.DialContext refused; which address it was is not for
// everybody to know.
var errRefused = errors.New("not an address that this deployment connects to")

// Open checks the configuration and the credential's form, and makes the
// client. It calls nobody: whether the key ring is there and the identity may
// use it, [Backend.Health] says.
func Open(ctx context.Context, c Config) (*Backend, error) {
	if err := c.check(); err != nil {
		return nil, fmt.Errorf("gcpkms: %w", err)
	}
	if c.Endpoint == "" {
		c.Endpoint = DefaultEndpoint
	}
	if c.Concurrency <= 0 {
		c.Concurrency = defaultConcurrency
	}
	b := &Backend{cfg: c, keys: c.KeyRing + "/cryptoKeys/", log: c.Logger, publics: make(map[key.Ref]secp.PublicKey)}
	if b.log == nil {
		b.log = slog.New(slog.DiscardHandler)
	}
	switch {
	case c.Ambient:
		b.tokens = newTokens(ambientToken)
	case c.Credentials != nil:
		source := serviceAccount{load: c.Credentials}
		if _, err := source.read(); err != nil {
			return nil, fmt.Errorf("gcpkms: %w", err)
		}
		b.tokens = newTokens(source.token)
	}
	conn, err := dial(c)
	if err != nil {
		return nil, fmt.Errorf("gcpkms: make a connection to %s: %w", c.Endpoint, err)
	}
	// The library's own connection would take its identity, its proxies for
	// client certificates and its tracing from the environment.
	client, err := kms.NewKeyManagementClient(ctx, option.WithGRPCConn(conn), option.WithLogger(slog.New(slog.DiscardHandler)))
	if err != nil {
		_ = conn.Close()
		return nil, fmt.Errorf("gcpkms: make a client: %w", err)
	}
	// No retries and no timeouts of the library's: the caller has a deadline,
	// and package wallet repeats signatures.
	client.CallOptions = &kms.KeyManagementCallOptions{}
	b.client, b.conn = client, conn
	return b, nil
}

func (c Config) check() error {
	if !ringRE.MatchString(c.KeyRing) {
		why := "want projects/PROJECT/locations/LOCATION/keyRings/RING"
		if strings.HasPrefix(strings.TrimLeft(strings.TrimPrefix(c.KeyRing, "projects/"), "0123456789"), "/locations/") {
			why += ", with the id of the project, not its number"
		}
		return fmt.Errorf("key_ring %q: %s", c.KeyRing, why)
	}
	switch {
	case c.Ambient && c.Credentials != nil:
		return errors.New("a service account's key and the ambient identity are both configured; choose one")
	case !c.Ambient && c.Credentials == nil && !c.Insecure:
		return errors.New("user_secret is missing: want the JSON of a service account key")
	}
	if c.Endpoint == "" {
		if c.Insecure {
			return errors.New("without TLS an endpoint on this machine must be named")
		}
		return nil
	}
	host, port, err := net.SplitHostPort(c.Endpoint)
	if _, bad := strconv.ParseUint(port, 10, 16); err != nil || bad != nil || host == "" {
		return fmt.Errorf("endpoint %q: want host:port", c.Endpoint)
	}
	if addr, err := netip.ParseAddr(host); c.Insecure && (err != nil || !addr.IsLoopback()) {
		return fmt.Errorf("endpoint %q: without TLS only a loopback address is allowed", c.Endpoint)
	}
	return nil
}

// dial makes one connection, which carries a hundred calls at once and is set
// up by the first of them.
func dial(c Config) (*grpc.ClientConn, error) {
	transport := insecure.NewCredentials()
	if !c.Insecure {
		t := c.TLS.Clone()
		if t == nil {
			t = &tls.Config{}
		}
		t.MinVersion = max(t.MinVersion, tls.VersionTLS12)
		transport = credentials.NewTLS(t)
	}
	target := "dns:///" + c.Endpoint
	options := []grpc.DialOption{
		grpc.WithTransportCredentials(transport),
		grpc.WithDisableRetry(),
		grpc.WithDisableServiceConfig(),
		grpc.WithIdleTimeout(0), // a warm connection stays
		// A dead connection is noticed by its unanswered bytes (TCP_USER_TIMEOUT
		// is set from Timeout) and not when the kernel gives up. Google closes
		// connections of clients that ping more often.
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 5 * time.Minute, Timeout: 10 * time.Second, PermitWithoutStream: true}),
		// gRPC would wait up to two minutes before it tries again after an outage.
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 200 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: 3 * time.Second},
			MinConnectTimeout: 5 * time.Second,
		}),
	}
	if c.DialContext != nil {
		// gRPC is to look up no name and to know of no proxy.
		target = "passthrough:///" + c.Endpoint
		options = append(options, grpc.WithNoProxy(), grpc.WithContextDialer(func(ctx context.Context, address string) (net.Conn, error) {
			conn, err := c.DialContext(ctx, "tcp", address)
			var rule interface{ Refused() bool }
			if errors.As(err, &rule) && rule.Refused() {
				return nil, errRefused // gRPC makes text of it
			}
			return conn, err
		}))
	}
	return grpc.NewClient(target, options...)
}

// Close ends the connection and forgets the token; calls under way fail.
func (b *Backend) Close() error {
	if b.closed.Swap(true) {
		return nil
	}
	b.tokens.close()
	return b.conn.Close()
}

// split takes a reference apart. Those of other key rings are not this
// backend's. Every signature passes here, and a regular expression would cost
// more than all else that is done for it.
func (b *Backend) split(ref key.Ref) (keyID, version string, ok bool) {
	rest, mine := strings.CutPrefix(string(ref), b.keys)
	keyID, version, found := strings.Cut(rest, "/cryptoKeyVersions/")
	return keyID, version, mine && found && goodID(keyID) && goodVersion(version)
}

// goodID is what CreateCryptoKey takes: [a-zA-Z0-9_-]{1,63}.
func goodID(id string) bool {
	for _, c := range []byte(id) {
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '_' && c != '-' {
			return false
		}
	}
	return len(id) >= 1 && len(id) <= 63
}

// goodVersion is a number as Cloud KMS writes it, from 1 on.
func goodVersion(v string) bool {
	for _, c := range []byte(v) {
		if c < '0' || c > '9' {
			return false
		}
	}
	return len(v) >= 1 && len(v) <= 10 && v[0] != '0'
}
