// SPDX-License-Identifier: Apache-2.0

// Package pkcs11 is the key backend for a token behind a PKCS#11 module: any
// HSM whose maker ships such a library, SoftHSM for tests, and AWS CloudHSM with
// Client SDK 5.
//
// The module runs in a child process of the same binary, one for each
// configuration: a login holds for a whole process, so another configuration
// with a wrong PIN gets nothing; a call into the module cannot be cancelled, but
// a process can be killed; and a module that crashes takes no more than the
// child with it. A child that hangs or dies is replaced, and requests that were
// under way fail as key.ErrUnavailable, which the wallet tries again.
//
// The PIN reaches the child through its pipe only, never by arguments or
// environment. A PIN that the token refused is not tried again, since a token
// locks after a few: only a new value, or a Backend opened anew, may log in.
//
// A key is named by its CKA_ID and its public key. Another key under the same
// CKA_ID is therefore not found, rather than asked for a signature. Private keys
// never leave the token; import passes them to the child through the pipe.
//
// This works in builds with cgo only; without it [Open] says so.
package pkcs11

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/hsmsigner/hsmsigner/internal/key"
	"github.com/hsmsigner/hsmsigner/internal/key/pkcs11/token"
)

// ChildArgument is the one argument of a child process. A program that uses this
// package calls [Child] and exits with its result if it was started so:
//
//	if len(os.Args) == 2 && os.Args[1] == pkcs11.ChildArgument {
//		os.Exit(pkcs11.Child(os.Stdin, os.Stdout))
//	}
const ChildArgument = "pkcs11-child"

// Limits of AWS CloudHSM (user guide, "AWS CloudHSM quotas" and "Performance
// information"), for the limiter of the wallet. PKCS#11 itself knows no quota.
const (
	// CloudHSMSignPerSecond is what a cluster of two hsm1.medium does in P-256
	// signatures; hsm2m.medium does 3,000. AWS publishes no figure for secp256k1.
	CloudHSMSignPerSecond = 500
	// CloudHSMMaxSessions is how many sessions one application may have.
	CloudHSMMaxSessions = 1024
)

// Defaults of a Config.
const (
	DefaultSessions     = 16
	DefaultCallTimeout  = 10 * time.Second
	DefaultStartTimeout = 30 * time.Second
	DefaultKeepAlive    = time.Minute
)

// Config says which token, and how to use it.
type Config struct {
	// Module is the full path of the vendor's library. It is code: it must come
	// from the operator, never from a tenant.
	Module string
	// TokenLabel and TokenSerial name the token: one of them, or both where
	// several tokens have one label. With CloudHSM, whose library shows one token
	// for each cluster, neither is needed if there is only one. The number of a
	// slot names nothing, since it changes.
	TokenLabel, TokenSerial string
	// PIN returns the user PIN; for CloudHSM "user:password". It is called for
	// each new child, and while a PIN stands refused at each attempt, so it may
	// re-read a file. It must be safe for concurrent use.
	PIN func() (string, error)
	// Sessions is how many signatures may be under way at once; fewer if the
	// token allows fewer. Zero: 16.
	Sessions int
	// CloudHSM is set for the library of AWS CloudHSM: every session is
	// read-write and every object private, since SDK 5 knows no others.
	CloudHSM bool
	// WrappingKey is the label of an RSA key pair in the token that may unwrap.
	// Import wraps keys for it. Empty: Import uses C_CreateObject, which hands
	// the key to the module in clear; SoftHSM takes that, many HSMs do not.
	WrappingKey string
	// Protection is what the operator declares the token to be. Empty: unknown.
	// A token that calls itself SoftHSM is software all the same.
	Protection key.Protection

	// Executable and Args start a child: Child must be what runs. Empty: this
	// program itself, with ChildArgument; on Linux the very file that runs now,
	// even if an upgrade has put another in its place.
	Executable string
	Args       []string
	// Env is added to the environment that the child inherits: what the module
	// itself wants, such as SOFTHSM2_CONF.
	Env []string

	// CallTimeout is how long a request may take in the module before the child
	// is killed. Zero: 10 s.
	CallTimeout time.Duration
	// StartTimeout is how long a child may take to be ready. Zero: 30 s.
	StartTimeout time.Duration
	// KeepAlive is how often idle sessions are used, so that nothing between
	// here and the HSM forgets them. Zero: 1 min; negative: never.
	KeepAlive time.Duration
	// PageSize is the number of keys in one page of Keys. Zero: 500.
	PageSize int

	// Logins is shared by the Backends of a process, so that a PIN which the token
	// refused to one of them is not tried by the others. Nil: shared with nobody.
	Logins *Logins

	Reads  *key.Quota   // waited for before each listing and look-up; may be nil
	Logger *slog.Logger // nil: nothing is logged
}

// withDefaults checks a config and fills it up.
func (c Config) withDefaults() (Config, error) {
	var bad []error
	complain := func(format string, args ...any) { bad = append(bad, fmt.Errorf(format, args...)) }
	if !token.Available {
		return c, errors.New("pkcs11: PKCS#11 needs a build with cgo: rebuild with CGO_ENABLED=1 and a C compiler, or use the release that is built so")
	}
	switch {
	case c.Module == "":
		complain("no module given: it must be the full path of the vendor's PKCS#11 library")
	case !filepath.IsAbs(c.Module):
		complain("module %q must be a full path, so that no search path decides which library is loaded", c.Module)
	}
	if c.TokenLabel == "" && c.TokenSerial == "" && !c.CloudHSM {
		complain("neither token label nor serial number given: one of them must name the token")
	}
	if len(c.TokenLabel) > 32 || len(c.TokenSerial) > 16 {
		complain("a token has a label of at most 32 bytes and a serial number of at most 16")
	}
	if c.PIN == nil {
		complain("no PIN given")
	}
	switch {
	case c.Sessions < 0, c.Sessions > CloudHSMMaxSessions:
		complain("%d sessions: want 1 to %d", c.Sessions, CloudHSMMaxSessions)
	case c.Sessions == 0:
		c.Sessions = DefaultSessions
	}
	switch c.Protection {
	case "":
		c.Protection = key.Unknown
	case key.HSM, key.Software, key.Unknown:
	default:
		complain("protection %q: want hsm, software or unknown", c.Protection)
	}
	for _, e := range c.Env {
		if name, _, ok := strings.Cut(e, "="); !ok || name == "" {
			complain("an entry of the child's environment is not NAME=value")
		}
	}
	if len(bad) > 0 {
		return c, fmt.Errorf("pkcs11: %w", errors.Join(bad...))
	}
	if c.Executable == "" {
		path, err := os.Executable()
		if err != nil {
			return c, fmt.Errorf("pkcs11: where is this program, to start it again as the child: %w", err)
		}
		if c.Executable = path; runtime.GOOS == "linux" {
			c.Executable = "/proc/self/exe"
		}
	}
	if c.Args == nil {
		c.Args = []string{ChildArgument}
	}
	for _, d := range []struct {
		field *time.Duration
		value time.Duration
	}{{&c.CallTimeout, DefaultCallTimeout}, {&c.StartTimeout, DefaultStartTimeout}, {&c.KeepAlive, DefaultKeepAlive}} {
		if *d.field == 0 {
			*d.field = d.value
		}
	}
	if c.PageSize <= 0 {
		c.PageSize = 500
	}
	if c.Logins == nil {
		c.Logins = NewLogins()
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c, nil
}

// pin reads the PIN and says what is wrong with one that cannot be right.
func (c Config) pin() (string, error) {
	pin, err := c.PIN()
	switch {
	case err != nil:
		return "", &key.CallError{Op: "log in", Kind: key.ErrUnavailable, Why: "the PIN could not be read: " + err.Error()}
	case pin == "":
		return "", &key.CallError{Op: "log in", Kind: key.ErrDenied, Why: "the PIN is empty"}
	case len(pin) > 1024:
		return "", &key.CallError{Op: "log in", Kind: key.ErrDenied, Why: "the PIN is longer than 1024 bytes: is it the content of the wrong file?"}
	case c.CloudHSM && !strings.Contains(pin, ":"):
		return "", &key.CallError{Op: "log in", Kind: key.ErrDenied, Why: "CloudHSM's PIN must be the crypto user's name, a colon and the password"}
	}
	return pin, nil
}
