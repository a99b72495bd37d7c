// SPDX-License-Identifier: Apache-2.0

package contract

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/common"

	"github.com/hsmsigner/hsmsigner/internal/abi"
	"github.com/hsmsigner/hsmsigner/internal/auth"
	"github.com/hsmsigner/hsmsigner/internal/node"
	"github.com/hsmsigner/hsmsigner/internal/node/nodetest"
	"github.com/hsmsigner/hsmsigner/internal/policy"
	"github.com/hsmsigner/hsmsigner/internal/store"
	"github.com/hsmsigner/hsmsigner/internal/tx"
	"github.com/hsmsigner/hsmsigner/internal/txmgr"
)

// The whole way on a real chain: deployed, called, sent to, reverted, replied.
func TestContractOnARealChain(t *testing.T) {
	r := newDevRig(t)
	ctx := t.Context()
	a := r.upload()
	d := r.deployment(a, "d1", "box")
	d.Gas, d.Value = nil, big.NewInt(5)
	s, err := r.desk.Deploy(ctx, r.target(), d)
	r.must(err)
	reply, err := r.desk.Await(ctx, r.target(), s.ID)
	r.must(err)
	box, err := r.find("box")
	if err != nil || reply.State != StateSucceeded || box.Address == nil || *box.Address != *reply.Contract || *reply.Receipt.Contract != *reply.Contract {
		t.Fatalf("%+v, %+v, %v", reply, box, err)
	}
	call := func(method string, values ...string) Call {
		return Call{Terms: Terms{From: ptr(addr(0))}, To: *box.Address, ABI: a, Method: r.method(a, method), Args: args(values...)}
	}
	query := func(method string, values ...string) string {
		t.Helper()
		c := call(method, values...)
		c.From = nil
		out, err := r.desk.Query(ctx, r.target(), c)
		r.must(err)
		return string(out)
	}
	if got := query("get"); got != `{"output":"7"}` {
		t.Error(got)
	}
	if got := query("share", "2"); got != `{"each":"3","rest":"1"}` {
		t.Error(got)
	}
	if _, _, err := r.desk.Register(ctx, r.target(), Registration{ABI: a.ID, Address: *box.Address, Name: "box"}); err != nil {
		t.Error(err)
	}

	c := call("set", "42")
	c.ID = "s1"
	s, err = r.desk.Send(ctx, r.target(), c)
	r.must(err)
	reply, err = r.desk.Await(ctx, r.target(), "s1")
	r.must(err)
	if reply.State != StateSucceeded || reply.Hash != s.Hash || reply.From != addr(0) || *reply.To != *box.Address || *reply.Nonce != 1 ||
		reply.Receipt.GasUsed == 0 || reply.Receipt.CumulativeGasUsed == 0 || reply.Receipt.EffectiveGasPrice.Sign() == 0 || reply.Origin.Method != "set(uint256)" || reply.Origin.ABI != a.ID {
		t.Errorf("%+v", reply)
	}
	want := fmt.Sprintf(`{"by":"%s","value":"42","note":"set"}`, strings.ToLower(addr(0).Hex()))
	if len(reply.Events) != 1 || string(reply.Events[0].Data) != want || reply.Events[0].Name != "Changed" || reply.Events[0].Address != *box.Address {
		t.Errorf("%+v", reply.Events)
	}
	if got := query("get"); got != `{"output":"42"}` {
		t.Error(got)
	}
	if out, err := r.desk.Query(ctx, r.target(), func() Call { c := call("get"); c.Block = fmt.Sprint(reply.Receipt.BlockNumber - 1); return c }()); err != nil || string(out) != `{"output":"7"}` {
		t.Errorf("before: %s, %v", out, err)
	}
	if out, err := r.desk.Transaction(ctx, r.target(), a, s.Hash); err != nil || string(out) != `{"method":"set(uint256)","inputs":{"next":"42"}}` {
		t.Errorf("%s, %v", out, err)
	}
	if _, err := r.desk.Transaction(ctx, r.target(), a, common.Hash{1}); !isMissing(err) {
		t.Errorf("of a transaction that is not there: %v", err)
	}

	// Refused before a nonce is spent, and the id is free.
	for what, c := range map[string]struct {
		method, value, name, reason string
	}{
		"custom error": {"set", "1001", "TooLarge", `TooLarge{"given":"1001","most":"1000"}`},
		"text":         {"refuse", "I would rather not", "Error", "I would rather not"},
		"panic":        {"share", "0", "Panic", "division or modulo by zero"},
	} {
		x := call(c.method, c.value)
		x.ID = "s2"
		_, err := r.desk.Send(ctx, r.target(), x)
		_, asked := r.desk.Query(ctx, r.target(), x)
		for way, err := range map[string]error{"sent": err, "asked": asked} {
			e, ok := as[*RevertedError](err)
			if !ok || e.Decoded == nil || e.Decoded.Name != c.name || e.Reason != c.reason || len(e.Data) == 0 {
				t.Errorf("%s, %s: %+v, %v", what, way, e, err)
			}
		}
		if _, err := r.desk.Reply(ctx, r.target(), "s2"); !isMissing(err) {
			t.Errorf("%s: a reply: %v", what, err)
		}
	}

	// With gas of its own it is sent, and reverts in its block.
	x := call("set", "1001")
	x.ID, x.Gas = "s2", ptr(uint64(100_000))
	_, err = r.desk.Send(ctx, r.target(), x)
	r.must(err)
	reply, err = r.desk.Await(ctx, r.target(), "s2")
	if err != nil || reply.State != StateReverted || reply.Receipt.Status != 0 || reply.Revert == nil || reply.Revert.Reason != `TooLarge{"given":"1001","most":"1000"}` {
		t.Errorf("%+v, %+v, %v", reply, reply.Revert, err)
	}

	x = call("pay")
	x.ID, x.Value = "s3", big.NewInt(37)
	_, err = r.desk.Send(ctx, r.target(), x)
	r.must(err)
	reply, err = r.desk.Await(ctx, r.target(), "s3")
	if err != nil || reply.State != StateSucceeded || reply.Value.Int64() != 37 {
		t.Errorf("%+v, %v", reply, err)
	}
	x = call("pay")
	if out, err := r.desk.Query(ctx, r.target(), x); err != nil || string(out) != `{"output":"42"}` {
		t.Errorf("%s, %v", out, err)
	}
	x = call("set", "1")
	x.Value = big.NewInt(1)
	if _, err := r.desk.Send(ctx, r.target(), x); !isInput(err, "value") {
		t.Errorf("ether to what takes none: %v", err)
	}
	x = call("get")
	x.To = addr(1)
	if _, err := r.desk.Query(ctx, r.target(), x); !isInput(err, "address") {
		t.Errorf("asked where there is no contract: %v", err)
	}
	x.Block = "999999999"
	if _, ok := as[*NodeError](second(r.desk.Query(ctx, r.target(), x))); !ok {
		t.Error("a block that is not there")
	}
}

// box is a contract of the fake chain.
func (r *rig) box(a ABI) Call {
	return Call{Terms: by(0), To: addr(7), ABI: a, Method: r.method(a, "set"), Args: args("1")}
}

func TestSameIDIsSentOnce(t *testing.T) {
	stores(t, func(t *testing.T, postgres bool) {
		r := newRig(t, 2, postgres, nodetest.Options{Automine: true})
		a := r.upload()
		const ids, times = 6, 4
		var wg sync.WaitGroup
		hashes := make([][times]common.Hash, ids)
		for i := range ids {
			for k := range times {
				wg.Go(func() {
					p := r.all[(i+k)%2]
					c := r.box(a)
					c.ID, c.Args = fmt.Sprint("s", i), args(fmt.Sprint(i))
					for {
						s, err := p.desk.Send(t.Context(), p.target(), c)
						if err != nil {
							t.Error(err)
							return
						}
						if hashes[i][k] = s.Hash; !s.Pending {
							return
						}
					}
				})
			}
		}
		wg.Wait()
		r.waitFor("all are mined", func() bool { return r.mined(0) == ids })
		for i := range ids {
			for _, h := range hashes[i] {
				if h != hashes[i][0] || h == (common.Hash{}) {
					t.Errorf("%d: %v", i, hashes[i])
				}
			}
			if reply, err := r.desk.Await(t.Context(), r.target(), fmt.Sprint("s", i)); err != nil || reply.State != StateSucceeded || reply.Hash != hashes[i][0] {
				t.Errorf("%d: %+v, %v", i, reply, err)
			}
		}
		c := r.box(a)
		c.ID, c.Args = "s0", args("99")
		if _, err := r.desk.Send(t.Context(), r.target(), c); !errors.Is(err, ErrIDUsed) {
			t.Errorf("another request: %v", err)
		}
		if r.mined(0) != ids || len(r.chain.Pool(addr(0))) != 0 {
			t.Error("more than once")
		}
	})
}

func TestSendsAreCheckedFirst(t *testing.T) {
	r := newRig(t, 1, false, nodetest.Options{})
	a := r.upload()
	for field, change := range map[string]func(*Call){
		"from":   func(c *Call) { c.From = nil },
		"id":     func(c *Call) { c.ID = "a b" },
		"method": func(c *Call) { c.Method = nil },
		"value":  func(c *Call) { c.Value = big.NewInt(1) },
	} {
		c := r.box(a)
		change(&c)
		if _, err := r.desk.Send(t.Context(), r.target(), c); !isInput(err, field) {
			t.Errorf("%s: %v", field, err)
		}
	}
	c := r.box(a)
	c.Args = args("1", "2")
	if _, ok := as[*abi.ArgError](second(r.desk.Send(t.Context(), r.target(), c))); !ok {
		t.Error("two arguments for one parameter")
	}
	if r.w.begun.Load() != 0 {
		t.Error("something was begun")
	}
	c = r.box(a)
	c.From = ptr(addr(5))
	if _, ok := as[*txmgr.UnknownAccountError](second(r.desk.Send(t.Context(), r.target(), c))); !ok {
		t.Error("sent by a stranger")
	}
	c = r.box(a)
	c.GasPrice, c.MaxFeePerGas = big.NewInt(1), big.NewInt(1)
	if _, ok := as[*tx.ArgError](second(r.desk.Send(t.Context(), r.target(), c))); !ok {
		t.Error("two kinds of fees")
	}
	var pending error = &txmgr.PendingError{TxID: "x"}
	r.w.refuse.Store(&pending)
	if s, err := r.desk.Send(t.Context(), r.target(), r.box(a)); err != nil || !s.Pending || len(s.ID) != 32 {
		t.Errorf("%+v, %v", s, err)
	}
	late, cancel := context.WithDeadline(t.Context(), time.Now().Add(-time.Second))
	defer cancel()
	expired := late.Err()
	r.w.refuse.Store(&expired)
	if e, ok := as[*UnfinishedError](second(r.desk.Send(late, r.target(), r.box(a)))); !ok || len(e.ID) != 32 {
		t.Errorf("no answer in time is told as %v", e)
	}
	people := error(&policy.PendingError{ID: "a", Key: store.GatewayKey + "first"})
	r.w.refuse.Store(&people)
	if e, ok := as[*ApprovalError](second(r.desk.Send(t.Context(), r.target(), r.box(a)))); !ok || e.ID != "first" {
		t.Errorf("that people are asked is told as %v", e)
	}
}

func TestRepliesAreTheCallersOwn(t *testing.T) {
	stores(t, func(t *testing.T, postgres bool) {
		r := newRig(t, 1, postgres, nodetest.Options{Automine: true})
		a := r.upload()
		var hashes []common.Hash
		for i := range 4 {
			c := r.box(a)
			c.ID, c.Ack = fmt.Sprint("s", i), "receipt"
			c.Terms = by(i % 2)
			s, err := r.desk.Send(t.Context(), r.target(), c)
			r.must(err)
			hashes = append([]common.Hash{s.Hash}, hashes...)
		}
		r.waitFor("all are mined", func() bool { return r.mined(0)+r.mined(1) == 4 })
		list := func(f ReplyFilter) []Reply {
			all, err := r.desk.Replies(t.Context(), r.target(), f)
			r.must(err)
			return all
		}
		r.waitFor("the rows say so", func() bool {
			for _, reply := range list(ReplyFilter{}) {
				if reply.State != StateSucceeded {
					return false
				}
			}
			return true
		})
		all := list(ReplyFilter{})
		if len(all) != 4 {
			t.Fatalf("%d replies", len(all))
		}
		for i, reply := range all {
			if reply.ID != fmt.Sprint("s", 3-i) || reply.Hash != hashes[i] || reply.Origin.Ack != "receipt" || *reply.To != addr(7) || reply.From != addr((3-i)%2) {
				t.Errorf("%+v", reply)
			}
		}
		if got := list(ReplyFilter{Limit: 2, Before: all[0].Tx}); len(got) != 2 || got[0].ID != "s2" {
			t.Errorf("%+v", got)
		}
		if got := list(ReplyFilter{From: ptr(addr(1))}); len(got) != 2 || got[0].ID != "s3" {
			t.Errorf("%+v", got)
		}
		stranger := r.target()
		stranger.Principal = auth.Principal{Name: "app:other", Membership: "m", Environment: "e"}
		if got, err := r.desk.Replies(t.Context(), stranger, ReplyFilter{}); err != nil || len(got) != 0 {
			t.Errorf("%+v, %v", got, err)
		}
		for _, id := range []string{"s1", "", "a/b", strings.Repeat("x", 500)} {
			if _, err := r.desk.Reply(t.Context(), stranger, id); !isMissing(err) {
				t.Errorf("%q: %v", id, err)
			}
			if _, err := r.desk.Await(t.Context(), stranger, id); !isMissing(err) {
				t.Errorf("%q: %v", id, err)
			}
		}
	})
}

func TestReplyOfWhatWasCancelledIsAFailure(t *testing.T) {
	r := newRig(t, 1, false, nodetest.Options{})
	a := r.upload()
	c := r.box(a)
	c.ID = "s1"
	s, err := r.desk.Send(t.Context(), r.target(), c)
	r.must(err)
	row, err := r.db.TxByHash(t.Context(), s.Hash)
	r.must(err)
	_, err = r.mgr.Operate(t.Context(), "", txmgr.Operation{Action: txmgr.Cancel, Tx: row.ID})
	r.must(err)
	r.waitFor("the cancellation is sent", func() bool {
		all := r.chain.Pool(addr(0))
		return len(all) == 1 && all[0].Hash() != s.Hash
	})
	if reply := r.reply("s1"); reply.State != StatePending {
		t.Errorf("while it is cancelled: %+v", reply)
	}
	r.chain.Mine()
	r.waitFor("the row knows", func() bool {
		if reply := r.reply("s1"); reply.State == StateSucceeded { // whether it does or not
			t.Fatalf("the cancellation passes for it: %+v", reply)
		}
		row, err := r.db.Tx(t.Context(), row.ID)
		r.must(err)
		if row.Succeeded {
			t.Fatal("the row says that it has succeeded")
		}
		return row.State == store.Mined || row.State.Final()
	})
	if reply := r.reply("s1"); reply.State == StateSucceeded || reply.Receipt != nil {
		t.Errorf("the cancellation passes for it: %+v", reply)
	}
	r.mine(4)
	reply, err := r.desk.Await(t.Context(), r.target(), "s1")
	if err != nil || reply.State != StateFailed || reply.Failure == nil || reply.Receipt != nil || reply.Nonce != nil {
		t.Errorf("%+v, %v", reply, err)
	}
}

func TestAwaitEndsWithItsContext(t *testing.T) {
	r := newRig(t, 1, false, nodetest.Options{})
	a := r.upload()
	c := r.box(a)
	c.ID = "s1"
	_, err := r.desk.Send(t.Context(), r.target(), c)
	r.must(err)
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			if reply, err := r.desk.Await(ctx, r.target(), "s1"); err != nil || reply.State != StatePending {
				t.Errorf("%+v, %v", reply, err)
			}
		})
	}
	wg.Wait()
	for range 3 {
		wg.Go(func() {
			if reply, err := r.desk.Await(t.Context(), r.target(), "s1"); err != nil || reply.State != StateSucceeded {
				t.Errorf("%+v, %v", reply, err)
			}
		})
	}
	time.Sleep(30 * time.Millisecond)
	r.chain.Mine()
	wg.Wait()
}

// A block that is gone is no success, and what comes of it in the end is told.
func TestReplyAfterAReorganisation(t *testing.T) {
	r := newRig(t, 1, false, nodetest.Options{})
	a := r.upload()
	c := r.box(a)
	c.ID = "s1"
	_, err := r.desk.Send(t.Context(), r.target(), c)
	r.must(err)
	r.chain.Mine()
	first, err := r.desk.Await(t.Context(), r.target(), "s1")
	r.must(err)
	r.must(r.chain.Reorg(1, false))
	if reply := r.reply("s1"); reply.State != StatePending || reply.Receipt != nil {
		t.Errorf("%+v", reply)
	}
	r.chain.Mine()
	reply, err := r.desk.Await(t.Context(), r.target(), "s1")
	if err != nil || reply.State != StateSucceeded || reply.Receipt.BlockHash == first.Receipt.BlockHash || reply.Receipt.BlockNumber != first.Receipt.BlockNumber+2 {
		t.Errorf("%+v, %v", reply, err)
	}
}

func TestReplyWithoutANode(t *testing.T) {
	r := newRig(t, 1, false, nodetest.Options{Automine: true})
	a := r.upload()
	c := r.box(a)
	c.ID = "s1"
	_, err := r.desk.Send(t.Context(), r.target(), c)
	r.must(err)
	_, err = r.desk.Await(t.Context(), r.target(), "s1")
	r.must(err)
	r.chain.Fail("eth_getTransactionReceipt", &nodetest.RPCError{Code: -32000, Message: "no"}, -1)
	if reply := r.reply("s1"); reply.State != StateSucceeded || reply.Receipt != nil {
		t.Errorf("%+v", reply)
	}
}

func TestQueriesAreWorded(t *testing.T) {
	r := newRig(t, 1, false, nodetest.Options{})
	a := r.upload()
	call := Call{To: addr(7), ABI: a, Method: r.method(a, "get"), Args: args()}
	var asked json.RawMessage
	r.chain.OnCall(func(c json.RawMessage) ([]byte, error) {
		asked = c
		return common.LeftPadBytes([]byte{9}, 32), nil
	})
	call.Terms = Terms{From: ptr(addr(1)), Value: big.NewInt(1), Gas: ptr(uint64(2)), GasPrice: big.NewInt(3)}
	out, err := r.desk.Query(t.Context(), r.target(), call)
	if want := fmt.Sprintf(`{"from":"%s","to":"%s","data":"0x6d4ce63c","value":"0x1","gas":"0x2","gasPrice":"0x3"}`,
		strings.ToLower(addr(1).Hex()), strings.ToLower(addr(7).Hex())); err != nil || string(out) != `{"output":"9"}` || string(asked) != want {
		t.Errorf("%s, %s, %v", out, asked, err)
	}
	for block, want := range map[string]string{"": "latest", "pending": "pending", "0": "0x0", "17": "0x11", "0x11": "0x11", "0x0A": "0xa", "finalized": "finalized"} {
		if got, err := blockOf(block); err != nil || got != want {
			t.Errorf("%q: %q, %v", block, got, err)
		}
	}
	for _, block := range []string{"-1", "0x", "0xg", "1e3", "newest", "9223372036854775808", "0xffffffffffffffffff", " 1", strings.Repeat("1", 100)} {
		c := call
		c.Block = block
		if _, err := r.desk.Query(t.Context(), r.target(), c); !isInput(err, "blocknumber") {
			t.Errorf("%q: %v", block, err)
		}
	}
	r.chain.OnCall(func(json.RawMessage) ([]byte, error) { return []byte{1}, nil })
	if _, ok := as[*abi.DataError](second(r.desk.Query(t.Context(), r.target(), call))); !ok {
		t.Error("one byte is a number")
	}
	r.chain.Fail("eth_call", &nodetest.RPCError{Code: -32000, Message: "out of gas"}, 1)
	if e, ok := as[*NodeError](second(r.desk.Query(t.Context(), r.target(), call))); !ok || e.Msg != "out of gas" {
		t.Errorf("%v", e)
	}
	r.chain.Fail("eth_call", &nodetest.RPCError{Code: 3, Message: "execution reverted: because"}, 1)
	if e, ok := as[*RevertedError](second(r.desk.Query(t.Context(), r.target(), call))); !ok || e.Reason != "because" || e.Decoded != nil {
		t.Errorf("%v", e)
	}
	r.chain.Garbage("eth_call", []byte(`{"jsonrpc":"2.0","id":1,"result":17}`), 1)
	if _, err := r.desk.Query(t.Context(), r.target(), call); !errors.Is(err, node.ErrBadResponse) {
		t.Errorf("%v", err)
	}
	r.chain.RefuseConn(true)
	r.chain.CutConnections()
	if _, err := r.desk.Query(t.Context(), r.target(), call); !errors.Is(err, node.ErrUnavailable) {
		t.Errorf("%v", err)
	}
}

// What a row says in an origin that is not ours is not believed.
func TestOriginOfAnotherDoor(t *testing.T) {
	row := store.Tx{IdempotencyKey: store.GatewayKey + "x", Origin: `{"id":"y","kind":"send"}`, Sender: "1337-00000000-" + strings.ToLower(addr(1).Hex()), State: store.Sent}
	reply, _ := wordRow(row, common.Hash{})
	if reply.Origin != (Origin{ID: "x"}) || reply.From != addr(1) || reply.State != StatePending {
		t.Errorf("%+v", reply)
	}
	if got := (Origin{Kind: OriginSend, ID: "x", Method: "f(" + strings.Repeat("uint256,", 100) + "uint256)"}).text(); got != `{"kind":"send","id":"x","method":"f"}` {
		t.Error(got)
	}
}
