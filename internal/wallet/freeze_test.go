// SPDX-License-Identifier: Apache-2.0

package wallet

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/core/types"

	"github.com/hsmsigner/hsmsigner/internal/audit"
	"github.com/hsmsigner/hsmsigner/internal/auth"
	"github.com/hsmsigner/hsmsigner/internal/freeze"
	"github.com/hsmsigner/hsmsigner/internal/key"
	"github.com/hsmsigner/hsmsigner/internal/policy"
)

var (
	everything = freeze.Scope{Kind: freeze.Everything}
	stopper    = freeze.By{Principal: "operator"}
)

func newSwitch(t *testing.T, d *disk) *freeze.Switch {
	t.Helper()
	s := freeze.New(freeze.Config{Store: d.DB})
	if err := s.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	return s
}

func wantFrozen(t *testing.T, err error) {
	t.Helper()
	var frozen *freeze.FrozenError
	if !errors.As(err, &frozen) {
		t.Fatalf("got %v, want that it is frozen", err)
	}
}

func TestFrozenAccountSignsNothing(t *testing.T) {
	for _, r := range routes {
		t.Run(r.name, func(t *testing.T) {
			v, d := newVault(t, 1), newDisk(t)
			s := newSwitch(t, d)
			w := openWallet(t, v, d, func(c *Config) { c.Freeze = s })
			addr := v.address("key-0")
			for _, scope := range []freeze.Scope{everything, {Kind: freeze.Wallet, Owner: w.Owner()}, {Kind: freeze.Account, Owner: w.Owner(), Account: addr}} {
				if err := s.Freeze(t.Context(), stopper, scope, "test"); err != nil {
					t.Fatal(err)
				}
				signed, err := r.sign(t, w, addr)
				wantFrozen(t, err)
				if signed != nil || v.calls.Load() != 0 {
					t.Error("it was signed")
				}
				if err := s.Release(t.Context(), stopper, scope, ""); err != nil {
					t.Fatal(err)
				}
			}
			if intents, _ := d.rows(t); len(intents) != 0 {
				t.Errorf("%+v", intents)
			}
			if _, err := r.sign(t, w, addr); err != nil {
				t.Errorf("after the release: %v", err)
			}
		})
	}
}

func TestFrozenAccountSignsNothingAcceptedNorRepairs(t *testing.T) {
	v, d := newVault(t, 1), newDisk(t)
	s := newSwitch(t, d)
	w := openWallet(t, v, d, func(c *Config) { c.Freeze = s })
	addr := v.address("key-0")
	if err := s.Freeze(t.Context(), stopper, everything, "test"); err != nil {
		t.Fatal(err)
	}
	_, outcome, err := w.SignAccepted(t.Context(), acceptedTx(alice, "intent", audit.SendTransaction, addr, transfer(1)))
	wantFrozen(t, err)
	if outcome.Digest != (common.Hash{}) || outcome.Error == "" || outcome.Intent != "intent" {
		t.Errorf("outcome %+v", outcome)
	}
	repair := types.NewTx(&types.DynamicFeeTx{ChainID: testChain, To: &addr, Gas: 21000, GasFeeCap: common.Big2, GasTipCap: common.Big1})
	_, _, err = w.SignAccepted(t.Context(), acceptedTx(auth.System, "intent", audit.Repair, addr, repair))
	wantFrozen(t, err)
	if v.calls.Load() != 0 {
		t.Error("the backend was asked")
	}
}

// A request that waits its turn when the freeze comes has not begun: it is not
// made, and the turn goes to others.
func TestFreezeReachesWhoWaitsForTheBackend(t *testing.T) {
	v, d := newVault(t, 2), newDisk(t)
	s := newSwitch(t, d)
	entered, release := make(chan struct{}, 4), make(chan struct{})
	v.sign = func(ctx context.Context, ref key.Ref, digest [32]byte) (key.Signature, error) {
		entered <- struct{}{}
		<-release
		return key.Signature{}, key.ErrDenied
	}
	w := openWallet(t, v, d, func(c *Config) { c.Freeze, c.Concurrency = s, 1 })
	first, second := make(chan error, 1), make(chan error, 1)
	go func() {
		_, err := w.SignMessage(t.Context(), alice, v.address("key-0"), []byte("1"))
		first <- err
	}()
	<-entered
	go func() {
		_, err := w.SignMessage(t.Context(), alice, v.address("key-1"), []byte("2"))
		second <- err
	}()
	for w.queued.Load() == 0 {
		if len(second) > 0 {
			t.Fatal(<-second)
		}
	}
	if err := s.Freeze(t.Context(), stopper, freeze.Scope{Kind: freeze.Account, Owner: w.Owner(), Account: v.address("key-1")}, "test"); err != nil {
		t.Fatal(err)
	}
	close(release)
	wantKind(t, <-first, KindDenied)
	wantFrozen(t, <-second)
	if v.calls.Load() != 1 {
		t.Errorf("the backend was asked %d times", v.calls.Load())
	}
	if len(w.slots) != 0 {
		t.Error("a slot is still taken")
	}
}

// What the backend has signed when the freeze is in force is handed to nobody, and is
// on record as asked for.
func TestSignatureThatComesAfterTheFreezeIsHandedToNobody(t *testing.T) {
	document := route{"document", audit.SignDocument, func(t *testing.T, w *Wallet, addr common.Address) (any, error) {
		signed, err := w.SignDocument(t.Context(), alice, addr, contract())
		if signed.JWS == "" {
			return nil, err
		}
		return signed, err
	}}
	for _, r := range append(slices.Clone(routes), document) {
		for _, when := range []int64{1, 2} { // of the calls; only documents have two
			if when == 2 && r.name != document.name {
				continue
			}
			t.Run(fmt.Sprint(r.name, when), func(t *testing.T) {
				v, d := newVault(t, 1), newDisk(t)
				s := newSwitch(t, d)
				v.sign = func(_ context.Context, ref key.Ref, digest [32]byte) (key.Signature, error) {
					if v.calls.Load() == when {
						if err := s.Freeze(context.Background(), stopper, everything, "test"); err != nil {
							t.Error(err)
						}
					}
					return v.honest(ref, digest)
				}
				w := openWallet(t, v, d, func(c *Config) { c.Freeze = s })
				signed, err := r.sign(t, w, v.address("key-0"))
				wantFrozen(t, err)
				if signed != nil {
					t.Error("it was handed out")
				}
				_, outcomes := d.rows(t)
				if len(outcomes) != int(when) {
					t.Fatalf("%d outcomes, want %d", len(outcomes), when)
				}
				if o := outcomes[when-1]; o.Error == "" || o.Digest == (common.Hash{}) {
					t.Errorf("on record: %+v", o)
				}
			})
		}
	}
}

// What the transaction manager has accepted it stores, and holds back itself.
func TestSignatureOfAnAcceptedTransactionOutlivesTheFreeze(t *testing.T) {
	v, d := newVault(t, 1), newDisk(t)
	s := newSwitch(t, d)
	v.sign = func(_ context.Context, ref key.Ref, digest [32]byte) (key.Signature, error) {
		if err := s.Freeze(context.Background(), stopper, everything, "test"); err != nil {
			t.Error(err)
		}
		return v.honest(ref, digest)
	}
	w := openWallet(t, v, d, func(c *Config) { c.Freeze = s })
	signed, _, err := w.SignAccepted(t.Context(), acceptedTx(alice, "intent", audit.SendTransaction, v.address("key-0"), transfer(1)))
	if err != nil || signed == nil {
		t.Errorf("got %v", err)
	}
}

// A transaction whose wallet is gone is signed by another that has the account: the
// rules of both count, so that nobody gets rid of rules with the wallet.
func TestTransactionOfAWalletThatIsGoneIsJudgedByItsRulesToo(t *testing.T) {
	var judged []policy.Request
	refuse := ""
	v := newVault(t, 1)
	w := openWallet(t, v, newDisk(t), func(c *Config) {
		c.Policy = verdictFunc(func(r policy.Request) (policy.Verdict, error) {
			judged = append(judged, r)
			return policy.Verdict{Allow: r.Owner.Wallet != refuse, Rule: r.Owner.Wallet, Clearance: r.Clearance + "+" + r.Owner.Wallet}, nil
		})
	})
	a := acceptedTx(alice, "intent", audit.SendTransaction, v.address("key-0"), transfer(1))
	for _, c := range []struct {
		cameBy, refuse, clearance string
		calls                     int64
	}{
		{"", "", "c+treasury", 1},
		{"treasury", "", "c+treasury", 2},
		{"gone", "", "c+gone+treasury", 3},
		{"gone", "gone", "c", 3},
		{"gone", "treasury", "c+gone", 3},
	} {
		judged, refuse = nil, c.refuse
		a.Wallet, a.Clearance = c.cameBy, "c"
		_, _, err := w.SignAccepted(t.Context(), a)
		if c.refuse != "" {
			wantDenied(t, err, c.refuse)
		} else if err != nil {
			t.Error(err)
		}
		if a.Clearance != c.clearance || v.calls.Load() != c.calls {
			t.Errorf("%+v: cleared by %q, %d calls", c, a.Clearance, v.calls.Load())
		}
		if c.cameBy == "gone" && judged[0].Owner.Service != "gone" {
			t.Errorf("judged as %+v", judged[0].Owner)
		}
	}
}

// reserving is a policy that gives each request a clearance.
type reserving struct {
	verdictFunc
	told *[]string
}

func (p reserving) Settle(id, clearance string, use policy.Use) {
	*p.told = append(*p.told, fmt.Sprintf("%s of %s: %d", clearance, id, use))
}

func TestPolicyIsToldWhetherTheBackendWasAsked(t *testing.T) {
	for _, c := range []struct {
		name string
		fail func(v *vault, d *disk)
		use  policy.Use
	}{
		{"signed", func(*vault, *disk) {}, policy.Stored},
		{"the backend refuses", func(v *vault, _ *disk) {
			v.sign = func(context.Context, key.Ref, [32]byte) (key.Signature, error) {
				return key.Signature{}, key.ErrDenied
			}
		}, policy.Stored},
		{"no intent could be written", func(_ *vault, d *disk) { d.intentFault = errDisk }, policy.Unused},
		{"no outcome could be written", func(_ *vault, d *disk) { d.outcomeFault = errDisk }, policy.Stored},
	} {
		t.Run(c.name, func(t *testing.T) {
			v, d := newVault(t, 1), newDisk(t)
			var told []string
			var judged policy.Request
			w := openWallet(t, v, d, func(cfg *Config) {
				cfg.Policy = reserving{func(r policy.Request) (policy.Verdict, error) {
					judged = r
					return policy.Verdict{Allow: true, Rule: "all", Clearance: "c"}, nil
				}, &told}
				c.fail(v, d)
			})
			_, _ = w.SignMessage(t.Context(), alice, v.address("key-0"), []byte("hello"))
			if want := []string{fmt.Sprintf("c of %s: %d", judged.ID, c.use)}; !slices.Equal(told, want) {
				t.Errorf("told %v, want %v", told, want)
			}
			if judged.Owner.Wallet != "treasury" || judged.ChainID.Cmp(testChain) != 0 || judged.Signing {
				t.Errorf("judged %+v", judged)
			}
			if intents, _ := d.rows(t); len(intents) == 1 && intents[0].ID != judged.ID {
				t.Errorf("the intent is %s, judged was %s", intents[0].ID, judged.ID)
			}
		})
	}
}

func TestPendingApprovalIsOnRecordAndPassesThrough(t *testing.T) {
	v, d := newVault(t, 1), newDisk(t)
	w := openWallet(t, v, d, func(c *Config) {
		c.Policy = verdictFunc(func(policy.Request) (policy.Verdict, error) {
			return policy.Verdict{}, &policy.PendingError{ID: "a1", Rule: "large", Need: 2}
		})
	})
	_, err := w.SignMessage(t.Context(), alice, v.address("key-0"), []byte("hello"))
	var pending *policy.PendingError
	if !errors.As(err, &pending) || pending.ID != "a1" {
		t.Fatalf("got %v", err)
	}
	if intents, _ := d.rows(t); len(intents) != 1 || intents[0].Verdict != "ask: large" || v.calls.Load() != 0 {
		t.Errorf("%+v", intents)
	}
	_, _, err = w.SignAccepted(t.Context(), acceptedTx(alice, "intent", audit.SendTransaction, v.address("key-0"), transfer(1)))
	wantDenied(t, err, "large") // nobody asks for what is accepted already
}

func TestDetailSaysWhatIsSigned(t *testing.T) {
	w := openWallet(t, newVault(t, 0), newDisk(t), nil)
	to := common.HexToAddress("0x00000000000000000000000000000000000000Bb")
	call := types.NewTx(&types.DynamicFeeTx{ChainID: testChain, To: &to, Value: common.Big3, Data: []byte{0xa9, 0x05, 0x9c, 0xbb, 1}})
	for _, c := range []struct {
		r    policy.Request
		want string
	}{
		{policy.Request{Transaction: call}, `{"chain":"1337","to":"0x00000000000000000000000000000000000000bb","value":"3","type":2,"method":"0xa9059cbb","bytes":5,"data":"0x`},
		{policy.Request{Transaction: types.NewTx(&types.LegacyTx{Data: []byte{1}})}, `{"chain":"1337","create":true,"value":"0","bytes":1,"data":"0x`},
		{policy.Request{Message: []byte("hello")}, `{"chain":"1337","bytes":5}`},
		{policy.Request{TypedData: &mail(t, 1337).Data}, `{"chain":"1337","domain":"`},
		{policy.Request{Document: &policy.Document{Name: "a\x00\xff\"b", Size: 3}}, `{"chain":"1337","name":"a`},
	} {
		got := w.Detail(c.r)
		if !json.Valid([]byte(got)) || len(got) < len(c.want) || !strings.EqualFold(got[:len(c.want)], c.want) {
			t.Errorf("%s\nwant %s…", got, c.want)
		}
	}
}
