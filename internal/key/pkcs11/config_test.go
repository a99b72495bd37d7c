// SPDX-License-Identifier: Apache-2.0

//go:build cgo

package pkcs11_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hsmsigner/hsmsigner/internal/key"
	"github.com/hsmsigner/hsmsigner/internal/key/pkcs11"
)

func TestBadConfigsAreRefusedAtOpen(t *testing.T) {
	good := func() pkcs11.Config {
		return pkcs11.Config{Module: "/m.so", TokenLabel: "t", PIN: func() (string, error) { return "1234", nil }}
	}
	for want, spoil := range map[string]func(c *pkcs11.Config){
		"no module given":          func(c *pkcs11.Config) { c.Module = "" },
		"must be a full path":      func(c *pkcs11.Config) { c.Module = "libsofthsm2.so" },
		"neither token label":      func(c *pkcs11.Config) { c.TokenLabel = "" },
		"at most 32 bytes":         func(c *pkcs11.Config) { c.TokenLabel = strings.Repeat("x", 33) },
		"no PIN given":             func(c *pkcs11.Config) { c.PIN = nil },
		"want 1 to 1024":           func(c *pkcs11.Config) { c.Sessions = 1025 },
		"want hsm, software or un": func(c *pkcs11.Config) { c.Protection = "good" },
		"NAME=value":               func(c *pkcs11.Config) { c.Env = []string{"X"} },
	} {
		c := good()
		spoil(&c)
		if _, err := pkcs11.Open(t.Context(), c); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q, got %v", want, err)
		}
	}
	_, err := pkcs11.Open(t.Context(), pkcs11.Config{})
	for _, want := range []string{"no module", "neither token", "no PIN"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("all at once: want %q, got %v", want, err)
		}
	}
}

// What only the token can tell is told by the first request, in words that name
// the setting.
func TestWhatBadConfigsSay(t *testing.T) {
	token := newToken(t)
	s := newShim(t, token)
	dir := t.TempDir()
	write := func(name, content string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	source := write("plain.c", "int nothing;\n")
	library := filepath.Join(dir, "plain.so")
	if out, err := exec.CommandContext(t.Context(), "gcc", "-shared", "-fPIC", "-o", library, source).CombinedOutput(); err != nil {
		t.Fatalf("gcc: %v\n%s", err, out)
	}
	pin := func(v string, err error) func(c *pkcs11.Config) {
		return func(c *pkcs11.Config) { c.PIN = func() (string, error) { return v, err } }
	}
	module := func(path string) func(c *pkcs11.Config) { return func(c *pkcs11.Config) { c.Module = path } }
	for _, c := range []struct {
		what  string
		spoil func(c *pkcs11.Config)
		order string
		kind  error
		want  string
	}{
		{"missing module", module(filepath.Join(dir, "none.so")), "", key.ErrUnavailable, "there is no such file"},
		{"a directory", module(dir), "", key.ErrUnavailable, "it is a directory"},
		{"a text file", module(source), "", key.ErrUnavailable, "cannot be loaded as a shared library"},
		{"another library", module(library), "", key.ErrUnavailable, "lacks C_GetFunctionList"},
		{"unknown label", func(c *pkcs11.Config) { c.TokenLabel = "nobody" }, "", key.ErrUnavailable, `there is no token labelled "nobody"; the module shows "signer"`},
		{"unknown serial", func(c *pkcs11.Config) { c.TokenSerial = "0123" }, "", key.ErrUnavailable, `with serial number "0123"; the module shows`},
		{"its own configuration missing", func(c *pkcs11.Config) { c.Env = append(c.Env, "SOFTHSM2_CONF="+dir+"/none") }, "", key.ErrUnavailable, "did not start"},
		{"no token at all", func(c *pkcs11.Config) {
			empty := filepath.Join(dir, "empty")
			_ = os.Mkdir(empty, 0o700)
			c.Env = append(c.Env, "SOFTHSM2_CONF="+write("empty.conf", "directories.tokendir = "+empty+"\n"))
		}, "", key.ErrUnavailable, "shows no token at all"},
		{"wrong PIN", pin("hush-hush 1", nil), "", key.ErrDenied, "refused the PIN (CKR_PIN_INCORRECT)"},
		{"too short a PIN", pin("1", nil), "", key.ErrDenied, "refused the PIN"},
		{"no PIN", pin("", nil), "", key.ErrDenied, "the PIN is empty"},
		{"a PIN that cannot be read", pin("", errors.New("open /run/pin: no such file")), "", key.ErrUnavailable, "could not be read: open /run/pin"},
		{"locked PIN", nil, "C_Login rv a4", key.ErrDenied, "CKR_PIN_LOCKED"},
		{"locked PIN, by flag", nil, "C_GetTokenInfo flags 40000", key.ErrDenied, "CKR_PIN_LOCKED"},
		{"last try", nil, "C_GetTokenInfo flags 20000", key.ErrDenied, "would lock the token"},
		{"PIN to be changed", nil, "C_GetTokenInfo flags 80000", key.ErrDenied, "must be changed"},
		{"expired PIN", nil, "C_Login rv a3", key.ErrDenied, "expired"},
		{"a vendor's word for a wrong PIN", nil, "C_Login rv 80000042", key.ErrDenied, "the vendor's error 0x80000042"},
		{"no user PIN", nil, "C_Login rv 102", key.ErrDenied, "no user PIN yet"},
		{"CloudHSM without a user", func(c *pkcs11.Config) { c.CloudHSM = true; c.PIN = func() (string, error) { return "x", nil } }, "", key.ErrDenied, "a colon and the password"},
		{"CloudHSM with a wrong password", func(c *pkcs11.Config) {
			c.CloudHSM = true
			c.PIN = func() (string, error) { return "user:hush-hush", nil }
		}, "", key.ErrDenied, "crypto user or its password"},
		{"no such program", func(c *pkcs11.Config) { c.Executable = "/nowhere/hsmsigner" }, "", key.ErrUnavailable, "could not be started"},
		{"another program", func(c *pkcs11.Config) { c.Executable = "/bin/true"; c.Args = []string{} }, "", key.ErrUnavailable, "ended"},
	} {
		t.Run(strings.ReplaceAll(c.what, " ", "-"), func(t *testing.T) {
			s.tell(t)
			if c.order != "" {
				s.tell(t, c.order)
			}
			config := s.config(token)
			var log bytes.Buffer
			config.Logger = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
			if c.spoil != nil {
				c.spoil(&config)
			}
			b := open(t, config)
			err := b.Health(t.Context())
			if !errors.Is(err, c.kind) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("health: %v\nwant %v with %q", err, c.kind, c.want)
			}
			var call *key.CallError
			if !errors.As(err, &call) || call.Why == "" {
				t.Errorf("%T is no key.CallError", err)
			}
			_, err2 := b.Keys(t.Context(), "")
			if !errors.Is(err2, c.kind) {
				t.Errorf("keys: %v", err2)
			}
			if _, err := b.SignDigest(t.Context(), "00.0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798", [32]byte{1}); !errors.Is(err, c.kind) {
				t.Errorf("sign: %v", err)
			}
			if err := b.Close(); err != nil {
				t.Error(err)
			}
			if text := fmt.Sprint(err, err2, log.String()); strings.Contains(text, "hush-hush") {
				t.Errorf("the PIN is in %s", text)
			}
			t.Log(err)
		})
	}
}

func TestTwoTokensWithOneLabel(t *testing.T) {
	token := newToken(t)
	if err := token.Init(t.Context(), token.Label); err != nil {
		t.Fatal(err)
	}
	b := open(t, configOf(token))
	err := b.Health(t.Context())
	if !errors.Is(err, key.ErrUnavailable) || !strings.Contains(err.Error(), `more than one token labelled "signer"`) {
		t.Fatalf("got %v", err)
	}
	t.Log(err)
	unnamed := configOf(token)
	unnamed.TokenLabel, unnamed.CloudHSM, unnamed.PIN = "", true, func() (string, error) { return "cu:password", nil }
	if err := open(t, unnamed).Health(t.Context()); !errors.Is(err, key.ErrUnavailable) || !strings.Contains(err.Error(), "more than one token:") {
		t.Errorf("without a name: %v", err)
	}
	_, after, _ := strings.Cut(err.Error(), `serial number "`)
	serial, _, _ := strings.Cut(after, `"`)
	c := configOf(token)
	c.TokenSerial = serial
	if err := open(t, c).Health(t.Context()); err != nil {
		t.Errorf("with the serial number %s, too: %v", serial, err)
	}
	c.TokenLabel = ""
	if err := open(t, c).Health(t.Context()); err != nil {
		t.Errorf("with the serial number %s alone: %v", serial, err)
	}
}

// A token locks after a few wrong PINs: one is tried once, until there is another.
func TestWrongPINIsTriedOnce(t *testing.T) {
	token := newToken(t)
	s := newShim(t, token)
	var pin atomic.Value
	pin.Store("wrong 1")
	c := s.config(token)
	c.PIN = func() (string, error) { return pin.Load().(string), nil }
	b := open(t, c)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 20 {
				if err := b.Health(t.Context()); !errors.Is(err, key.ErrDenied) || key.Transient(err) {
					t.Errorf("got %v", err)
				}
				time.Sleep(10 * time.Millisecond)
			}
		})
	}
	wg.Wait()
	if n := s.calls(t, "C_Login"); n != 1 {
		t.Errorf("%d logins with the wrong PIN", n)
	}
	pin.Store("wrong 2")
	begun := time.Now()
	for s.calls(t, "C_Login") < 2 && time.Since(begun) < time.Minute {
		_ = b.Health(t.Context())
		time.Sleep(10 * time.Millisecond)
	}
	pin.Store(token.PIN)
	eventuallyHealthy(t, b)
	if n := s.calls(t, "C_Login"); n != 3 {
		t.Errorf("%d logins with two wrong PINs and the right one", n)
	}
}

// Wallets that share a token share its count of wrong PINs.
func TestWrongPINIsTriedOnceByAllBackends(t *testing.T) {
	token := newToken(t)
	s := newShim(t, token)
	c := s.config(token)
	c.Logins = pkcs11.NewLogins()
	wrong := c
	wrong.PIN = func() (string, error) { return "wrong", nil }
	var wg sync.WaitGroup
	for range 4 {
		b := open(t, wrong)
		wg.Go(func() {
			if err := b.Health(t.Context()); !errors.Is(err, key.ErrDenied) || !strings.Contains(err.Error(), "CKR_PIN_INCORRECT") {
				t.Errorf("got %v", err)
			}
		})
	}
	wg.Wait()
	if n := s.calls(t, "C_Login"); n != 1 {
		t.Errorf("%d logins with the wrong PIN", n)
	}
	for range 2 { // the right one is not held up by it, nor by being in use
		if err := open(t, c).Health(t.Context()); err != nil {
			t.Error(err)
		}
	}
	if n := s.calls(t, "C_Login"); n != 3 {
		t.Errorf("%d logins with the wrong PIN and twice the right one", n)
	}
}

// The login is gone and the PIN has been changed meanwhile: one login with the
// old one, then the new one from the file.
func TestPINChangedUnderALiveChild(t *testing.T) {
	token := newToken(t)
	s := newShim(t, token)
	var pin atomic.Value
	pin.Store(token.PIN)
	c := s.config(token)
	c.PIN = func() (string, error) { return pin.Load().(string), nil }
	b := open(t, c)
	k := create(t, b, "a")
	before := s.calls(t, "C_Login")
	if err := changePIN(t, token, "brand new 3"); err != nil {
		t.Fatal(err)
	}
	// SoftHSM keeps the old PIN in mind as long as its process lives.
	s.tell(t, "C_SignInit closeall", "C_OpenSession slow 200", "C_Login rv a0")
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			for range 5 {
				if err := sign(t.Context(), b, k, i); !errors.Is(err, key.ErrDenied) {
					t.Errorf("got %v", err)
				}
				time.Sleep(20 * time.Millisecond)
			}
		})
	}
	wg.Wait()
	s.tell(t)
	if n := s.calls(t, "C_Login") - before; n != 1 {
		t.Errorf("%d logins with the old PIN", n)
	}
	pin.Store("brand new 3")
	eventuallyHealthy(t, b)
	mustSign(t, b, k)
}

// A login holds for a whole process; so a second configuration has its own.
func TestWrongPINBesideALiveConfigurationGetsNothing(t *testing.T) {
	token := newToken(t)
	live := open(t, configOf(token))
	k := create(t, live, "a")
	mustSign(t, live, k)
	c := configOf(token)
	c.PIN = func() (string, error) { return "not the PIN", nil }
	stranger := open(t, c)
	if page, err := stranger.Keys(t.Context(), ""); !errors.Is(err, key.ErrDenied) || len(page.Keys)+len(page.Problems) != 0 {
		t.Errorf("listed %v, %v", page, err)
	}
	if err := sign(t.Context(), stranger, k, 1); !errors.Is(err, key.ErrDenied) {
		t.Errorf("sign: %v", err)
	}
	if _, err := stranger.PublicKey(t.Context(), k.Ref); !errors.Is(err, key.ErrDenied) {
		t.Errorf("public key: %v", err)
	}
	if _, err := stranger.Create(t.Context(), "b", nil); !errors.Is(err, key.ErrDenied) {
		t.Errorf("create: %v", err)
	}
	if _, err := stranger.Delete(t.Context(), k.Ref); !errors.Is(err, key.ErrDenied) {
		t.Errorf("delete: %v", err)
	}
	mustSign(t, live, k)
}

func TestProtectionIsAsDeclaredUnlessItIsSoftHSM(t *testing.T) {
	token := newToken(t)
	c := configOf(token)
	c.Protection = key.HSM
	var log bytes.Buffer
	c.Logger = slog.New(slog.NewTextHandler(&log, nil))
	b := open(t, c)
	if k := create(t, b, "a"); k.Protection != key.Software {
		t.Errorf("SoftHSM is %s", k.Protection)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(log.String(), "SoftHSM, which is software") {
		t.Errorf("the log says %s", log.String())
	}
}

// The PIN is in no argument, no environment and no log, even if the module says it.
func TestPINStaysSecret(t *testing.T) {
	token := newToken(t)
	s := newShim(t, token)
	var log bytes.Buffer
	c := s.config(token)
	c.Logger = slog.New(slog.NewTextHandler(&log, nil))
	s.tell(t, "C_Login tell")
	b := open(t, c)
	if err := b.Health(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{"cmdline", "environ"} {
		content, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", b.Process(), file))
		if err != nil || len(content) == 0 {
			t.Fatalf("%s: %v", file, err)
		}
		if bytes.Contains(content, []byte(token.PIN)) {
			t.Errorf("the PIN is in the child's %s", file)
		}
	}
	s.tell(t, "C_Sign crash")
	k, err := b.Create(t.Context(), "a", nil)
	if err == nil {
		t.Fatalf("created %v in a module that crashes", k)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	if text := log.String(); strings.Contains(text, token.PIN) || !strings.Contains(text, "the PIN is ***") {
		t.Errorf("the log says %s", text)
	}
}

func TestCloseIsPromptWhateverGoesOn(t *testing.T) {
	token := newToken(t)
	s := newShim(t, token)
	b := open(t, s.config(token))
	k := create(t, b, "a")
	s.tell(t, "C_Sign hang")
	result := make(chan error, 1)
	go func() { result <- sign(context.Background(), b, k, 0) }()
	for deadline := time.Now().Add(time.Minute); s.calls(t, "C_Sign") < 2; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the module was not called")
		}
	}
	begun := time.Now()
	if err := b.Close(); err != nil {
		t.Error(err)
	}
	if took := time.Since(begun); took > 8*time.Second { // less than CallTimeout
		t.Errorf("close took %s", took)
	}
	if err := <-result; err == nil {
		t.Error("signed")
	}
	if err := b.Health(t.Context()); err == nil {
		t.Error("healthy")
	}
}
