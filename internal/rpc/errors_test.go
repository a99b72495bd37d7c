// SPDX-License-Identifier: Apache-2.0

package rpc

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/common"

	"github.com/hsmsigner/hsmsigner/internal/freeze"
	"github.com/hsmsigner/hsmsigner/internal/key"
	"github.com/hsmsigner/hsmsigner/internal/node"
	"github.com/hsmsigner/hsmsigner/internal/policy"
	"github.com/hsmsigner/hsmsigner/internal/tx"
	"github.com/hsmsigner/hsmsigner/internal/txmgr"
	"github.com/hsmsigner/hsmsigner/internal/wallet"
)

// TestEveryErrorHasItsCode goes through the table of DESIGN.md.
func TestEveryErrorHasItsCode(t *testing.T) {
	const secret = "https://user:password@node.internal"
	for _, c := range []struct {
		err    error
		status int
		want   string // the error object
	}{
		{&tx.ArgError{Field: "gas", Msg: "want a quantity"}, 200, `{"code":-32602,"message":"gas: want a quantity"}`},
		{&tx.ChainError{Got: big.NewInt(1), Want: big.NewInt(5)}, 200, `{"code":-32000,"message":"chain id 1 does not match 5"}`},
		{&tx.LimitError{Msg: "the fee is above the limit"}, 200, `{"code":-32000,"message":"the fee is above the limit"}`},
		{&txmgr.UnknownAccountError{Address: common.HexToAddress(to)}, 200, `{"code":-32000,"message":"unknown account 0x00000000000000000000000000000000000000AA"}`},
		{&wallet.UnknownAccountError{Address: common.HexToAddress(to)}, 200, `{"code":-32000,"message":"unknown account 0x00000000000000000000000000000000000000AA"}`},
		{&wallet.UnusableError{Address: common.HexToAddress(to), Reason: "disabled"}, 200, `{"code":-32000,"message":"account 0x00000000000000000000000000000000000000AA cannot sign: disabled"}`},
		{&wallet.RequestError{Reason: "not that"}, 200, `{"code":-32602,"message":"not that"}`},
		{wallet.ErrClosed, 503, `{"code":-32005,"message":"too busy: the wallet is closing"}`},
		{&txmgr.ChainIDError{Given: big.NewInt(1), Want: big.NewInt(5)}, 200, `{"code":-32000,"message":"chain id 1 does not match 5"}`},
		{&policy.UndecidedError{Why: "the policy could not be evaluated"}, 503, `{"code":-32005,"message":"too busy: the policy could not be evaluated; nothing was signed"}`},
		{freeze.New(freeze.Config{}).Check(policy.Owner{}, common.Address{}), 503, `{"code":-32005,"message":"too busy: it is not known what is frozen, since the store does not answer; nothing was signed"}`},
		{&freeze.FrozenError{Why: "the wallet is frozen"}, 200, `{"code":-32003,"message":"frozen: the wallet is frozen"}`},
		{&policy.PendingError{ID: "a1", Rule: "large", Have: 1, Need: 3, Expires: time.Unix(0, 0)}, 200, `{"code":-32003,"message":"approval needed: request a1 waits for 2 of 3 approvers (rule \"large\") until 1970-01-01T00:00:00Z","data":{"approval":"a1","rule":"large","have":1,"need":3,"expires":"1970-01-01T00:00:00Z"}}`},
		{&policy.DeniedError{Verdict: policy.Verdict{Rule: "r1", Reason: "too much"}}, 200, `{"code":-32003,"message":"denied by policy: rule \"r1\": too much"}`},
		{&txmgr.RevertError{Reason: "no", Data: []byte{8, 0xc3}}, 200, `{"code":3,"message":"execution reverted: no","data":"0x08c3"}`},
		{&txmgr.RevertError{}, 200, `{"code":3,"message":"execution reverted","data":"0x"}`},
		{&node.Error{Code: -32000, Message: "nonce too low", Raw: []byte(`{"code":-32000,"message":"nonce too low"}`)}, 200, `{"code":-32000,"message":"nonce too low"}`},
		{&node.Error{Code: -5, Message: "no raw"}, 200, `{"code":-5,"message":"no raw"}`},
		{node.ErrUnavailable, 200, `{"code":-32002,"message":"node unavailable"}`},
		{node.ErrClosed, 200, `{"code":-32002,"message":"node unavailable"}`},
		{node.ErrTimeout, 200, `{"code":-32002,"message":"node unavailable: no answer in time"}`},
		{node.ErrTooLarge, 200, `{"code":-32002,"message":"node unavailable: its answer is too large"}`},
		{node.ErrBadResponse, 200, `{"code":-32002,"message":"node unavailable: its answer is not a JSON-RPC response"}`},
		{node.ErrNoSubscriptions, 200, `{"code":-32002,"message":"node unavailable: it offers no subscriptions"}`},
		{node.ErrTooMany, 503, `{"code":-32005,"message":"too busy: the node has too many subscriptions"}`},
		{&node.ChainMismatchError{Want: 1, Got: 2}, 200, `{"code":-32002,"message":"node unavailable: it serves chain id 2 instead of 1"}`},
		{&txmgr.BusyError{Reason: "queue full", RetryAfter: 1500 * time.Millisecond, Status: 429}, 429, `{"code":-32005,"message":"too busy: queue full"}`},
		{&txmgr.BusyError{Reason: "queue full"}, 503, `{"code":-32005,"message":"too busy: queue full"}`},
		{&txmgr.PendingError{TxID: "tx1"}, 200, `{"code":-32011,"message":"outcome pending: transaction tx1 is stored and may still be sent","data":"tx1"}`},
		{&txmgr.BackendError{Kind: "unavailable", Err: errors.New(secret)}, 200, `{"code":-32010,"message":"key backend failed: unavailable"}`},
		{&txmgr.RefusedError{Code: -32000, Msg: "nonce 5 is taken"}, 200, `{"code":-32000,"message":"nonce 5 is taken"}`},
		{&key.ThrottledError{}, 200, `{"code":-32010,"message":"key backend failed: throttled"}`},
		{key.ErrUnavailable, 200, `{"code":-32010,"message":"key backend failed: unavailable"}`},
		{key.ErrDenied, 200, `{"code":-32010,"message":"key backend failed: denied"}`},
		{key.ErrDisabled, 200, `{"code":-32010,"message":"key backend failed: disabled"}`},
		{key.ErrNotFound, 200, `{"code":-32010,"message":"key backend failed: not found"}`},
		{key.ErrBadResponse, 200, `{"code":-32010,"message":"key backend failed: bad response"}`},
		{context.DeadlineExceeded, 200, `{"code":-32002,"message":"no answer in time from the node or the key backend"}`},
		{context.Canceled, 200, `{"code":-32603,"message":"request cancelled"}`},
		{wallet.ErrAudit, 200, `{"code":-32603,"message":"internal error; it is logged under request id id-1"}`},
		{errors.New(secret), 200, `{"code":-32603,"message":"internal error; it is logged under request id id-1"}`},
	} {
		t.Run(fmt.Sprintf("%T %v", c.err, c.err), func(t *testing.T) {
			var log bytes.Buffer
			r := newRig(t, func(cfg *Config) { cfg.Logger = slog.New(slog.NewTextHandler(&log, nil)) })
			r.hand.fail = fmt.Errorf("get %s: %w", secret, c.err)
			resp, body := r.do(`{"jsonrpc":"2.0","id":1,"method":"eth_sign","params":["`+r.own()+`","0x"]}`, header("X-Request-Id", "id-1"))
			if want := `{"jsonrpc":"2.0","id":1,"error":` + c.want + `}`; body != want || resp.StatusCode != c.status {
				t.Errorf("\n got %d %s\nwant %d %s", resp.StatusCode, body, c.status, want)
			}
			after := resp.Header.Get("Retry-After")
			var b *txmgr.BusyError
			if errors.As(c.err, &b) && b.RetryAfter > 0 && after != "2" {
				t.Errorf("Retry-After %q", after)
			}
			if unknown := strings.Contains(c.want, "id-1"); unknown != strings.Contains(log.String(), "request_id=id-1") {
				t.Errorf("log: %s", log.String())
			}
			_, body = r.do(`[{"jsonrpc":"2.0","id":1,"method":"eth_sign","params":["`+r.own()+`","0x"]}]`, header("X-Request-Id", "id-1"))
			if want := `[{"jsonrpc":"2.0","id":1,"error":` + c.want + `}]`; body != want {
				t.Errorf("in a batch: %s", body)
			}
		})
	}
}

func TestInternalErrorWithoutRequestIDGetsOne(t *testing.T) {
	var log bytes.Buffer
	r := newRig(t, func(cfg *Config) { cfg.Logger = slog.New(slog.NewTextHandler(&log, nil)) })
	r.hand.fail = errors.New("disk on fire")
	for _, bad := range []string{"", strings.Repeat("x", 129)} {
		body := r.call("eth_sign", `["`+r.own()+`","0x"]`, func(q *http.Request) {
			if bad != "" {
				q.Header.Set("X-Request-Id", bad)
			}
		})
		_, id, _ := strings.Cut(body, "request id ")
		id, _, _ = strings.Cut(id, `"`)
		if len(id) != 16 || !strings.Contains(log.String(), "request_id="+id) || strings.Contains(body, "disk") {
			t.Errorf("%s; log %s", body, log.String())
		}
	}
}
