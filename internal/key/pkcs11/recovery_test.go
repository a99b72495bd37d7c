// SPDX-License-Identifier: Apache-2.0

//go:build cgo

package pkcs11_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/crypto"

	"github.com/hsmsigner/hsmsigner/internal/key"
	"github.com/hsmsigner/hsmsigner/internal/key/pkcs11"
)

// burst is callers that sign one after the other, as package wallet would have
// it: what may pass by itself is tried again with backoff until the deadline.
type burst struct {
	stop   chan struct{}
	wg     sync.WaitGroup
	signed atomic.Int64
	again  atomic.Int64

	mu     sync.Mutex
	failed []error
	last   time.Time     // of a success
	gap    time.Duration // the longest without one
}

const callerDeadline = time.Minute

func startBurst(t *testing.T, b *pkcs11.Backend, keys []key.Key, callers int) *burst {
	t.Helper()
	u := &burst{stop: make(chan struct{}), last: time.Now()}
	for i := range callers {
		u.wg.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-u.stop:
					return
				default:
				}
				u.one(t.Context(), b, keys[i%len(keys)], i*1_000_000+n)
			}
		})
	}
	return u
}

func (u *burst) one(ctx context.Context, b *pkcs11.Backend, k key.Key, n int) {
	ctx, cancel := context.WithTimeout(ctx, callerDeadline)
	defer cancel()
	for wait := 50 * time.Millisecond; ; wait = min(2*wait, 2*time.Second) {
		err := sign(ctx, b, k, n)
		if err == nil {
			u.signed.Add(1)
			u.mu.Lock()
			u.gap = max(u.gap, time.Since(u.last))
			u.last = time.Now()
			u.mu.Unlock()
			return
		}
		if !key.Transient(err) || ctx.Err() != nil {
			u.mu.Lock()
			u.failed = append(u.failed, err)
			u.mu.Unlock()
			return
		}
		u.again.Add(1)
		select {
		case <-time.After(wait):
		case <-ctx.Done():
		}
	}
}

// more waits for so many more signatures.
func (u *burst) more(t *testing.T, n int64) {
	t.Helper()
	want := u.signed.Load() + n
	for deadline := time.Now().Add(2 * time.Minute); u.signed.Load() < want; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d signatures, want %d", u.signed.Load(), want)
		}
	}
}

func (u *burst) end(t *testing.T) {
	t.Helper()
	close(u.stop)
	u.wg.Wait()
	t.Logf("%d signatures, %d tries again, longest gap %s", u.signed.Load(), u.again.Load(), u.gap)
	if len(u.failed) > 0 {
		t.Errorf("%d callers failed, the first: %v", len(u.failed), u.failed[0])
	}
	if u.gap > 20*time.Second { // it takes two, on a machine that is not busy
		t.Errorf("no signature for %s", u.gap)
	}
}

func TestLostSessionsInABurstFailNobody(t *testing.T) {
	token := newToken(t)
	s := newShim(t, token)
	b := open(t, s.config(token))
	keys := []key.Key{create(t, b, "a"), create(t, b, "b"), create(t, b, "c")}
	pid := b.Process()
	u := startBurst(t, b, keys, 32)
	for range 3 {
		u.more(t, 100)
		s.tell(t, "C_SignInit once-closeall")
		u.more(t, 100)
	}
	u.end(t)
	if u.again.Load() != 0 {
		t.Errorf("%d requests had to be tried again by the wallet", u.again.Load())
	}
	if b.Process() != pid {
		t.Error("lost sessions cost the child its life")
	}
	if n := s.calls(t, "C_Initialize"); n != 1 {
		t.Errorf("the module was started %d times; new sessions are enough", n)
	}
}

func TestKilledChildInABurstFailsNobody(t *testing.T) {
	token := newToken(t)
	b := open(t, configOf(token))
	keys := []key.Key{create(t, b, "a"), create(t, b, "b"), create(t, b, "c")}
	u := startBurst(t, b, keys, 32)
	for range 3 {
		u.more(t, 100)
		if err := syscall.Kill(b.Process(), syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		u.more(t, 100)
	}
	u.end(t)
}

func TestCrashOfTheModuleFailsNobody(t *testing.T) {
	token := newToken(t)
	s := newShim(t, token)
	b := open(t, s.config(token))
	keys := []key.Key{create(t, b, "a"), create(t, b, "b")}
	u := startBurst(t, b, keys, 16)
	u.more(t, 100)
	s.tell(t, "C_Sign once-crash")
	u.more(t, 100)
	u.end(t)
	s.tell(t, "C_Sign crash")
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	err := sign(ctx, b, keys[0], 1)
	if !errors.Is(err, key.ErrUnavailable) || !strings.Contains(err.Error(), "SIGSEGV") {
		t.Errorf("got %v", err)
	}
}

func TestHangingCallIsEndedAndFailsNobody(t *testing.T) {
	token := newToken(t)
	s := newShim(t, token)
	c := s.config(token)
	c.CallTimeout = time.Second
	b := open(t, c)
	keys := []key.Key{create(t, b, "a"), create(t, b, "b")}
	pid := b.Process()
	u := startBurst(t, b, keys, 16)
	u.more(t, 100)
	s.tell(t, "C_Sign once-hang")
	for deadline := time.Now().Add(time.Minute); b.Process() == pid; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the child that hangs was not replaced")
		}
	}
	u.more(t, 100)
	u.end(t)
}

func TestCallerIsNotHeldByAHangingCall(t *testing.T) {
	token := newToken(t)
	s := newShim(t, token)
	b := open(t, s.config(token))
	k := create(t, b, "a")
	s.tell(t, "C_Sign hang")
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	begun := time.Now()
	if err := sign(ctx, b, k, 0); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	if took := time.Since(begun); took > 8*time.Second { // less than CallTimeout
		t.Errorf("it took %s", took)
	}
}

func TestStoppedChildIsReplaced(t *testing.T) {
	token := newToken(t)
	c := configOf(token)
	c.CallTimeout = time.Second
	b := open(t, c)
	k := create(t, b, "a")
	pid := b.Process()
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	u := startBurst(t, b, []key.Key{k}, 4)
	u.more(t, 20)
	u.end(t)
	if b.Process() == pid {
		t.Error("it is still the same child")
	}
}

func TestHangInInitializeIsEnded(t *testing.T) {
	token := newToken(t)
	s := newShim(t, token)
	c := s.config(token)
	c.StartTimeout = 5 * time.Second // in which a good child has to start, too
	s.tell(t, "C_Initialize hang")
	b := open(t, c)
	err := b.Health(t.Context())
	if !errors.Is(err, key.ErrUnavailable) || !strings.Contains(err.Error(), "did not return within 5s") {
		t.Errorf("got %v", err)
	}
	s.tell(t)
	eventuallyHealthy(t, b)
}

func eventuallyHealthy(t *testing.T, b *pkcs11.Backend) {
	t.Helper()
	begun := time.Now()
	for {
		err := b.Health(t.Context())
		if err == nil {
			t.Logf("healthy after %s", time.Since(begun))
			return
		}
		if time.Since(begun) > 30*time.Second {
			t.Fatalf("not healthy 30 s after the cause ended: %v", err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// Each of these ends a session, a login or a handle; a request that meets it once
// is done all the same.
func TestWhatTokensAnswerWhenTheyForgetIsCuredUnseen(t *testing.T) {
	token := newToken(t)
	s := newShim(t, token)
	b := open(t, s.config(token))
	k := create(t, b, "a")
	pid := b.Process()
	for name, code := range map[string]string{
		"SESSION_HANDLE_INVALID": "b3", "SESSION_CLOSED": "b0", "OPERATION_ACTIVE": "90", "DEVICE_ERROR": "30", "DEVICE_REMOVED": "32",
		"TOKEN_NOT_PRESENT": "e0", "USER_NOT_LOGGED_IN": "101", "OBJECT_HANDLE_INVALID": "82", "KEY_HANDLE_INVALID": "60",
		"CRYPTOKI_NOT_INITIALIZED": "190", "GENERAL_ERROR": "5", "FUNCTION_FAILED": "6", "DEVICE_MEMORY": "31", "HOST_MEMORY": "2",
	} {
		for _, function := range []string{"C_SignInit", "C_Sign"} {
			s.tell(t, function+" once-rv "+code)
			if err := sign(t.Context(), b, k, 1); err != nil {
				t.Errorf("%s at %s: %v", name, function, err)
			}
		}
		s.tell(t, "C_FindObjectsInit once-rv "+code)
		if _, err := b.Keys(t.Context(), ""); err != nil {
			t.Errorf("%s at C_FindObjectsInit: %v", name, err)
		}
	}
	if b.Process() != pid {
		t.Error("it took a new child")
	}
}

// A token that is gone for a while ends the child, since starting the module anew
// does not help; once it is back, so are we.
func TestTokenThatIsGoneForAWhile(t *testing.T) {
	token := newToken(t)
	s := newShim(t, token)
	b := open(t, s.config(token))
	k := create(t, b, "a")
	s.tell(t, "C_SignInit rv e0", "C_OpenSession rv e0")
	for range 5 {
		err := sign(t.Context(), b, k, 1)
		if !errors.Is(err, key.ErrUnavailable) {
			t.Fatalf("got %v", err)
		}
		time.Sleep(20 * time.Millisecond)
	}
	if err := b.Health(t.Context()); !errors.Is(err, key.ErrUnavailable) {
		t.Errorf("health: %v", err)
	}
	s.tell(t)
	eventuallyHealthy(t, b)
	mustSign(t, b, k)
	s.tell(t, "C_GetSlotInfo gone")
	if err := b.Health(t.Context()); !errors.Is(err, key.ErrUnavailable) || !strings.Contains(err.Error(), "token is not there") {
		t.Errorf("a slot without its token: %v", err)
	}
}

// Without a login a token hides its private objects instead of giving an error:
// that must not look as if the keys were gone.
func TestForgottenLoginHidesNoKeys(t *testing.T) {
	token := newToken(t)
	s := newShim(t, token)
	c := s.config(token)
	c.Sessions = 2
	b := open(t, c)
	for i := range 3 {
		create(t, b, fmt.Sprint(i))
	}
	for _, at := range []string{"C_FindObjectsInit", "C_GetAttributeValue", "C_GetSessionInfo", "C_GenerateRandom"} {
		for _, how := range []string{"closeall", "logout"} {
			s.tell(t, at+" once-"+how)
			if at == "C_GenerateRandom" {
				if err := b.Health(t.Context()); err != nil {
					t.Errorf("health: %v", err)
				}
			}
			keys, problems := list(t, b)
			if len(keys) != 3 || len(problems) != 0 {
				t.Fatalf("after %s at %s: %d keys, %v", how, at, len(keys), problems)
			}
			s.tell(t, "C_SignInit once-"+how)
			mustSign(t, b, keys[0])
			s.tell(t, "C_FindObjectsInit once-"+how)
			if _, err := b.PublicKey(t.Context(), keys[0].Ref); err != nil {
				t.Errorf("public key after %s: %v", how, err)
			}
		}
	}
}

func TestFewerSessionsThanWanted(t *testing.T) {
	token := newToken(t)
	s := newShim(t, token)
	for _, order := range []string{"C_OpenSession limit 3", "C_GetTokenInfo max 3"} {
		s.tell(t, order)
		b := open(t, s.config(token))
		k := create(t, b, "a")
		u := startBurst(t, b, []key.Key{k}, 24)
		u.more(t, 200)
		u.end(t)
		if u.again.Load() != 0 {
			t.Errorf("%s: %d requests had to be tried again", order, u.again.Load())
		}
	}
	s.tell(t, "C_OpenSession limit 0")
	b := open(t, s.config(token))
	err := b.Health(t.Context())
	if !errors.Is(err, key.ErrUnavailable) || !strings.Contains(err.Error(), "CKR_SESSION_COUNT") {
		t.Errorf("no session at all: %v", err)
	}
}

func TestKeepAliveUsesIdleSessionsAndNoticesADeadConnection(t *testing.T) {
	token := newToken(t)
	s := newShim(t, token)
	c := s.config(token)
	c.Sessions, c.KeepAlive, c.CallTimeout = 4, 50*time.Millisecond, 3*time.Second
	b := open(t, c)
	k := create(t, b, "a")
	pid := b.Process()
	wait := func(what string, done func() bool) {
		t.Helper()
		for deadline := time.Now().Add(time.Minute); !done(); time.Sleep(10 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("not within a minute: %s", what)
			}
		}
	}
	wait("each session is used three times", func() bool { return s.calls(t, "C_GenerateRandom") >= 3*4 })
	s.tell(t, "C_GenerateRandom once-hang") // nobody asks for a signature meanwhile
	wait("the child that hangs is ended", func() bool { return b.Process() != pid })
	mustSign(t, b, k)
}

// The library of CloudHSM wants read-write sessions and private objects, and
// answers CKR_DEVICE_ERROR when the HSM throttles the reading of attributes.
func TestCloudHSMsWays(t *testing.T) {
	token := newToken(t)
	s := newShim(t, token)
	const pin = "crypto_user:password1"
	if err := changePIN(t, token, pin); err != nil {
		t.Fatal(err)
	}
	c := s.config(token)
	c.PIN = func() (string, error) { return pin, nil }
	s.tell(t, "C_OpenSession readwrite")
	if err := open(t, c).Health(t.Context()); err == nil {
		t.Fatal("the shim let a read-only session be opened")
	}
	c.CloudHSM = true
	c.TokenLabel = "" // there is only one
	b := open(t, c)
	k := create(t, b, "a")
	mustSign(t, b, k)
	secret := newKey(t)
	imported, err := b.Import(t.Context(), "b", crypto.FromECDSA(secret), nil)
	if err != nil {
		t.Fatal(err)
	}
	mustSign(t, b, imported)
	s.tell(t, "C_GetAttributeValue once-rv 30")
	before := s.calls(t, "C_FindObjectsInit")
	if keys, problems := list(t, b); len(keys) != 2 || len(problems) != 0 {
		t.Errorf("%v, %v", keys, problems)
	}
	if n := s.calls(t, "C_FindObjectsInit") - before; n != 2 {
		t.Errorf("%d searches: a throttled read began the listing anew", n)
	}
	if _, err := b.Delete(t.Context(), imported.Ref); err != nil {
		t.Error(err)
	}
}

// orphan is the argument of a process that opens a backend and says which child
// it has; see TestChildEndsWithItsParent.
const orphan = "orphan"

func runOrphan() int {
	b, err := pkcs11.Open(context.Background(), pkcs11.Config{
		Module: os.Getenv("ORPHAN_MODULE"), TokenLabel: "signer", PIN: func() (string, error) { return os.Getenv("ORPHAN_PIN"), nil },
	})
	if err == nil {
		err = b.Health(context.Background())
	}
	if err != nil {
		fmt.Println(err)
		return 1
	}
	fmt.Println(b.Process())
	select {}
}

func TestChildEndsWithItsParent(t *testing.T) {
	token := newToken(t)
	cmd := exec.CommandContext(t.Context(), os.Args[0], orphan)
	cmd.Env = append(os.Environ(), append(token.Env(), "ORPHAN_MODULE="+token.Module, "ORPHAN_PIN="+token.PIN)...)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var pid int
	if _, err := fmt.Fscan(out, &pid); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		state, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if errors.Is(err, os.ErrNotExist) || strings.Contains(string(state), ") Z ") {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("child %d outlives its parent: %s", pid, state)
		}
	}
}

// Ctrl-C and the signals of a service manager reach every process of the daemon;
// the child must still sign what the daemon has accepted.
func TestChildOutlivesSignalsToTheDaemon(t *testing.T) {
	token := newToken(t)
	b := open(t, configOf(token))
	k := create(t, b, "a")
	pid := b.Process()
	for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP} {
		if err := syscall.Kill(pid, sig); err != nil {
			t.Fatal(err)
		}
	}
	time.Sleep(50 * time.Millisecond)
	mustSign(t, b, k)
	if b.Process() != pid {
		t.Error("it is another child")
	}
}
