// SPDX-License-Identifier: Apache-2.0

package approval

import (
	"context"
	"errors"
	"maps"
	"strings"
	"time"

	"github.com/hsmsigner/hsmsigner/internal/auth"
	"github.com/hsmsigner/hsmsigner/internal/freeze"
	"github.com/hsmsigner/hsmsigner/internal/policy"
)

// What Config.May answers about somebody who asked for a transaction.
var (
	// ErrRevoked says that he may not ask for it any more: the request ends.
	ErrRevoked = errors.New("whoever asked for it may not any more: the credential was revoked, or has lost the role here")
	// ErrAbsent says that nobody knows whether a person still may, since the person
	// is signed in nowhere. He still may if he has asked within the last minutes; else
	// the request waits for the person, until it expires.
	ErrAbsent = errors.New("the person who asked for it is not signed in, so it is not known whether they still may: it is sent once they have signed in, or asked for it again")
)

// presence is how long somebody who has asked here counts as present. What he has
// shown for it (a token of the identity provider) may well hold longer.
const presence = 5 * time.Minute

// standing reports why what p asked for is not sent now; nil if it may be.
func (b *Book) standing(ctx context.Context, p auth.Principal, q Request) error {
	if b.cfg.May == nil {
		return nil
	}
	err := b.cfg.May(ctx, p, q.Owner)
	switch {
	case errors.Is(err, ErrRevoked):
		return &policy.DeniedError{Verdict: policy.Verdict{Rule: "credential", Reason: err.Error()}}
	case errors.Is(err, ErrAbsent) && b.present(p, q.Owner.Wallet):
		return nil
	}
	return err
}

// met notes that somebody asks here, who has just shown that he may.
func (b *Book) met(r policy.Request) {
	if !strings.HasPrefix(r.Principal.Name, "person:") {
		return
	}
	now := b.now()
	b.mu.Lock()
	defer b.mu.Unlock()
	for who, at := range b.here {
		if now.Sub(at) > presence {
			delete(b.here, who)
		}
	}
	b.here[visitor{r.Principal, r.Owner.Wallet}] = now
}

// visitor is somebody who has asked for something of a wallet.
type visitor struct {
	who    auth.Principal
	wallet string
}

func (b *Book) present(p auth.Principal, wallet string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	at, asked := b.here[visitor{p, wallet}]
	return asked && b.now().Sub(at) <= presence
}

// errNotRunning says that the wallet of a request does not run in this process.
var errNotRunning = errors.New("its wallet does not run here")

// hold notes why an approved transaction is not sent yet, for whoever looks; an
// empty reason that nothing keeps it.
func (b *Book) hold(id, why string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if why == "" {
		delete(b.held, id)
		return
	}
	b.held[id] = why
}

// holdOnly forgets the reasons of all others: those have ended, here or elsewhere.
func (b *Book) holdOnly(open map[string]bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	maps.DeleteFunc(b.held, func(id, _ string) bool { return !open[id] })
}

// waits is why an approved transaction is not sent yet, as far as this process has
// tried; empty if nothing is known to keep it.
func (b *Book) waits(id string) string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.held[id]
}

// reason words an error that may pass for people. Where things are, and what they
// said, is for the log.
func reason(err error) string {
	var denied *policy.DeniedError
	var frozen *freeze.FrozenError
	switch {
	case errors.As(err, &denied):
		return denied.Error()
	case errors.As(err, &frozen):
		return frozen.Error()
	case errors.Is(err, ErrAbsent):
		return ErrAbsent.Error()
	case errors.Is(err, errNotRunning):
		return errNotRunning.Error()
	}
	return "the node, the key backend or the database does not do it just now; the log says more"
}
