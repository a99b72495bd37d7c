// SPDX-License-Identifier: Apache-2.0

package wallet

import (
	"context"
	"errors"
	"testing"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/crypto"

	"github.com/hsmsigner/hsmsigner/internal/audit"
	"github.com/hsmsigner/hsmsigner/internal/key"
)

// master is a vault whose keys may be changed.
type master struct {
	*vault
	t     *testing.T
	fault error
	lies  bool
}

func (m *master) Create(context.Context, string, map[string]string) (key.Key, error) {
	if m.fault != nil {
		return key.Key{}, m.fault
	}
	m.add(m.t, "made")
	return m.listed["ref:made"], nil
}

func (m *master) Import(_ context.Context, name string, private []byte, _ map[string]string) (key.Key, error) {
	k, err := crypto.ToECDSA(private)
	if err != nil {
		return key.Key{}, err
	}
	m.put(name, k)
	got := m.listed[key.Ref("ref:"+name)]
	if m.lies {
		got.Address = common.Address{1}
	}
	return got, nil
}

func TestMadeKeyIsOnRecordAndFound(t *testing.T) {
	v, d := newVault(t, 1), newDisk(t)
	w := openWallet(t, v, d, nil)
	made, err := w.CreateKey(t.Context(), alice, &master{vault: v, t: t}, "made", nil)
	if err != nil {
		t.Fatal(err)
	}
	intent, outcome := d.onlyOutcome(t)
	if intent.Action != audit.CreateKey || intent.Subject != "made" || intent.Principal != alice.Name || outcome.Error != "" {
		t.Errorf("intent %+v, outcome %+v", intent, outcome)
	}
	if _, err := w.Refresh(t.Context()); err != nil || w.Usable(made.Address) != nil {
		t.Errorf("it cannot be used: %v", err)
	}
}

func TestImportedKeyIsTheOneThatWasGiven(t *testing.T) {
	v, d := newVault(t, 1), newDisk(t)
	w := openWallet(t, v, d, nil)
	private, err := crypto.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	secret := crypto.FromECDSA(private)
	m := &master{vault: v, t: t}
	if got, err := w.ImportKey(t.Context(), alice, m, "old", secret, nil); err != nil || got.Address != crypto.PubkeyToAddress(private.PublicKey) {
		t.Errorf("%+v, %v", got, err)
	}
	m.lies = true
	if _, err := w.ImportKey(t.Context(), alice, m, "old", secret, nil); !errors.Is(err, key.ErrBadResponse) {
		t.Errorf("another key than was given: %v", err)
	}
	var refused *RequestError
	if _, err := w.ImportKey(t.Context(), alice, m, "old", make([]byte, 32), nil); !errors.As(err, &refused) {
		t.Errorf("zero is no key: %v", err)
	}
}

func TestNoKeyIsMadeWithoutARecord(t *testing.T) {
	v := newVault(t, 1)
	w := openWallet(t, v, failingDisk(t, func(d *disk) { d.intentFault = errors.New("disk full") }), nil)
	if _, err := w.CreateKey(t.Context(), alice, &master{vault: v, t: t}, "made", nil); !errors.Is(err, ErrAudit) {
		t.Errorf("got %v", err)
	}
	if v.address("made") != (common.Address{}) {
		t.Error("it was made")
	}
}

func TestRefusalToMakeAKeyIsOnRecord(t *testing.T) {
	v, d := newVault(t, 1), newDisk(t)
	w := openWallet(t, v, d, nil)
	denied := &key.CallError{Op: "create", Kind: key.ErrDenied, RequestID: "r7"}
	_, err := w.CreateKey(t.Context(), alice, &master{vault: v, t: t, fault: denied}, "made", nil)
	wantKind(t, err, KindDenied)
	if _, outcome := d.onlyOutcome(t); outcome.Error == "" || outcome.RequestID != "r7" {
		t.Errorf("outcome %+v", outcome)
	}
	if _, err := w.CreateKey(t.Context(), alice, v, "made", nil); !errors.Is(err, key.ErrUnsupported) {
		t.Errorf("a backend that makes no keys: %v", err)
	}
}
