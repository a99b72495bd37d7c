// SPDX-License-Identifier: Apache-2.0

package pkcs11

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"sync"
)

// Logins is what the Backends of one process know together about PINs. Several
// wallets may use one token: without it each of them would try a wrong PIN once,
// and that may be as often as the token takes before it locks. It keeps no PIN,
// only fingerprints under a random key. It is safe for concurrent use.
type Logins struct {
	key [32]byte

	mu    sync.Mutex
	known map[fingerprint]*tried
}

// fingerprint stands for a PIN and the token that it is for.
type fingerprint [sha256.Size]byte

// tried is what became of a PIN.
type tried struct {
	turn    chan struct{} // full while somebody tries it
	good    bool          // the token has accepted it
	refused error         // the token has refused it
}

// NewLogins returns a Logins that knows nothing yet.
func NewLogins() *Logins {
	l := &Logins{known: make(map[fingerprint]*tried)}
	_, _ = rand.Read(l.key[:]) // never fails (crypto/rand)
	return l
}

func (l *Logins) fingerprint(c Config, pin string) (f fingerprint) {
	mac := hmac.New(sha256.New, l.key[:])
	fmt.Fprintf(mac, "%q %q %q %q", c.Module, c.TokenLabel, c.TokenSerial, pin)
	mac.Sum(f[:0])
	return f
}

// begin waits until nobody else is trying a PIN that is not known to be good,
// and gives the error of one that was refused. What it returns else is to be
// called when the outcome is known.
func (l *Logins) begin(ctx context.Context, f fingerprint) (end func(), err error) {
	l.mu.Lock()
	t := l.known[f]
	if t == nil {
		t = &tried{turn: make(chan struct{}, 1)}
		l.known[f] = t
	}
	good := t.good
	l.mu.Unlock()
	end = func() {}
	if !good {
		select {
		case t.turn <- struct{}{}:
			end = func() { <-t.turn }
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if t.refused != nil {
		end()
		return nil, t.refused
	}
	return end, nil
}

// accept notes that a token took a PIN.
func (l *Logins) accept(f fingerprint) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.known[f].good = true
}

// refuse notes for good that a token did not.
func (l *Logins) refuse(f fingerprint, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.known[f].refused = err
}
