// SPDX-License-Identifier: Apache-2.0

package oidc

import (
	"time"

	"github.com/hsmsigner/hsmsigner/internal/auth"
)

// CookieOf is the cookie of a sign-in that may be finished for so long, with the
// state that belongs to it.
func CookieOf(v *auth.Verifier, left time.Duration) (cookie, state string) {
	l := newLogin("")
	l.expires = time.Now().Add(left).Unix()
	return l.cookie(v), l.state(v)
}
