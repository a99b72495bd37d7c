// SPDX-License-Identifier: Apache-2.0

package gcpkms_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"

	"cloud.google.com/go/kms/apiv1/kmspb"
	"github.com/ethereum/go-ethereum/common"

	"github.com/hsmsigner/hsmsigner/internal/key"
	"github.com/hsmsigner/hsmsigner/internal/key/gcpkms"
	"github.com/hsmsigner/hsmsigner/internal/key/gcpkms/gcpkmsfake"
	"github.com/hsmsigner/hsmsigner/internal/key/keytest"
)

func start(t testing.TB, o gcpkmsfake.Options) *gcpkmsfake.Server {
	t.Helper()
	s, err := gcpkmsfake.Start(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// open opens a backend without TLS and without an identity.
func open(t testing.TB, s *gcpkmsfake.Server) *gcpkms.Backend {
	t.Helper()
	return openWith(t, gcpkms.Config{KeyRing: s.Ring(), Endpoint: s.Addr(), Insecure: true})
}

func openWith(t testing.TB, c gcpkms.Config) *gcpkms.Backend {
	t.Helper()
	b, err := gcpkms.Open(context.Background(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close() })
	return b
}

// list pages through everything.
func list(t testing.TB, b *gcpkms.Backend) (keys []key.Key, problems []key.Problem) {
	t.Helper()
	for cursor := ""; ; {
		page, err := b.Keys(t.Context(), cursor)
		if err != nil {
			t.Fatal(err)
		}
		keys, problems = append(keys, page.Keys...), append(problems, page.Problems...)
		if cursor = page.Next; cursor == "" {
			return keys, problems
		}
	}
}

// fixture is a ring with everything that a ring can hold.
func fixture(t *testing.T, s *gcpkmsfake.Server, b *gcpkms.Backend) keytest.Fixture {
	t.Helper()
	f := keytest.Fixture{Backend: b, MinKeys: 5, CreateName: "created", Unknown: key.Ref(s.Ring() + "/cryptoKeys/none/cryptoKeyVersions/1")}
	for i := range 5 {
		_, address := s.Add(gcpkmsfake.Key{ID: fmt.Sprintf("key-%d", i), Labels: map[string]string{"team": "tests"}})
		f.Addresses = append(f.Addresses, address)
	}
	_, second := s.Add(gcpkmsfake.Key{ID: "key-0"}) // another version is another account
	f.Addresses = append(f.Addresses, second)
	s.Add(gcpkmsfake.Key{ID: "p256", Algorithm: kmspb.CryptoKeyVersion_EC_SIGN_P256_SHA256, Protection: kmspb.ProtectionLevel_SOFTWARE})
	s.Add(gcpkmsfake.Key{ID: "aes", Purpose: kmspb.CryptoKey_ENCRYPT_DECRYPT, Algorithm: kmspb.CryptoKeyVersion_GOOGLE_SYMMETRIC_ENCRYPTION})
	s.Add(gcpkmsfake.Key{ID: "failed", State: kmspb.CryptoKeyVersion_IMPORT_FAILED})
	f.Problems = []string{"failed/1"}
	off, _ := s.Add(gcpkmsfake.Key{ID: "off"})
	doomed, _ := s.Add(gcpkmsfake.Key{ID: "doomed"})
	list(t, b) // while they are enabled: their addresses are known from here
	s.SetState(off, kmspb.CryptoKeyVersion_DISABLED)
	s.SetState(doomed, kmspb.CryptoKeyVersion_DESTROY_SCHEDULED)
	f.Disabled = []key.Ref{key.Ref(off), key.Ref(doomed)}
	var mu sync.Mutex
	added := map[common.Address]string{}
	f.Add = func(*testing.T) common.Address {
		mu.Lock()
		defer mu.Unlock()
		ref, address := s.Add(gcpkmsfake.Key{ID: "late"})
		added[address] = ref
		return address
	}
	f.Remove = func(_ *testing.T, address common.Address) {
		mu.Lock()
		defer mu.Unlock()
		s.SetState(added[address], kmspb.CryptoKeyVersion_DESTROYED)
	}
	return f
}

func TestContract(t *testing.T) {
	keytest.Run(t, func(t *testing.T) keytest.Fixture {
		s := start(t, gcpkmsfake.Options{PageSize: 3, Polls: 2})
		f := fixture(t, s, open(t, s))
		f.MinPages = 3
		return f
	})
}

func TestContractOverTLSWithAServiceAccount(t *testing.T) {
	keytest.Run(t, func(t *testing.T) keytest.Fixture {
		s := start(t, gcpkmsfake.Options{TLS: true})
		_, text, err := s.NewAccountKey("signer")
		if err != nil {
			t.Fatal(err)
		}
		return fixture(t, s, openWith(t, secured(s, func() (string, error) { return text, nil })))
	})
}

func TestBadConfigurationSaysWhat(t *testing.T) {
	ok := func() (string, error) { return "{}", nil }
	ring := gcpkmsfake.DefaultRing
	for name, c := range map[string]struct {
		config gcpkms.Config
		want   string
	}{
		"no ring":            {gcpkms.Config{Ambient: true}, `key_ring ""`},
		"a key":              {gcpkms.Config{KeyRing: ring + "/cryptoKeys/a", Ambient: true}, "want projects/PROJECT/locations/LOCATION/keyRings/RING"},
		"a path":             {gcpkms.Config{KeyRing: "projects/signer-test/locations/../keyRings/a", Ambient: true}, "want projects/"},
		"a line more":        {gcpkms.Config{KeyRing: ring + "\n", Ambient: true}, "want projects/"},
		"project number":     {gcpkms.Config{KeyRing: "projects/123456789012/locations/global/keyRings/a", Ambient: true}, "not its number"},
		"two identities":     {gcpkms.Config{KeyRing: ring, Ambient: true, Credentials: ok}, "choose one"},
		"no identity":        {gcpkms.Config{KeyRing: ring}, "user_secret is missing"},
		"bad endpoint":       {gcpkms.Config{KeyRing: ring, Ambient: true, Endpoint: "https://kms.example"}, "want host:port"},
		"plain to elsewhere": {gcpkms.Config{KeyRing: ring, Insecure: true, Endpoint: "192.0.2.1:80"}, "only a loopback address"},
		"plain to a name":    {gcpkms.Config{KeyRing: ring, Insecure: true, Endpoint: "localhost:80"}, "only a loopback address"},
		"plain to Google":    {gcpkms.Config{KeyRing: ring, Insecure: true}, "must be named"},
		"unreadable secret": {
			gcpkms.Config{KeyRing: ring, Credentials: func() (string, error) { return "", errors.New("open gcp.json: no such file") }},
			"the secret cannot be read: open gcp.json: no such file",
		},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := gcpkms.Open(t.Context(), c.config)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want …%s…", err, c.want)
			}
		})
	}
}

func TestOpenNeedsNobody(t *testing.T) {
	s := start(t, gcpkmsfake.Options{})
	addr := s.Addr()
	s.Close()
	b := openWith(t, gcpkms.Config{KeyRing: s.Ring(), Endpoint: addr, Insecure: true})
	if s.Connections() != 0 {
		t.Error("opening connected")
	}
	err := b.Health(t.Context())
	if !errors.Is(err, key.ErrUnavailable) || !strings.Contains(err.Error(), "nothing listens at "+addr) {
		t.Errorf("health: %v", err)
	}
}

// startAt starts a server where another one was.
func startAt(t testing.TB, addr string) *gcpkmsfake.Server {
	t.Helper()
	l, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	return start(t, gcpkmsfake.Options{Listener: l})
}
