// SPDX-License-Identifier: Apache-2.0

package api

import (
	"context"
	"errors"
	"math/big"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/common"

	"github.com/hsmsigner/hsmsigner/internal/auth"
	"github.com/hsmsigner/hsmsigner/internal/freeze"
	"github.com/hsmsigner/hsmsigner/internal/node"
	"github.com/hsmsigner/hsmsigner/internal/policy"
	"github.com/hsmsigner/hsmsigner/internal/tx"
	"github.com/hsmsigner/hsmsigner/internal/txmgr"
	"github.com/hsmsigner/hsmsigner/internal/wallet"
)

// handOf stands in for what signs and sends for people: it keeps what it was asked
// for. Its real one is tested end to end.
type handOf struct {
	who  auth.Principal
	said []byte
	sent txmgr.SendRequest
	tx   string // id of the transaction that a request becomes
	fail error
}

func (h *handOf) SignMessage(_ context.Context, who auth.Principal, _ string, _ common.Address, msg []byte) ([]byte, error) {
	if h.fail != nil {
		return nil, h.fail
	}
	h.who, h.said = who, msg
	return append(make([]byte, 64), 27), nil
}

func (h *handOf) Send(_ context.Context, who auth.Principal, _ string, r txmgr.SendRequest) (common.Hash, error) {
	if h.fail != nil {
		return common.Hash{}, h.fail
	}
	h.who, h.sent = who, r
	return common.Hash{}, &txmgr.PendingError{TxID: h.tx}
}

func TestAnAdminSignsAMessageAndSendsATestTransaction(t *testing.T) {
	r := newRig(t)
	ours := r.tenant("ours", "", "")
	at := ours.at() + "/services/" + ours.service + "/accounts/" + address.Hex()
	for body, want := range map[string]string{
		`{"message":"häy"}`:                                "häy",
		`{"message":"0x01","encoding":"text"}`:             "0x01",
		`{"message":"0x00ff","encoding":"hex"}`:            "\x00\xff",
		`{"message":"","encoding":"text"}`:                 "",
		`{"message":"0x","encoding":"hex"}`:                "",
		`{"message":"` + strings.Repeat("x", 65536) + `"}`: strings.Repeat("x", 65536),
	} {
		a := r.want(r.call(ours.key, http.MethodPost, at+"/sign-message", body), 200)
		if string(r.hand.said) != want || a.get("message_hash") != tx.MessageHash([]byte(want)).Hex() || a.get("account") != address.Hex() ||
			a.get("signature") != "0x"+strings.Repeat("0", 128)+"1b" || !strings.HasPrefix(r.hand.who.Name, "key:") {
			t.Errorf("%.60s: %q by %+v: %s", body, r.hand.said, r.hand.who, a.text)
		}
	}
	r.hand.tx = r.transacted(ours.service, false)[0]
	a := r.want(r.call(ours.key, http.MethodPost, at+"/test-transaction", ""), 201)
	if s := r.hand.sent; a.get("id") != r.hand.tx || s.Args.From != address || *s.Args.To != address || s.Args.Value.Sign() != 0 || s.IdempotencyKey == "" || !s.Drawn {
		t.Errorf("%+v: %s", s, a.text)
	}
	r.want(r.call(ours.key, http.MethodPost, at+"/test-transaction", `{"to":"0x00000000000000000000000000000000000000bb","value":"1000000000000000000","idempotency_key":"once"}`), 201)
	if s := r.hand.sent; *s.Args.To != common.HexToAddress("0xbb") || s.Args.Value.Cmp(big.NewInt(1e18)) != 0 || s.IdempotencyKey != "once" {
		t.Errorf("%+v", s)
	}
}

func TestWhatCannotBeSignedOrSentIsSaid(t *testing.T) {
	r := newRig(t)
	ours := r.tenant("ours", "", "")
	at := ours.at() + "/services/" + ours.service + "/accounts/" + address.Hex()
	for _, c := range []struct {
		path, body string
		code       int
		says       string
	}{
		{"/sign-message", `{}`, 400, "message: is missing"},
		{"/sign-message", `{"message":"x","encoding":"base64"}`, 400, "encoding"},
		{"/sign-message", `{"message":"ff","encoding":"hex"}`, 400, "message: want 0x and the hex digits of whole bytes"},
		{"/sign-message", `{"message":"0xf","encoding":"hex"}`, 400, "message: want 0x"},
		{"/sign-message", `{"message":"` + strings.Repeat("x", 65537) + `"}`, 400, "message: has 65537 bytes: want at most 65536"},
		{"/sign-message", `{"message":"x","data":"y"}`, 400, "want no other properties"},
		{"/test-transaction", `{"to":"0x1"}`, 400, "to:"},
		{"/test-transaction", `{"value":"1.5"}`, 400, "value:"},
		{"/test-transaction", `{"value":"-1"}`, 400, "value:"},
		{"/test-transaction", `{"value":"` + strings.Repeat("9", 78) + `"}`, 400, "value: want a number of wei"},
		{"/test-transaction", `{"idempotency_key":"ü"}`, 400, "idempotency_key:"},
		{"/test-transaction", `{"data":"0x00"}`, 400, "want no other properties"},
	} {
		if a := r.call(ours.key, http.MethodPost, at+c.path, c.body); a.code != c.code || !strings.Contains(a.text, c.says) {
			t.Errorf("%s %.60s: %d %s", c.path, c.body, a.code, a.text)
		}
	}
	for _, c := range []struct {
		err        error
		sign, send int // 0: not asked
		says       string
	}{
		{&policy.DeniedError{Verdict: policy.Verdict{Rule: "never", Reason: "no"}}, 403, 403, `rule \"never\"`},
		{&policy.PendingError{ID: "a1", Rule: "two of us", Need: 2, Expires: time.Unix(1e9, 0)}, 202, 202, `"approval_id":"a1"`},
		{&wallet.UnknownAccountError{Address: address}, 400, 400, "account: the service has no account"},
		{&wallet.UnusableError{Address: address, Reason: "its key is disabled"}, 409, 409, "its key is disabled"},
		{&wallet.RequestError{Reason: "messages of documents"}, 422, 0, "messages of documents"},
		{&freeze.FrozenError{}, 409, 409, "frozen"},
		{&wallet.BackendError{Kind: wallet.KindUnavailable}, 503, 503, "key backend"},
		{&txmgr.UnknownAccountError{Address: address}, 0, 400, "account: the service has no account"},
		{&tx.ArgError{Field: "to", Msg: "precompile"}, 0, 400, "precompile"},
		{&txmgr.ChainIDError{Given: big.NewInt(1), Want: big.NewInt(2)}, 0, 409, "chain id 1 does not match 2"},
		{&txmgr.RevertError{Reason: "paused"}, 0, 409, "execution reverted: paused"},
		{&txmgr.BusyError{Reason: "queue"}, 0, 503, "too busy: queue"},
		{&txmgr.BackendError{Kind: "throttled", Err: errors.New("secret words")}, 0, 503, "key backend failed: throttled"},
		{&txmgr.RefusedError{Msg: "insufficient funds"}, 0, 409, "insufficient funds"},
		{&txmgr.UnboundError{Wallet: "w"}, 0, 503, "not open yet"},
		{&node.Error{Code: -32000, Message: "intrinsic gas too low"}, 0, 409, "the node refused it: intrinsic gas too low"},
		{node.ErrUnavailable, 0, 503, "unavailable"},
		{context.DeadlineExceeded, 503, 503, ""},
		{errors.New("http://user:secret@node"), 503, 503, ""},
	} {
		r.hand.fail = c.err
		for path, code := range map[string]int{"/sign-message": c.sign, "/test-transaction": c.send} {
			body := map[string]string{"/sign-message": `{"message":"x"}`}[path]
			if code == 0 {
				continue
			}
			if a := r.call(ours.key, http.MethodPost, at+path, body); a.code != code || !strings.Contains(a.text, c.says) || strings.Contains(a.text, "secret") {
				t.Errorf("%s, %v: %d %s", path, c.err, a.code, a.text)
			}
		}
	}
}

func TestOnlyAdminsSignMessagesAndSendTests(t *testing.T) {
	r := newRig(t)
	ours := r.tenant("ours", "", "")
	at := ours.at() + "/services/" + ours.service + "/accounts/" + address.Hex()
	for _, role := range []string{"auditor", "operator"} {
		key := r.key(`{"name":"n","grants":[{"role":"` + role + `","consortium_id":"` + ours.consortium + `","membership_id":"` + ours.membership + `"}]}`)
		for path, body := range map[string]string{"/sign-message": `{"message":"x"}`, "/test-transaction": ""} {
			if a := r.call(key, http.MethodPost, at+path, body); a.code != http.StatusForbidden || !strings.Contains(a.text, "needs the role admin") {
				t.Errorf("%s, %s: %d %s", role, path, a.code, a.text)
			}
		}
	}
	if r.hand.said != nil || r.hand.sent.Args.To != nil {
		t.Error("it was done nevertheless")
	}
}
