// SPDX-License-Identifier: Apache-2.0

package console

import (
	"context"
	"math/big"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/core/types"

	"github.com/hsmsigner/hsmsigner/internal/auth"
	rules "github.com/hsmsigner/hsmsigner/internal/policy"
	"github.com/hsmsigner/hsmsigner/internal/store"
	"github.com/hsmsigner/hsmsigner/internal/txmgr"
)

// hand stands in for what signs and sends: it stores what it is given, and signs
// nothing.
type hand struct {
	db   *store.DB
	said []byte
	sent []txmgr.SendRequest
	keys map[string]string // transactions by idempotency key
	hash common.Hash       // that a transaction has at once; zero: none yet
	fail error
	late error // said of what is stored nevertheless
}

func (h *hand) SignMessage(_ context.Context, _ auth.Principal, _ string, _ common.Address, msg []byte) ([]byte, error) {
	if h.fail != nil {
		return nil, h.fail
	}
	h.said = msg
	return append(make([]byte, 64), 27), nil
}

func (h *hand) Send(ctx context.Context, who auth.Principal, name string, r txmgr.SendRequest) (common.Hash, error) {
	if h.fail != nil {
		return common.Hash{}, h.fail
	}
	if id := h.keys[r.IdempotencyKey]; id != "" {
		return common.Hash{}, &txmgr.PendingError{TxID: id}
	}
	h.sent = append(h.sent, r)
	id, err := h.keep(ctx, who, name, r)
	if err != nil {
		return common.Hash{}, err
	}
	if h.keys == nil {
		h.keys = map[string]string{}
	}
	if r.IdempotencyKey != "" {
		h.keys[r.IdempotencyKey] = id
	}
	if h.late != nil {
		return common.Hash{}, h.late
	}
	return common.Hash{}, &txmgr.PendingError{TxID: id}
}

func hashOf(r txmgr.SendRequest) [32]byte {
	if r.RequestHash != nil {
		return *r.RequestHash
	}
	return r.Args.RequestHash()
}

// keep stores a transaction as one that is queued.
func (h *hand) keep(ctx context.Context, who auth.Principal, name string, r txmgr.SendRequest) (string, error) {
	sender := store.Sender{ID: "1-0a0b0c0d-" + strings.ToLower(r.Args.From.Hex()), ChainID: 1, Address: r.Args.From}
	payload, err := types.NewTx(&types.DynamicFeeTx{ChainID: big.NewInt(1), To: r.Args.To, Value: r.Args.Value, Data: r.Args.Data, Gas: 90000}).MarshalBinary()
	if err != nil {
		return "", err
	}
	id, now := store.NewID(), time.Now().UTC()
	key := r.IdempotencyKey
	if key == "" {
		key = id
	}
	return id, h.db.Write(ctx, func(w *store.Writer) error {
		if err := w.PutSender(sender); err != nil {
			return err
		}
		return w.InsertTx(store.Tx{
			ID: id, Wallet: name, Credential: who.Name, IdempotencyKey: key, RequestHash: hashOf(r), Intent: store.NewID(), Sender: sender.ID, Kind: store.UserTx, Origin: r.Origin, Hash: h.hash,
			Payload: payload, State: store.Queued, FeeCeiling: big.NewInt(1e9), Expires: now.Add(time.Hour), Created: now, Updated: now,
		})
	})
}

func TestMessageIsSignedOnThePageOfItsAccount(t *testing.T) {
	r := newRig(t)
	r.fill()
	b := r.signedIn(r.root)
	at := home("/wallets/" + serviceID(r) + "/accounts/" + account.Hex())
	a := b.send(at+"/sign-message", url.Values{"message": {"first\r\nsecond <b>"}, "encoding": {"text"}})
	if a.code != http.StatusOK || string(r.hand.said) != "first\nsecond <b>" || !strings.Contains(a.text, "0x"+strings.Repeat("0", 128)+"1b") || !strings.Contains(a.text, "second &lt;b&gt;") {
		t.Errorf("%d, signed %q", a.code, r.hand.said)
	}
	if a := b.send(at+"/sign-message", url.Values{"message": {" 0x00ff "}, "encoding": {"hex"}}); a.code != http.StatusOK || string(r.hand.said) != "\x00\xff" {
		t.Errorf("%d, signed %q", a.code, r.hand.said)
	}
	if a := b.send(at+"/sign-message", url.Values{"message": {"00ff"}, "encoding": {"hex"}}); a.code != http.StatusUnprocessableEntity || !strings.Contains(a.text, "Want 0x and the hex digits of whole bytes.") {
		t.Errorf("%d", a.code)
	}
	r.hand.fail = &rules.PendingError{ID: r.waiting, Rule: "two", Need: 2, Expires: time.Now()}
	if a := b.send(at+"/sign-message", url.Values{"message": {"x"}}); a.header.Get("Location") != home("/approvals/"+serviceID(r)+"/"+r.waiting)+"?done=request-asked" {
		t.Errorf("%d to %s", a.code, a.header.Get("Location"))
	}
	r.hand.fail = &rules.DeniedError{Verdict: rules.Verdict{Rule: "never", Reason: "no"}}
	if a := b.send(at+"/sign-message", url.Values{"message": {"x"}}); a.code != http.StatusForbidden || !strings.Contains(a.text, "never") {
		t.Errorf("%d %s", a.code, a.text)
	}
}

func TestTestTransactionIsSentOnceAndFollowed(t *testing.T) {
	r := newRig(t)
	r.fill()
	b := r.signedIn(r.root)
	r.hand.sent = nil
	at := home("/wallets/" + serviceID(r) + "/accounts/" + account.Hex())
	key := regexp.MustCompile(`name="key" value="([^"]+)"`).FindStringSubmatch(b.get(at).text)
	if key == nil {
		t.Fatal("the form has no key")
	}
	form := url.Values{"key": {key[1]}, "to": {"0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed"}, "value": {"0.25"}}
	first, second := b.send(at+"/test-transaction", form), b.send(at+"/test-transaction", form)
	to := first.header.Get("Location")
	if first.code != http.StatusSeeOther || to != second.header.Get("Location") || !strings.HasPrefix(to, home("/wallets/"+serviceID(r)+"/transactions/")) {
		t.Errorf("%d to %s, then %s: %s", first.code, to, second.header.Get("Location"), first.text)
	}
	if s := r.hand.sent; len(s) != 1 || s[0].Args.Value.Cmp(big.NewInt(250_000_000_000_000_000)) != 0 || s[0].Args.To.Hex() != form.Get("to") || s[0].IdempotencyKey != key[1] {
		t.Errorf("%+v", s)
	}
	if a := b.get(to); a.code != http.StatusOK || !strings.Contains(a.text, "0.25 ETH") {
		t.Errorf("%d", a.code)
	}
	if a := b.send(at+"/test-transaction", url.Values{"key": {"other"}}); a.code != http.StatusSeeOther || *r.hand.sent[1].Args.To != account || r.hand.sent[1].Args.Value.Sign() != 0 {
		t.Errorf("%d, %+v", a.code, r.hand.sent)
	}
	for field, value := range map[string]string{"to": "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAeD", "value": "-1"} {
		if a := b.send(at+"/test-transaction", url.Values{field: {value}}); a.code != http.StatusUnprocessableEntity || !strings.Contains(a.text, `value="`+value+`"`) {
			t.Errorf("%s: %d", field, a.code)
		}
	}
	r.hand.fail = &txmgr.RefusedError{Msg: "insufficient funds"}
	if a := b.send(at+"/test-transaction", url.Values{}); a.code != http.StatusUnprocessableEntity || !strings.Contains(a.text, "Insufficient funds.") {
		t.Errorf("%d %s", a.code, a.text)
	}
	reader := r.signedIn(r.key(`{"name":"reader","grants":[{"role":"operator","consortium_id":"h0consort0","membership_id":"h0member00"}]}`))
	if a := reader.get(at); strings.Contains(a.text, "test-transaction") || strings.Contains(a.text, "sign-message") {
		t.Error("an operator is offered what only admins may do")
	}
}
