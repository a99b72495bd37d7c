// SPDX-License-Identifier: Apache-2.0

package wallet

import (
	"context"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"testing"

	"github.com/ethereum/go-ethereum/accounts"
	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/core/types"
	"github.com/ethereum/go-ethereum/crypto"
	"github.com/ethereum/go-ethereum/signer/core/apitypes"

	"github.com/hsmsigner/hsmsigner/internal/audit"
	"github.com/hsmsigner/hsmsigner/internal/auth"
	"github.com/hsmsigner/hsmsigner/internal/key"
	"github.com/hsmsigner/hsmsigner/internal/policy"
	"github.com/hsmsigner/hsmsigner/internal/strictjson"
	"github.com/hsmsigner/hsmsigner/internal/tx"
)

var errDisk = errors.New("disk full")

// route is one of the public ways to a signature.
type route struct {
	name   string
	action audit.Action
	sign   func(t *testing.T, w *Wallet, addr common.Address) (bytes any, err error)
}

// routes are all ways whose intent and outcome the wallet writes itself.
// Their result is nil on an error.
var routes = []route{
	{"message", audit.SignMessage, func(t *testing.T, w *Wallet, addr common.Address) (any, error) {
		b, err := w.SignMessage(t.Context(), alice, addr, []byte("hello"))
		if b == nil {
			return nil, err
		}
		return b, err
	}},
	{"typed data", audit.SignTypedData, func(t *testing.T, w *Wallet, addr common.Address) (any, error) {
		b, err := w.SignTypedData(t.Context(), alice, addr, mail(t, 1337))
		if b == nil {
			return nil, err
		}
		return b, err
	}},
	{"transaction", audit.SignTransaction, func(t *testing.T, w *Wallet, addr common.Address) (any, error) {
		tx, err := w.SignTransaction(t.Context(), alice, addr, transfer(1))
		if tx == nil {
			return nil, err
		}
		return tx, err
	}},
	{"proof", audit.ProvePossession, func(t *testing.T, w *Wallet, addr common.Address) (any, error) {
		return nil, w.Prove(t.Context(), addr)
	}},
}

func transfer(nonce uint64) *types.Transaction {
	to := common.HexToAddress("0x00000000000000000000000000000000000000Bb")
	return types.NewTx(&types.DynamicFeeTx{
		ChainID: testChain, Nonce: nonce, To: &to, Gas: 21000, Value: big.NewInt(7),
		GasFeeCap: big.NewInt(2e9), GasTipCap: big.NewInt(1e9),
	})
}

// acceptedTx is a transaction as the transaction manager has it signed.
func acceptedTx(p auth.Principal, intent string, action audit.Action, addr common.Address, unsigned *types.Transaction) *Accepted {
	return &Accepted{ID: "tx", Principal: p, Intent: intent, Action: action, Address: addr, Unsigned: unsigned}
}

// mail is the example of EIP-712 for a chain.
func mail(t *testing.T, chain int) *tx.TypedData {
	t.Helper()
	v, err := strictjson.Parse(fmt.Appendf(nil, `{
		"types": {
			"EIP712Domain": [{"name": "name", "type": "string"}, {"name": "chainId", "type": "uint256"}],
			"Mail": [{"name": "to", "type": "address"}, {"name": "contents", "type": "string"}]
		},
		"primaryType": "Mail",
		"domain": {"name": "Ether Mail", "chainId": %d},
		"message": {"to": "0xbBbBBBBbbBBBbbbBbbBbbbbBBbBbbbbBbBbbBBbB", "contents": "Hello, Bob!"}
	}`, chain))
	if err != nil {
		t.Fatal(err)
	}
	td, err := tx.ParseTypedData(v)
	if err != nil {
		t.Fatal(err)
	}
	return td
}

func TestTypedDataSignatureRecoversAndKeepsToItsChain(t *testing.T) {
	v := newVault(t, 1)
	addr := v.address("key-0")
	w := openWallet(t, v, newDisk(t), nil)
	td := mail(t, 1337)
	sig, err := w.SignTypedData(t.Context(), alice, addr, td)
	if err != nil {
		t.Fatal(err)
	}
	digest, _, err := apitypes.TypedDataAndHash(td.Data) // go-ethereum's own
	if err != nil {
		t.Fatal(err)
	}
	sig[64] -= 27
	pub, err := crypto.SigToPub(digest, sig)
	if err != nil || crypto.PubkeyToAddress(*pub) != addr {
		t.Errorf("the signature does not recover to the account: %v", err)
	}
	var other *tx.ChainError
	if _, err := w.SignTypedData(t.Context(), alice, addr, mail(t, 1)); !errors.As(err, &other) {
		t.Errorf("typed data of another chain gives %v", err)
	}
	if _, err := w.SignTypedData(t.Context(), alice, addr, nil); err == nil {
		t.Error("signed nothing")
	}
	if v.calls.Load() != 1 {
		t.Errorf("%d calls", v.calls.Load())
	}
}

func TestMessageSignatureIsEIP191AndRecovers(t *testing.T) {
	v := newVault(t, 1)
	addr := v.address("key-0")
	w := openWallet(t, v, newDisk(t), nil)
	for _, msg := range [][]byte{nil, []byte("hello"), make([]byte, 32)} {
		sig, err := w.SignMessage(t.Context(), alice, addr, msg)
		if err != nil {
			t.Fatal(err)
		}
		if len(sig) != 65 || (sig[64] != 27 && sig[64] != 28) {
			t.Fatalf("signature %x", sig)
		}
		sig[64] -= 27
		pub, err := crypto.SigToPub(accounts.TextHash(msg), sig)
		if err != nil || crypto.PubkeyToAddress(*pub) != addr {
			t.Errorf("message %x does not recover to the account: %v", msg, err)
		}
	}
}

func TestIntentIsDurableBeforeBackendIsAskedAndOutcomeBeforeReturn(t *testing.T) {
	for _, r := range routes {
		t.Run(r.name, func(t *testing.T) {
			v, d := newVault(t, 1), newDisk(t)
			v.sign = func(_ context.Context, ref key.Ref, digest [32]byte) (key.Signature, error) {
				intents, outcomes := d.rows(t)
				if len(intents) != 1 || len(outcomes) != 0 {
					t.Errorf("at signing there are %d intents and %d outcomes", len(intents), len(outcomes))
				}
				return v.honest(ref, digest)
			}
			w := openWallet(t, v, d, nil)
			if _, err := r.sign(t, w, v.address("key-0")); err != nil {
				t.Fatal(err)
			}
			intent, outcome := d.onlyOutcome(t)
			if intent.Action != r.action || intent.Address != v.address("key-0") || intent.Wallet != "treasury" ||
				intent.Subject == "" || !strings.HasPrefix(intent.Verdict, "allow: ") {
				t.Errorf("intent %+v", intent)
			}
			if outcome.Error != "" || outcome.RequestID != "request-1" || outcome.Digest == (common.Hash{}) {
				t.Errorf("outcome %+v", outcome)
			}
		})
	}
}

func TestWithoutIntentNoBackendIsAsked(t *testing.T) {
	for _, r := range routes {
		t.Run(r.name, func(t *testing.T) {
			v := newVault(t, 1)
			w := openWallet(t, v, failingDisk(t, func(d *disk) { d.intentFault = errDisk }), nil)
			got, err := r.sign(t, w, v.address("key-0"))
			if !errors.Is(err, ErrAudit) || !errors.Is(err, errDisk) || got != nil {
				t.Errorf("got %v, %v", got, err)
			}
			if n := v.calls.Load(); n != 0 {
				t.Errorf("the backend was asked %d times", n)
			}
		})
	}
}

func TestWithoutOutcomeNothingReturns(t *testing.T) {
	for _, r := range routes {
		t.Run(r.name, func(t *testing.T) {
			v := newVault(t, 1)
			w := openWallet(t, v, failingDisk(t, func(d *disk) { d.outcomeFault = errDisk }), nil)
			got, err := r.sign(t, w, v.address("key-0"))
			if !errors.Is(err, ErrAudit) || got != nil {
				t.Errorf("got %v, %v", got, err)
			}
		})
	}
}

func TestBackendThatMistookTheKeyIsAskedOnceMore(t *testing.T) {
	other, err := crypto.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range routes {
		t.Run(r.name, func(t *testing.T) {
			v, d := newVault(t, 1), newDisk(t)
			v.sign = func(_ context.Context, ref key.Ref, digest [32]byte) (key.Signature, error) {
				if v.calls.Load() == 1 {
					return signWith(other, digest)
				}
				return v.honest(ref, digest)
			}
			w := openWallet(t, v, d, nil)
			if _, err := r.sign(t, w, v.address("key-0")); err != nil {
				t.Fatal(err)
			}
			if calls := v.calls.Load(); calls != 2 {
				t.Errorf("asked %d times", calls)
			}
		})
	}
}

func TestSignatureOfAnotherKeyNeverLeaves(t *testing.T) {
	other, err := crypto.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range routes {
		t.Run(r.name, func(t *testing.T) {
			v, d, log := newVault(t, 1), newDisk(t), &logbook{}
			v.sign = func(_ context.Context, _ key.Ref, digest [32]byte) (key.Signature, error) {
				return signWith(other, digest)
			}
			w := openWallet(t, v, d, func(c *Config) { c.Logger = log.logger() })
			got, err := r.sign(t, w, v.address("key-0"))
			wantKind(t, err, KindWrongKey)
			if got != nil {
				t.Errorf("%v left the house", got)
			}
			if _, outcome := d.onlyOutcome(t); outcome.Error == "" || outcome.Hash != (common.Hash{}) {
				t.Errorf("outcome %+v", outcome)
			}
			if !strings.Contains(log.String(), "level=ERROR") {
				t.Error("nobody was told")
			}
			if calls := v.calls.Load(); calls != 2 {
				t.Errorf("asked %d times, want once more and no more", calls)
			}
		})
	}
}

func TestHighSComesOutLow(t *testing.T) {
	v := newVault(t, 1)
	v.sign = func(_ context.Context, ref key.Ref, digest [32]byte) (key.Signature, error) {
		sig, err := v.honest(ref, digest)
		return highS(sig), err
	}
	w := openWallet(t, v, newDisk(t), nil)
	for nonce := range uint64(20) {
		signed, err := w.SignTransaction(t.Context(), alice, v.address("key-0"), transfer(nonce))
		if err != nil {
			t.Fatal(err)
		}
		y, r, s := signed.RawSignatureValues()
		if !crypto.ValidateSignatureValues(byte(y.Uint64()), r, s, true) {
			t.Fatalf("s = %x is high", s)
		}
	}
}

func TestDenialIsAuditedAndAsksNoBackend(t *testing.T) {
	for _, r := range routes[:3] { // no policy is asked about a proof
		t.Run(r.name, func(t *testing.T) {
			v, d := newVault(t, 1), newDisk(t)
			w := openWallet(t, v, d, func(c *Config) { c.Policy = verdictFunc(denyAll) })
			_, err := r.sign(t, w, v.address("key-0"))
			wantDenied(t, err, "nobody")
			intents, outcomes := d.rows(t)
			if len(intents) != 1 || len(outcomes) != 0 || intents[0].Verdict != "deny: nobody" ||
				intents[0].Action != r.action || intents[0].Principal != "app:alice" || intents[0].Subject == "" {
				t.Errorf("intents %+v, outcomes %+v", intents, outcomes)
			}
			if v.calls.Load() != 0 {
				t.Error("the backend was asked")
			}
		})
	}
}

func TestPolicyWithoutVerdictSignsNothing(t *testing.T) {
	v, d := newVault(t, 1), newDisk(t)
	w := openWallet(t, v, d, func(c *Config) {
		c.Policy = verdictFunc(func(policy.Request) (policy.Verdict, error) {
			return policy.Verdict{Allow: true}, errors.New("rules: connection refused by 10.0.0.7")
		})
	})
	_, err := w.SignMessage(t.Context(), alice, v.address("key-0"), []byte("hello"))
	var undecided *policy.UndecidedError
	if !errors.As(err, &undecided) {
		t.Fatalf("%v, want a *policy.UndecidedError", err)
	}
	if strings.Contains(err.Error(), "10.0.0.7") {
		t.Errorf("the caller is told %q", err)
	}
	if v.calls.Load() != 0 {
		t.Error("the backend was asked")
	}
}

func TestJudgeRefusesAndLeavesTheRecordToItsCaller(t *testing.T) {
	v, d := newVault(t, 1), newDisk(t)
	w := openWallet(t, v, d, func(c *Config) {
		c.Policy = verdictFunc(func(r policy.Request) (policy.Verdict, error) {
			if r.Owner.Wallet != "treasury" {
				t.Errorf("judged for the wallet %q", r.Owner.Wallet)
			}
			return denyAll(r)
		})
	})
	verdict, err := w.Judge(t.Context(), policy.Request{
		Principal: alice, Owner: policy.Owner{Wallet: "another"}, Account: v.address("key-0"), Action: audit.SendTransaction, Transaction: transfer(0),
	})
	wantDenied(t, err, "nobody")
	if intents, _ := d.rows(t); verdict.String() != "deny: nobody" || len(intents) != 0 {
		t.Errorf("verdict %s, intents %v", verdict, intents)
	}
}

func TestDenialThatCannotBeRecordedIsAnAuditError(t *testing.T) {
	v, d := newVault(t, 1), failingDisk(t, func(d *disk) { d.intentFault = errDisk })
	w := openWallet(t, v, d, func(c *Config) { c.Policy = verdictFunc(denyAll) })
	if _, err := w.SignMessage(t.Context(), alice, v.address("key-0"), nil); !errors.Is(err, ErrAudit) {
		t.Errorf("got %v", err)
	}
}

func TestProofOfAKeyThatTheVaultOnlyListsFails(t *testing.T) {
	v := newVault(t, 1)
	victim := common.HexToAddress("0x00000000000000000000000000000000000000Cc")
	v.alter("key-0", func(k *key.Key) { k.Address = victim })
	w := openWallet(t, v, newDisk(t), nil)
	wantKind(t, w.Prove(t.Context(), victim), KindWrongKey)
}

func TestChallengesNeverRepeat(t *testing.T) {
	w := openWallet(t, newVault(t, 0), newDisk(t), nil)
	seen := map[common.Hash]bool{}
	for range 1000 {
		c := w.challenge(common.Address{})
		if seen[c] {
			t.Fatal("a challenge came twice")
		}
		seen[c] = true
	}
}

func wantKind(t *testing.T, err error, kind string) {
	t.Helper()
	var backend *BackendError
	if !errors.As(err, &backend) || backend.Kind != kind {
		t.Fatalf("got %v, want a BackendError of kind %q", err, kind)
	}
}

func wantDenied(t *testing.T, err error, rule string) {
	t.Helper()
	var denied *policy.DeniedError
	if !errors.As(err, &denied) || denied.Verdict.Rule != rule {
		t.Fatalf("got %v, want a denial by %q", err, rule)
	}
}
