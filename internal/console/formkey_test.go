// SPDX-License-Identifier: Apache-2.0

package console

import (
	"context"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/hsmsigner/hsmsigner/internal/txmgr"
)

var keyField = regexp.MustCompile(`name="key" value="([^"]+)"`)

// sendingForms are the forms that send a transaction, by what they are for.
func sendingForms(r *rig, b *browser) map[string]struct {
	path string
	form url.Values
} {
	at := home("/contracts/" + serviceID(r))
	a := b.send(at+"/interfaces/"+r.abi+"/register", url.Values{"address": {"0x00000000000000000000000000000000000000AA"}, "name": {"there"}})
	page, _, _ := strings.Cut(a.header.Get("Location"), "?")
	return map[string]struct {
		path string
		form url.Values
	}{
		"method": {page + "/send", url.Values{"method": {"offer(uint8)"}, "from": {account.Hex()}, "arg.0": {"7"}}},
		"token":  {home("/tokens/" + serviceID(r) + "/at/" + tokenAt + "/transfer"), url.Values{"signer": {account.Hex()}, "to": {account.Hex()}, "amount": {"1"}, "value": {"1"}}},
		"test":   {home("/wallets/" + serviceID(r) + "/accounts/" + account.Hex() + "/test-transaction"), url.Values{"value": {"1"}}},
	}
}

func TestFormSentTwiceAfterATimeoutIsOneTransaction(t *testing.T) {
	for _, accepted := range []bool{true, false} {
		r := newRig(t)
		r.fill()
		b := r.signedIn(r.root)
		for name, f := range sendingForms(r, b) {
			key := "console-of-" + name
			f.form.Set("key", key)
			r.hand.sent, r.hand.fail, r.hand.late = nil, nil, context.DeadlineExceeded
			if !accepted { // yet
				r.hand.fail = context.DeadlineExceeded
			}
			a := b.send(f.path, f.form)
			to := a.header.Get("Location")
			switch {
			case accepted && (a.code != http.StatusSeeOther || !strings.Contains(to, "/transactions/")):
				t.Errorf("%s: %d to %q: %s", name, a.code, to, a.text)
			case !accepted && (a.code != http.StatusUnprocessableEntity || !strings.Contains(a.text, "sent once only") || !strings.Contains(a.text, `name="key" value="`+key+`"`)):
				t.Errorf("%s: %d, keys %q: %s", name, a.code, keyField.FindAllString(a.text, -1), a.text)
			}
			r.hand.fail, r.hand.late = nil, nil
			first, second := b.send(f.path, f.form), b.send(f.path, f.form)
			if first.code != http.StatusSeeOther || second.code != http.StatusSeeOther || len(r.hand.sent) != 1 {
				t.Errorf("%s: %d, then %d; %d are sent", name, first.code, second.code, len(r.hand.sent))
			}
		}
	}
}

func TestFormGetsANewKeyOnceItsOwnIsSpent(t *testing.T) {
	r := newRig(t)
	r.fill()
	b := r.signedIn(r.root)
	for name, f := range sendingForms(r, b) {
		key := "console-of-" + name
		f.form.Set("key", key)
		r.hand.fail = &txmgr.RefusedError{Msg: "insufficient funds"}
		if a := b.send(f.path, f.form); a.code != http.StatusUnprocessableEntity || !strings.Contains(a.text, `name="key" value="`+key+`"`) {
			t.Errorf("%s: %d, a refusal of which nothing is stored took the key", name, a.code)
		}
		r.hand.fail = nil
		if a := b.send(f.path, f.form); a.code != http.StatusSeeOther {
			t.Errorf("%s: %d %s", name, a.code, a.text)
		}
		// The same key with something else, which a real wallet refuses.
		r.hand.fail = &txmgr.RefusedError{Msg: "the idempotency key was used for another request"}
		for _, field := range []string{"arg.0", "amount", "value"} {
			if f.form.Has(field) {
				f.form.Set(field, "2")
			}
		}
		a := b.send(f.path, f.form)
		if a.code != http.StatusUnprocessableEntity || strings.Contains(a.text, `value="`+key+`"`) || keyField.FindString(a.text) == "" {
			t.Errorf("%s: %d, keys %q", name, a.code, keyField.FindAllString(a.text, -1))
		}
		r.hand.fail = nil
	}
}
