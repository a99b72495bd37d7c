// SPDX-License-Identifier: Apache-2.0

package approval_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/core/types"
	"github.com/ethereum/go-ethereum/crypto"

	"github.com/hsmsigner/hsmsigner/internal/approval"
	"github.com/hsmsigner/hsmsigner/internal/auth"
	"github.com/hsmsigner/hsmsigner/internal/rpc"
	"github.com/hsmsigner/hsmsigner/internal/store"
	"github.com/hsmsigner/hsmsigner/internal/tx"
)

// front is a process as the door sees it.
type front struct{ *process }

func (f front) Accounts() []common.Address { return []common.Address{signerAddress(0)} }
func (f front) Has(a common.Address) bool  { return a == signerAddress(0) }
func (f front) SignMessage(ctx context.Context, p auth.Principal, a common.Address, m []byte) ([]byte, error) {
	return f.keys.SignMessage(ctx, p, a, m)
}

func (f front) SignTypedData(ctx context.Context, p auth.Principal, a common.Address, d *tx.TypedData) ([]byte, error) {
	return f.keys.SignTypedData(ctx, p, a, d)
}

func (f front) SignTransaction(ctx context.Context, p auth.Principal, args tx.Args) (*types.Transaction, error) {
	return f.w.SignTransaction(ctx, p, args)
}

// door serves a process as app, who is kept waiting for people for so long.
func (p *process) door(wait time.Duration) func(body string) string {
	p.Helper()
	s, err := rpc.New(rpc.Config{
		Services: map[string]*rpc.Service{"main": {
			Name: "main", Membership: app.Membership, Environment: app.Environment, ChainID: big.NewInt(1337), Accounts: front{p}, Signer: front{p}, Sender: p.w, Node: p.node,
		}},
		Default: "main", Auth: func(*http.Request) (auth.Principal, error) { return app, nil },
		Approvals: p.book, ApprovalWait: wait,
	})
	must(p.T, err)
	http1 := httptest.NewServer(s)
	p.Cleanup(http1.Close)
	return func(body string) string {
		answer, err := http.Post(http1.URL, "application/json", strings.NewReader(body))
		if err != nil {
			p.Error(err)
			return ""
		}
		defer answer.Body.Close()
		text, err := io.ReadAll(answer.Body)
		if err != nil {
			p.Error(err)
		}
		return string(text)
	}
}

func sending(wei int) string {
	return fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"method":"eth_sendTransaction","params":[{"from":%q,"to":"0x00000000000000000000000000000000000000aa","value":"0x%x"}]}`, wei, signerAddress(0).Hex(), wei)
}

func signing(text string) string {
	return fmt.Sprintf(`{"jsonrpc":"2.0","id":1,"method":"personal_sign","params":["0x%x",%q]}`, text, signerAddress(0).Hex())
}

// answer is one of JSON-RPC.
type answer struct {
	ID     int
	Result string
	Error  *struct {
		Code    int
		Message string
		Data    struct {
			Approval   string
			Have, Need int
		}
	}
}

func read(t *testing.T, text string) (a answer) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), &a); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return a
}

// decideAll votes on whatever is pending, until the test ends.
func (p *process) decideAll(v approval.Verdict) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	p.Cleanup(func() { cancel(); <-done })
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			list, err := p.book.List(ctx, store.ApprovalFilter{Wallet: "main", States: []store.ApprovalState{store.ApprovalPending}})
			for _, a := range list {
				for _, who := range []auth.Principal{alice, bob} {
					_, _ = p.book.Vote(ctx, approval.Ballot{Approval: a.ID, Who: who, Verdict: v})
				}
			}
			if err != nil {
				return
			}
			time.Sleep(50 * time.Millisecond)
		}
	}()
}

func TestACallerIsToldWhatItWaitsFor(t *testing.T) {
	p := newStage(t).start(false)
	call := p.door(0)
	got := read(t, call(sending(1)))
	if got.Error == nil || got.Error.Code != -32003 || got.Error.Data.Approval == "" || got.Error.Data.Need != 2 {
		t.Fatalf("got %+v", got)
	}
	if again := read(t, call(sending(1))); again.Error == nil || again.Error.Data.Approval != got.Error.Data.Approval {
		t.Fatalf("asked again: %+v", again)
	}
	p.approve(got.Error.Data.Approval)
	stop := p.run()
	p.until(got.Error.Data.Approval, store.ApprovalUsed)
	stop()
	if after := read(t, call(sending(1))); after.Result != p.chain.Mined(signerAddress(0))[0].Hash().Hex() {
		t.Errorf("after it was sent: %+v", after)
	}
	p.mined(1)
}

func TestAMessageIsSignedForWhoAsksAgainAndOnce(t *testing.T) {
	p := newStage(t).start(false)
	call := p.door(0)
	got := read(t, call(signing("hello")))
	if got.Error == nil || got.Error.Data.Approval == "" {
		t.Fatalf("got %+v", got)
	}
	p.approve(got.Error.Data.Approval)
	if other := read(t, call(signing("another"))); other.Error == nil {
		t.Error("another message is signed")
	}
	signed := read(t, call(signing("hello")))
	sig := common.FromHex(signed.Result)
	if len(sig) != 65 {
		t.Fatalf("got %+v", signed)
	}
	sig[64] -= 27
	hash := tx.MessageHash([]byte("hello"))
	if key, err := crypto.SigToPub(hash[:], sig); err != nil || crypto.PubkeyToAddress(*key) != signerAddress(0) {
		t.Error("the signature is none of the account")
	}
	if again := read(t, call(signing("hello"))); again.Error == nil || again.Error.Data.Approval == got.Error.Data.Approval {
		t.Errorf("an approval was used twice: %+v", again)
	}
}

func TestACallerWaitsForPeople(t *testing.T) {
	p := newStage(t).start(false)
	defer p.run()()
	call := p.door(20 * time.Second)
	p.decideAll(approval.Approve)
	sent := read(t, call(sending(1)))
	if mined := p.chain.Mined(signerAddress(0)); len(mined) != 1 || sent.Result != mined[0].Hash().Hex() {
		t.Fatalf("got %+v", sent)
	}
	if signed := read(t, call(signing("hello"))); len(signed.Result) != 132 {
		t.Errorf("got %+v", signed)
	}
	var all []answer
	text := call("[" + sending(2) + "," + signing("there") + "," + sending(3) + "]")
	must(t, json.Unmarshal([]byte(text), &all))
	if len(all) != 3 || len(all[0].Result) != 66 || len(all[1].Result) != 132 || len(all[2].Result) != 66 {
		t.Errorf("a batch got %s", text)
	}
	p.mined(3)
}

func TestACallerWhoWaitsIsToldOfARejection(t *testing.T) {
	p := newStage(t).start(false)
	defer p.run()()
	call := p.door(20 * time.Second)
	p.decideAll(approval.Reject)
	for _, body := range []string{sending(1), signing("hello")} {
		got := read(t, call(body))
		if got.Error == nil || got.Error.Code != -32003 || !strings.Contains(got.Error.Message, "was rejected by person:alice") {
			t.Errorf("got %+v", got)
		}
	}
	p.mined(0)
}

func TestACallerWhoWaitedInVainIsToldHowFarItIs(t *testing.T) {
	p := newStage(t).start(false)
	call := p.door(300 * time.Millisecond)
	first := read(t, call(sending(1)))
	if first.Error == nil || first.Error.Data.Approval == "" {
		t.Fatalf("got %+v", first)
	}
	_, err := p.book.Vote(t.Context(), approval.Ballot{Approval: first.Error.Data.Approval, Who: alice, Verdict: approval.Approve})
	must(t, err)
	if got := read(t, call(sending(1))); got.Error == nil || got.Error.Data.Have != 1 || got.Error.Data.Need != 2 {
		t.Errorf("got %+v", got)
	}
	if !bytes.Contains([]byte(call(sending(1))), []byte("waits for 1 of 2 approvers")) {
		t.Error("the message does not say so")
	}
}
