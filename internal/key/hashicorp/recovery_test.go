// SPDX-License-Identifier: Apache-2.0

package hashicorp_test

import (
	"context"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/common"

	"github.com/hsmsigner/hsmsigner/internal/key"
	"github.com/hsmsigner/hsmsigner/internal/key/hashicorp"
	"github.com/hsmsigner/hsmsigner/internal/key/hashicorp/vaulttest"
)

// recovery is how long after its cause has ended a failure may be seen: it takes a
// second or two, and some times that on a busy machine.
const recovery = 20 * time.Second

// load signs without a pause, as package wallet does: what may pass by itself
// is tried again within the caller's deadline.
type load struct {
	signed, again atomic.Int64
	mu            sync.Mutex
	failed        []error
	last          time.Time // of the last error that may pass by itself
	stop          context.CancelFunc
	wg            sync.WaitGroup
}

func (l *load) start(t *testing.T, b key.Backend, ref key.Ref, callers int) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	l.stop = cancel
	for range callers {
		l.wg.Go(func() {
			for n := byte(0); ctx.Err() == nil; n++ {
				l.one(ctx, b, ref, n)
				time.Sleep(5 * time.Millisecond)
			}
		})
	}
}

func (l *load) one(ctx context.Context, b key.Backend, ref key.Ref, n byte) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		_, err := b.SignDigest(ctx, ref, [32]byte{n, 1})
		switch {
		case err == nil:
			l.signed.Add(1)
			return
		case ctx.Err() != nil:
			return
		case !key.Transient(err):
			l.mu.Lock()
			l.failed = append(l.failed, err)
			l.mu.Unlock()
			return
		}
		l.again.Add(1)
		l.mu.Lock()
		l.last = time.Now()
		l.mu.Unlock()
		time.Sleep(100 * time.Millisecond)
	}
}

// end stops the load and checks that nothing failed, and that nothing had to
// be tried again later than recovery after cause ended.
func (l *load) end(t *testing.T, cause time.Time) {
	t.Helper()
	l.stop()
	l.wg.Wait()
	for i, err := range l.failed {
		if i < 3 {
			t.Errorf("a signature failed: %v", err)
		}
	}
	late := l.last.Sub(cause)
	if late > recovery {
		t.Errorf("it was still failing %v after the cause had ended", late)
	}
	t.Logf("%d signed, %d attempts repeated, the last %v after the cause had ended, %d failed", l.signed.Load(), l.again.Load(), max(0, late), len(l.failed))
}

// until waits for a load to have signed n more.
func (l *load) until(t *testing.T, n int64) {
	t.Helper()
	want := l.signed.Load() + n
	for end := time.Now().Add(2 * time.Minute); l.signed.Load() < want; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%d signatures after two minutes, want %d", l.signed.Load(), want)
		}
	}
}

func ready(t *testing.T) (mount string, ref key.Ref, address common.Address) {
	t.Helper()
	mount = newMount(t, false)
	address = newKey(t, mount)
	return mount, refOf(mount, address), address
}

// The token lives for six seconds and can be renewed up to twelve: it is renewed,
// and then replaced, without anybody noticing.
func TestTokenThatReachesItsMaxTTLIsReplacedUnnoticed(t *testing.T) {
	mount, ref, _ := ready(t)
	c, _, _ := withAppRole(t, mount, map[string]any{"token_ttl": "6s", "token_max_ttl": "12s"}, vaulttest.DigestSigner)
	var l load
	l.start(t, open(t, c), ref, 8)
	time.Sleep(18 * time.Second)
	l.end(t, time.Now())
	if l.again.Load() != 0 {
		t.Errorf("%d attempts had to be repeated", l.again.Load())
	}
}

func TestRevokedTokenInABurstIsReplaced(t *testing.T) {
	mount, ref, _ := ready(t)
	c, _, _ := withAppRole(t, mount, nil, vaulttest.DigestSigner)
	var l load
	l.start(t, open(t, c), ref, 32)
	l.until(t, 50)
	for range 3 {
		if err := server.RevokeLogins(t.Context(), "approle/"); err != nil {
			t.Fatal(err)
		}
		l.until(t, 100)
	}
	l.end(t, time.Now())
}

// The idle token ends, and the next call gets another.
func TestExpiredTokenIsReplacedAtTheNextCall(t *testing.T) {
	mount, ref, _ := ready(t)
	c, role, _ := withAppRole(t, mount, map[string]any{"token_type": "service"}, vaulttest.DigestSigner)
	_ = role
	b := open(t, c)
	for range 3 {
		if _, err := b.SignDigest(t.Context(), ref, [32]byte{1}); err != nil {
			t.Fatal(err)
		}
		if err := server.RevokeLogins(t.Context(), "approle/"); err != nil {
			t.Fatal(err)
		}
	}
}

func TestSealedVaultRecoversWhenItIsUnsealed(t *testing.T) {
	mount, ref, _ := ready(t)
	c, _, _ := withAppRole(t, mount, nil, vaulttest.DigestSigner)
	b := open(t, c)
	var l load
	l.start(t, b, ref, 16)
	l.until(t, 50)
	if err := server.Seal(t.Context()); err != nil {
		t.Fatal(err)
	}
	time.Sleep(2 * time.Second)
	says(t, b.Health(t.Context()), key.ErrUnavailable, "sealed")
	_, err := b.SignDigest(t.Context(), ref, [32]byte{1})
	says(t, err, key.ErrUnavailable, "vault operator unseal")
	if err := server.Unseal(t.Context()); err != nil {
		t.Fatal(err)
	}
	cause := time.Now()
	l.until(t, 100)
	l.end(t, cause)
}

// Vault answers 500 until it has started the plugin again.
func TestKilledPluginRecovers(t *testing.T) {
	mount, ref, _ := ready(t)
	c, _, _ := withAppRole(t, mount, nil, vaulttest.DigestSigner)
	var l load
	l.start(t, open(t, c), ref, 16)
	l.until(t, 50)
	if err := server.KillPlugin(); err != nil {
		t.Fatal(err)
	}
	cause := time.Now()
	l.until(t, 100)
	l.end(t, cause)
}

// The secret id is destroyed, the tokens are revoked, and the new secret id is
// written a while later: nothing fails, and Vault is not asked with the old one
// so often that it locks the role.
func TestRotatedSecretIDInABurst(t *testing.T) {
	mount, ref, _ := ready(t)
	c, role, old := withAppRole(t, mount, nil, vaulttest.DigestSigner)
	file := filepath.Join(t.TempDir(), "secret-id")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(old)
	c.Secret = func() (string, error) { text, err := os.ReadFile(file); return string(text), err }
	b := open(t, c)
	var l load
	l.start(t, b, ref, 32)
	l.until(t, 50)
	if err := server.RevokeSecretID(t.Context(), role, old); err != nil {
		t.Fatal(err)
	}
	if err := server.RevokeLogins(t.Context(), "approle/"); err != nil {
		t.Fatal(err)
	}
	time.Sleep(3 * time.Second)
	_, err := b.SignDigest(t.Context(), ref, [32]byte{1})
	says(t, err, key.ErrUnavailable, "refuses the AppRole login", "a new one is waited for")
	fresh, err := server.SecretID(t.Context(), role)
	if err != nil {
		t.Fatal(err)
	}
	write(fresh)
	cause := time.Now()
	l.until(t, 100)
	l.end(t, cause)
}

func TestReplacedTokenFileIsTakenOver(t *testing.T) {
	mount, ref, _ := ready(t)
	policies := []string{vaulttest.PolicyName(mount, vaulttest.DigestSigner)}
	newToken := func() string {
		token, err := server.Token(t.Context(), policies, nil)
		if err != nil {
			t.Fatal(err)
		}
		return token
	}
	var token atomic.Value
	token.Store(newToken())
	b := open(t, hashicorp.Config{Address: server.URL(), Mount: mount, Token: func() (string, error) { return token.Load().(string), nil }})
	var l load
	l.start(t, b, ref, 16)
	l.until(t, 50)
	if err := server.RevokeToken(t.Context(), token.Load().(string)); err != nil {
		t.Fatal(err)
	}
	time.Sleep(time.Second)
	token.Store(newToken())
	cause := time.Now()
	l.until(t, 100)
	l.end(t, cause)
}
