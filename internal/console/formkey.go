// SPDX-License-Identifier: Apache-2.0

package console

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/hsmsigner/hsmsigner/internal/contract"
	"github.com/hsmsigner/hsmsigner/internal/platform"
)

// A form that sends a transaction has a key, by which it is one transaction however
// often it is sent. It keeps the key when it is shown again with what was wrong,
// since an error may hide that it was accepted. It gets another one only if nothing
// can be sent under its own any more.

// afterTimeout is for what is still asked once a page's own time is up.
const afterTimeout = 10 * time.Second

// afterwards is a context of its own for that. A context with time left is as good.
func afterwards(ctx context.Context) (context.Context, context.CancelFunc) {
	if ctx.Err() == nil {
		return ctx, func() {}
	}
	return context.WithTimeout(context.WithoutCancel(ctx), afterTimeout)
}

// sentKey is the key under which a form is sent: its own, or one that is drawn for
// it if it came without.
func (v *visit) sentKey() string {
	if v.form.Get("key") == "" {
		v.form.Set("key", newKey())
	}
	return v.form.Get("key")
}

// shownKey is the key of the form that was sent, which is now shown again; a new
// one for a form that was not.
func (v *visit) shownKey() string {
	key := v.form.Get("key")
	if v.r.Method != http.MethodPost || v.spent || contract.CheckID(key) != nil {
		return newKey()
	}
	return key
}

// settle finds out what became of a form of which the desk gave an error: a view if
// it was accepted nevertheless, else the refusal, which says so if that cannot be
// known yet.
func (v *visit) settle(ctx context.Context, b *bench, err error, refusal func(error) error) (view, error) {
	if errors.Is(err, contract.ErrIDUsed) {
		v.spent = true
		return view{}, refusal(err)
	}
	unfinished := isUnfinished(err)
	// What the page has left may be too little, and somebody who went away sends no
	// form again.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), afterTimeout)
	defer cancel()
	r, lost := b.Desk.Reply(ctx, b.Target, v.sentKey())
	switch {
	case lost == nil && r.State == contract.StateFailed:
		v.spent = true // the same refusal would come again for good
		if unfinished && r.Failure != nil {
			err = r.Failure
		}
		return view{}, refusal(err)
	case lost == nil && unfinished:
		return v.done("transaction-found", "wallets", b.Service.ID, "transactions", r.Tx), nil
	case unfinished:
		return view{}, &platform.Error{
			Reason: platform.Unavailable,
			Msg:    "no answer in time, so it is not known yet whether this is sent. Send it again with this form, unchanged: it is sent once only",
		}
	}
	return view{}, refusal(err)
}

// isUnfinished reports whether an error leaves open what becomes of a request.
func isUnfinished(err error) bool {
	var unfinished *contract.UnfinishedError
	return errors.As(err, &unfinished) || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled)
}
