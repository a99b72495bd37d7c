// SPDX-License-Identifier: Apache-2.0

//go:build cgo

package token

import (
	"math"
	"time"

	"github.com/miekg/pkcs11"

	"github.com/hsmsigner/hsmsigner/internal/key/pkcs11/wire"
)

// pool is a fixed number of places for sessions. A session belongs to one
// request at a time, since PKCS#11 allows one operation in it (v2.40 §5.2). A
// place whose session died is filled again when it is needed.
type pool struct {
	token *token
	size  int
	idle  chan pkcs11.SessionHandle
	empty chan struct{} // one for each place without a session
}

// pollSessions is how often a place is tried again while others hold all the
// sessions that the token gives.
const pollSessions = 100 * time.Millisecond

// newPool opens the sessions, as many as the settings ask for and the token
// gives, and logs in.
func (t *token) newPool() (*pool, error) {
	size := int(min(t.settings.Sessions, sessionsOf(t.info.MaxSessionCount), math.MaxInt16))
	if t.settings.CloudHSM {
		size = min(size, int(sessionsOf(t.info.MaxRwSessionCount)))
	}
	size = max(size, 1)
	p := &pool{token: t, size: size, idle: make(chan pkcs11.SessionHandle, size), empty: make(chan struct{}, size)}
	for n := range size {
		s, err := t.openSession(t.settings.CloudHSM)
		if n > 0 && is(err, pkcs11.CKR_SESSION_COUNT) {
			p.size = n // others use the token, too
			break
		}
		if err != nil {
			return nil, err
		}
		p.idle <- s
	}
	return p, nil
}

// sessionsOf reads a limit: zero and all ones mean that there is none, or none
// known (PKCS#11 v2.40 §3.2).
func sessionsOf(limit uint) uint32 {
	if limit == pkcs11.CK_EFFECTIVELY_INFINITE || limit >= math.MaxUint32 {
		return math.MaxUint32
	}
	return uint32(limit)
}

// take gives a session in which the user is logged in: any idle one, or one that
// is opened for this request.
func (p *pool) take(deadline time.Time, want want) (pkcs11.SessionHandle, error) {
	if f := p.token.pinRefused(); f != nil {
		return 0, f
	}
	for {
		if want == anySession {
			select {
			case s := <-p.idle:
				return s, nil
			default:
			}
		}
		select {
		case s := <-p.idle:
			if want == anySession {
				return s, nil
			}
			_ = p.token.module.CloseSession(s)
		case <-p.empty:
		}
		s, err := p.token.openSession(p.token.settings.CloudHSM || want == writeSession)
		if err == nil {
			return s, nil
		}
		p.empty <- struct{}{}
		if !is(err, pkcs11.CKR_SESSION_COUNT) || len(p.empty) == p.size || expired(deadline) {
			return 0, err
		}
		if want == anySession {
			select {
			case s := <-p.idle:
				return s, nil
			case <-time.After(pollSessions):
			}
		}
	}
}

// want is what session a request needs.
type want int

const (
	anySession   want = iota
	newOne            // opened now, since others may be as dead as the last
	writeSession      // opened now, for writing; it must not be given back as good
)

// give takes a session back, or closes it if it is of no more use.
func (p *pool) give(s pkcs11.SessionHandle, good bool) {
	if good {
		p.idle <- s
		return
	}
	_ = p.token.module.CloseSession(s)
	p.empty <- struct{}{}
}

// openSession opens a session and sees to it that the user is logged in.
func (t *token) openSession(write bool) (pkcs11.SessionHandle, error) {
	flags := uint(pkcs11.CKF_SERIAL_SESSION)
	if write {
		flags |= pkcs11.CKF_RW_SESSION
	}
	s, err := t.module.OpenSession(t.slot, flags)
	if err != nil {
		return 0, err
	}
	if err := t.logIn(s); err != nil {
		_ = t.module.CloseSession(s)
		return 0, err
	}
	return s, nil
}

// logIn logs the user in if that is not so; it holds for every session of this
// process. A PIN that was refused once is not tried again.
func (t *token) logIn(s pkcs11.SessionHandle) error {
	t.login.Lock()
	defer t.login.Unlock()
	if t.login.refused != nil {
		return t.login.refused
	}
	if !t.login.oddState {
		in, err := t.userState(s)
		if err != nil || in {
			return err
		}
	}
	err := t.module.Login(s, pkcs11.CKU_USER, string(t.settings.PIN))
	if is(err, pkcs11.CKR_USER_ALREADY_LOGGED_IN) {
		return nil
	}
	if err != nil {
		if c, _ := code(err); pinRefused(err) {
			t.login.refused = loginFailure(c, t.settings.CloudHSM)
			return t.login.refused
		}
		return err
	}
	t.handles.forgetAll() // those of private objects ended with the old login
	if in, err := t.userState(s); err == nil && !in {
		t.login.oddState = true
	}
	return nil
}

// userState reports whether a session says that the user is logged in.
func (t *token) userState(s pkcs11.SessionHandle) (bool, error) {
	info, err := t.module.GetSessionInfo(s)
	if err != nil {
		return false, err
	}
	return info.State == pkcs11.CKS_RO_USER_FUNCTIONS || info.State == pkcs11.CKS_RW_USER_FUNCTIONS, nil
}

// stillLoggedIn is asked before the absence of an object is believed: without
// a login a token hides private objects instead of giving an error.
func (t *token) stillLoggedIn(s pkcs11.SessionHandle) error {
	t.login.Lock()
	odd := t.login.oddState
	t.login.Unlock()
	if odd {
		return nil
	}
	in, err := t.userState(s)
	if err == nil && !in {
		err = pkcs11.Error(pkcs11.CKR_USER_NOT_LOGGED_IN)
	}
	return err
}

func (t *token) pinRefused() *wire.Failure {
	t.login.Lock()
	defer t.login.Unlock()
	return t.login.refused
}
