// SPDX-License-Identifier: Apache-2.0

//go:build cgo

package token

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/miekg/pkcs11"

	"github.com/hsmsigner/hsmsigner/internal/key/pkcs11/wire"
)

// Available says whether this build can hold a module.
const Available = true

// token is a token of a module, with a user logged in. Its methods may be
// called at the same time.
type token struct {
	module   *pkcs11.Ctx
	settings wire.Settings
	info     pkcs11.TokenInfo
	library  string
	handles  handles
	given    given
	failures atomic.Int64 // curable errors since the last success

	// Requests hold life for reading; starting anew holds it for writing.
	life  sync.RWMutex
	epoch int // counts the starts
	slot  uint
	pool  *pool

	login struct {
		sync.Mutex
		refused  *wire.Failure // once set, no login is tried any more
		oddState bool          // the module does not say in C_GetSessionInfo whether it is logged in
	}
}

// open loads the module, finds the token, logs in and fills the pool.
func open(s wire.Settings) (*token, *wire.Failure) {
	if f := readable(s.Module); f != nil {
		return nil, f
	}
	if err := probe(s.Module); err != nil {
		return nil, unusable(s.Module, err.Error())
	}
	module := pkcs11.New(s.Module)
	if module == nil {
		return nil, unusable(s.Module, "it is no PKCS#11 module for this system")
	}
	t := &token{module: module, settings: s}
	t.handles.forgetAll()
	if err := t.start(); err != nil {
		return nil, failure("open the token", err)
	}
	return t, nil
}

// readable explains a path that names no library, better than a loader does.
func readable(path string) *wire.Failure {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return unusable(path, "there is no such file: install the vendor's library, or correct the path")
	case errors.Is(err, fs.ErrPermission):
		return unusable(path, "this user may not read it")
	case err == nil && info.IsDir():
		return unusable(path, "it is a directory; the path must name the library itself")
	}
	return nil
}

func unusable(path, why string) *wire.Failure {
	return &wire.Failure{Kind: wire.Unavailable, Why: fmt.Sprintf("the PKCS#11 module %s cannot be used: %s", path, why)}
}

// start makes the module ready: C_Initialize, the slot, the sessions, the login.
func (t *token) start() error {
	if err := t.module.Initialize(); err != nil && !is(err, pkcs11.CKR_CRYPTOKI_ALREADY_INITIALIZED) {
		c, _ := code(err)
		return &wire.Failure{Kind: wire.Unavailable, Why: "the module did not start (C_Initialize answered " + name(c) + "): is its own configuration (file, environment, network) in order?"}
	}
	if info, err := t.module.GetInfo(); err == nil {
		t.library = clean(fmt.Sprintf("%s %d.%d", strings.TrimSpace(info.LibraryDescription), info.LibraryVersion.Major, info.LibraryVersion.Minor))
	}
	if err := t.findSlot(); err != nil {
		return err
	}
	if f := t.mayLogIn(); f != nil {
		return f
	}
	t.handles.forgetAll()
	p, err := t.newPool()
	if err != nil {
		return err
	}
	t.pool = p
	return nil
}

// findSlot finds the one slot whose token has the label and serial number that
// the settings name. The numbers of slots mean nothing: they change.
func (t *token) findSlot() error {
	slots, err := t.module.GetSlotList(true)
	if err != nil {
		return err
	}
	var seen, fit []string
	for _, slot := range slots {
		info, err := t.module.GetTokenInfo(slot)
		if err != nil || info.Flags&pkcs11.CKF_TOKEN_INITIALIZED == 0 {
			continue // an empty one, as SoftHSM always shows
		}
		label, serial := strings.TrimRight(info.Label, " \x00"), strings.TrimRight(info.SerialNumber, " \x00")
		described := fmt.Sprintf("%q with serial number %q", clean(label), clean(serial))
		seen = append(seen, described)
		if t.settings.Label != "" && t.settings.Label != label || t.settings.Serial != "" && t.settings.Serial != serial {
			continue
		}
		fit = append(fit, described)
		t.slot, t.info = slot, info
	}
	var names []string
	if t.settings.Label != "" {
		names = append(names, fmt.Sprintf("labelled %q", t.settings.Label))
	}
	if t.settings.Serial != "" {
		names = append(names, fmt.Sprintf("with serial number %q", t.settings.Serial))
	}
	wanted := strings.Join(append([]string{"token"}, names...), " ")
	f := &wire.Failure{Kind: wire.Unavailable}
	switch {
	case len(fit) == 1:
		return nil
	case len(fit) > 1:
		f.Why = fmt.Sprintf("there is more than one %s: %s; name the one by its serial number", wanted, list(fit))
	case len(seen) == 0:
		f.Why = fmt.Sprintf("there is no %s: the module shows no token at all; is the HSM connected, and the module's own configuration right?", wanted)
	default:
		f.Why = fmt.Sprintf("there is no %s; the module shows %s", wanted, list(seen))
	}
	return f
}

func list(items []string) string {
	if len(items) > 8 {
		items = append(items[:8:8], "…")
	}
	return strings.Join(items, ", ")
}

// mayLogIn looks at the flags of the token before a PIN is spent.
func (t *token) mayLogIn() *wire.Failure {
	f := &wire.Failure{Kind: wire.Denied, PIN: true}
	switch flags := t.info.Flags; {
	case flags&pkcs11.CKF_USER_PIN_LOCKED != 0:
		return loginFailure(pkcs11.CKR_PIN_LOCKED, false)
	case flags&pkcs11.CKF_USER_PIN_FINAL_TRY != 0:
		f.Why = "one more wrong PIN would lock the token (CKF_USER_PIN_FINAL_TRY), so none is tried: log in once with the vendor's tool, which proves the PIN and resets the count, then restart hsmsigner"
	case flags&pkcs11.CKF_USER_PIN_TO_BE_CHANGED != 0:
		f.Why = "the user PIN must be changed before it can be used (CKF_USER_PIN_TO_BE_CHANGED): change it with the vendor's tool, then correct the configuration"
	default:
		return nil
	}
	return f
}

// hello describes the token to the parent.
func (t *token) hello() wire.Hello {
	return wire.Hello{
		Sessions: uint32(t.pool.size), Label: clean(t.info.Label), Serial: clean(t.info.SerialNumber),
		Manufacturer: clean(t.info.ManufacturerID), Model: clean(t.info.Model), Library: t.library,
	}
}

// restart ends the module and starts it again, unless somebody else did since
// epoch was read.
func (t *token) restart(epoch int) error {
	t.life.Lock()
	defer t.life.Unlock()
	if t.epoch != epoch {
		return nil
	}
	_ = t.module.Finalize() // it is broken anyhow
	if err := t.start(); err != nil {
		return err
	}
	t.epoch++
	return nil
}

// close logs out and ends the module.
func (t *token) close() {
	t.life.Lock()
	defer t.life.Unlock()
	_ = t.module.CloseAllSessions(t.slot) // which logs out, too
	_ = t.module.Finalize()
}

// brokenError says that starting the module anew did not help: this process has
// no more use.
type brokenError struct{ err error }

func (e *brokenError) Error() string { return e.err.Error() }
func (e *brokenError) Unwrap() error { return e.err }

// manyFailures is after how many curable errors in a row a new start is tried
// even if a new session is what they ask for.
const manyFailures = 8

// run does something in a session; what it gives up the session for, it does
// again in a new one. do must not leave an operation open in the session.
func (t *token) run(deadline time.Time, do func(pkcs11.SessionHandle) error) error {
	return t.runIn(anySession, deadline, do)
}

func (t *token) runIn(session want, deadline time.Time, do func(pkcs11.SessionHandle) error) error {
	for attempt := 1; ; attempt++ {
		epoch, err := t.once(session, deadline, do)
		session = max(session, newOne)
		help := curable(err)
		if help == nothing {
			if err == nil {
				t.failures.Store(0)
			}
			return err
		}
		if t.failures.Add(1) >= manyFailures {
			help = newStart
		}
		switch {
		case attempt == 1:
		case help == newSession:
			return err
		case attempt == 2:
			if started := t.restart(epoch); started != nil {
				return &brokenError{started}
			}
		default:
			return &brokenError{err}
		}
		if expired(deadline) {
			return err
		}
	}
}

// once does something in a session of the pool, and says in which epoch.
func (t *token) once(session want, deadline time.Time, do func(pkcs11.SessionHandle) error) (epoch int, err error) {
	t.life.RLock()
	defer t.life.RUnlock()
	s, err := t.pool.take(deadline, session)
	if err != nil {
		return t.epoch, err
	}
	err = do(s)
	t.pool.give(s, curable(err) == nothing && session != writeSession)
	return t.epoch, err
}

func expired(deadline time.Time) bool { return !deadline.IsZero() && time.Now().After(deadline) }

func is(err error, c uint) bool {
	got, ok := code(err)
	return ok && uint(got) == c
}
