// SPDX-License-Identifier: Apache-2.0

package oidc

import (
	"encoding/base64"
	"errors"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/hsmsigner/hsmsigner/internal/auth"
)

const (
	loginTime = 10 * time.Minute // from /auth/login to the callback
	maxUsed   = 10_000           // sign-ins that are remembered as used
)

// What is made of a login's seed.
const (
	forLogin = "oidc login" // what shows that the cookie is ours
	forState = "oidc state"
	forNonce = "oidc nonce"
	forProof = "oidc pkce"
)

// login is one try to sign in, from its beginning to the callback.
type login struct {
	seed    string // 256 random bits
	expires int64  // Unix time
	path    string // where to go then; empty for home
}

func newLogin(to string) login {
	if !localPath(to) {
		to = ""
	}
	return login{seed: auth.NewSecret(), expires: time.Now().Add(loginTime).Unix(), path: to}
}

func (l login) state(v *auth.Verifier) string { return l.derive(v, forState) }
func (l login) nonce(v *auth.Verifier) string { return l.derive(v, forNonce) }

// proof is PKCE's code verifier: 43 characters, as RFC 7636 §4.1 wants.
func (l login) proof(v *auth.Verifier) string { return l.derive(v, forProof) }

func (l login) derive(v *auth.Verifier, purpose string) string {
	return base64.RawURLEncoding.EncodeToString(v.Hash(purpose, "", l.seed))
}

func (l login) to(home string) string {
	if l.path == "" {
		return home
	}
	return l.path
}

// cookie is the login as the browser keeps it.
func (l login) cookie(v *auth.Verifier) string {
	said := l.seed + "." + strconv.FormatInt(l.expires, 10) + "." + base64.RawURLEncoding.EncodeToString([]byte(l.path))
	return said + "." + base64.RawURLEncoding.EncodeToString(v.Hash(forLogin, "", said))
}

func readLogin(v *auth.Verifier, cookie string) (login, error) {
	said, mac, _ := cutLast(cookie)
	parts := strings.Split(said, ".")
	sum, err := base64.RawURLEncoding.DecodeString(mac)
	if err != nil || len(parts) != 3 || !v.Check(sum, forLogin, "", said) {
		return login{}, errors.New("the cookie of the sign-in is not one of ours")
	}
	l := login{seed: parts[0]}
	path, err := base64.RawURLEncoding.DecodeString(parts[2])
	if err == nil {
		l.path = string(path)
		l.expires, err = strconv.ParseInt(parts[1], 10, 64)
	}
	if err != nil {
		return login{}, errors.New("the cookie of the sign-in is not one of ours")
	}
	if time.Now().Unix() >= l.expires {
		return login{}, errors.New("the sign-in took too long")
	}
	return l, nil
}

func cutLast(s string) (before, after string, found bool) {
	i := strings.LastIndexByte(s, '.')
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+1:], true
}

// used remembers which sign-ins have succeeded on this replica. On another one
// the provider refuses the code, which counts once.
type used struct {
	mu    sync.Mutex
	until map[string]int64
}

// first reports whether a seed was not used before. When there are too many to
// remember, it is false.
func (u *used) first(seed string, expires int64) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	if _, known := u.until[seed]; known {
		return false
	}
	if u.until == nil {
		u.until = make(map[string]int64)
	}
	if len(u.until) >= maxUsed {
		now := time.Now().Unix()
		for s, end := range u.until {
			if end <= now {
				delete(u.until, s)
			}
		}
		if len(u.until) >= maxUsed {
			return false
		}
	}
	u.until[seed] = expires
	return true
}
