// SPDX-License-Identifier: Apache-2.0

package storetest

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/common"

	"github.com/hsmsigner/hsmsigner/internal/store"
)

var contractTests = []test{
	{"an interface is kept as it was given", abiRoundTrip},
	{"an interface in use is not deleted", abiInUse},
	{"names and addresses are taken once in a place and chain", contractTaken},
	{"one of many wins a name", contractRace},
	{"a contract is changed and deleted only as it was seen", contractCompareAndSet},
	{"an open contract shows its transaction", contractShowsTx},
	{"a spent key refuses a transaction, and a used key is not spent", keySpent},
	{"contracts are listed by age", contractList},
	{"what came in by the gateway is listed", originList},
}

func newABI() store.ABI {
	return store.ABI{
		ID: store.NewID(), Environment: "e", Membership: "m", Name: "Token", Description: "d", ABI: `[]`, Docs: `{}`,
		Bytecode: []byte{0x60, 0}, Compiler: "0.8.30", Principal: "key:1", Created: time.Now().UTC().Truncate(time.Microsecond), Deployable: true,
	}
}

func newContract(name, address string) store.Contract {
	return store.Contract{
		ID: store.NewID(), Environment: "e", Membership: "m", Chain: "1337", Address: address, Name: name, Kind: "contract",
		Detail: "{}", Principal: "key:1", Created: time.Now().UTC().Truncate(time.Microsecond),
	}
}

// opening is a contract that waits for the transaction with the key of reply.
func opening(name, reply string) store.Contract {
	c := newContract(name, "")
	c.Wallet, c.Credential, c.Reply = "treasury", "app:shop", reply
	return c
}

func insertContracts(t *testing.T, db *store.DB, all ...store.Contract) {
	t.Helper()
	write(t, db, func(w *store.Writer) error {
		for _, c := range all {
			if err := w.InsertContract(c); err != nil {
				return err
			}
		}
		return nil
	})
}

func addressOf(n int) string { return fmt.Sprintf("0x%040x", n) }

func abiRoundTrip(t *testing.T, db *store.DB) {
	a, bare := newABI(), newABI()
	bare.Bytecode, bare.Deployable, bare.Docs = nil, false, ""
	other := newABI()
	other.Membership = "other"
	write(t, db, func(w *store.Writer) error {
		return errors.Join(w.InsertABI(a), w.InsertABI(bare), w.InsertABI(other))
	})
	for _, want := range []store.ABI{a, bare} {
		got, err := db.ABI(t.Context(), "e", "m", want.ID)
		if err != nil {
			t.Fatal(err)
		}
		wantEqual(t, got, want)
	}
	if _, err := db.ABI(t.Context(), "e", "m", other.ID); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("of another place: %v", err)
	}
	if ok, err := db.HasABI(t.Context(), "e", "other", other.ID); err != nil || !ok {
		t.Errorf("%v, %v", ok, err)
	}
	list, err := db.ABIs(t.Context(), "e", "m", "", 10)
	if err != nil || len(list) != 2 || list[0].ID != a.ID || !list[0].Deployable || list[1].Deployable || list[0].ABI != "" || list[0].Bytecode != nil {
		t.Errorf("%+v, %v", list, err)
	}
	if list, err = db.ABIs(t.Context(), "e", "m", a.ID, 10); err != nil || len(list) != 1 || list[0].ID != bare.ID {
		t.Errorf("%+v, %v", list, err)
	}
	if err := db.Write(t.Context(), func(w *store.Writer) error { return w.InsertABI(a) }); !errors.Is(err, store.ErrExists) {
		t.Errorf("twice: %v", err)
	}
}

func abiInUse(t *testing.T, db *store.DB) {
	a := newABI()
	c := newContract("", addressOf(1))
	c.ABI = a.ID
	write(t, db, func(w *store.Writer) error { return errors.Join(w.InsertABI(a), w.InsertContract(c)) })
	remove := func() error {
		return db.Write(t.Context(), func(w *store.Writer) error { return w.DeleteABI("e", "m", a.ID) })
	}
	var used *store.InUseError
	if err := remove(); !errors.As(err, &used) || len(used.By) != 1 || used.By[0] != c.ID {
		t.Errorf("in use: %v", err)
	}
	write(t, db, func(w *store.Writer) error { return w.DeleteContract(c) })
	if err := remove(); err != nil {
		t.Error(err)
	}
	if err := remove(); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("deleted: %v", err)
	}
	if err := db.Write(t.Context(), func(w *store.Writer) error { return w.InsertContract(c) }); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("a contract of an interface that is gone: %v", err)
	}
}

func contractTaken(t *testing.T, db *store.DB) {
	insertContracts(t, db, newContract("token", addressOf(1)), newContract("", addressOf(2)), newContract("", ""), newContract("", ""))
	for what, c := range map[string]store.Contract{"name": newContract("token", addressOf(3)), "address": newContract("other", addressOf(1))} {
		err := db.Write(t.Context(), func(w *store.Writer) error { return w.InsertContract(c) })
		var taken *store.TakenError
		if !errors.As(err, &taken) || taken.What != what || taken.By.Address != addressOf(1) {
			t.Errorf("%s: %v", what, err)
		}
	}
	for _, change := range []func(*store.Contract){
		func(c *store.Contract) { c.Environment = "e2" },
		func(c *store.Contract) { c.Membership = "m2" },
		func(c *store.Contract) { c.Chain = "1" },
	} {
		c := newContract("token", addressOf(1))
		change(&c)
		insertContracts(t, db, c)
	}
	got, err := db.ContractByName(t.Context(), "e", "m", "1337", "token")
	if err != nil || got.Address != addressOf(1) {
		t.Errorf("%+v, %v", got, err)
	}
	if _, err := db.ContractByName(t.Context(), "e", "m", "1337", ""); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("no name is a name: %v", err)
	}
	if _, err := db.ContractByAddress(t.Context(), "e", "m", "1337", ""); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("no address is an address: %v", err)
	}
	named, err := db.ContractByAddress(t.Context(), "e", "m", "1337", addressOf(2))
	if err != nil {
		t.Fatal(err)
	}
	next := named
	next.Name = "token"
	var taken *store.TakenError
	if err := db.Write(t.Context(), func(w *store.Writer) error { return w.UpdateContract(next, named) }); !errors.As(err, &taken) || taken.What != "name" {
		t.Errorf("a name that is taken: %v", err)
	}
}

func contractRace(t *testing.T, db *store.DB) {
	won := race(t, func(int) (bool, error) {
		err := db.Write(t.Context(), func(w *store.Writer) error { return w.InsertContract(opening("token", store.NewID())) })
		var taken *store.TakenError
		if errors.As(err, &taken) {
			return false, nil
		}
		return err == nil, err
	})
	if won != 1 {
		t.Errorf("%d have the name", won)
	}
}

func contractCompareAndSet(t *testing.T, db *store.DB) {
	c := opening("token", "r1")
	insertContracts(t, db, c)
	wantEqual(t, contractOf(t, db, c.ID), c)
	next := c
	next.Address, next.Detail = addressOf(7), `{"detail":1}`
	write(t, db, func(w *store.Writer) error { return w.UpdateContract(next, c) })
	wantEqual(t, contractOf(t, db, c.ID), next)
	for name, stale := range map[string]func(*store.Writer) error{
		"update": func(w *store.Writer) error { return w.UpdateContract(next, c) },
		"delete": func(w *store.Writer) error { return w.DeleteContract(c) },
	} {
		if err := db.Write(t.Context(), stale); !errors.Is(err, store.ErrChanged) {
			t.Errorf("%s of what was changed: %v", name, err)
		}
	}
	write(t, db, func(w *store.Writer) error { return w.DeleteContract(next) })
	if _, err := db.Contract(t.Context(), c.ID); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("deleted: %v", err)
	}
}

func contractOf(t *testing.T, db *store.DB, id string) store.Contract {
	t.Helper()
	c, err := db.Contract(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func contractShowsTx(t *testing.T, db *store.DB) {
	c := opening("token", "r1")
	insertContracts(t, db, c, opening("other", "r2"))
	tx := withNonce(newTx(), store.Mined, 3)
	tx.IdempotencyKey, tx.Hash, tx.Succeeded = store.GatewayKey+"r1", common.HexToHash("0x0a"), true
	insert(t, db, tx)
	want := &store.ContractTx{ID: tx.ID, RequestHash: tx.RequestHash, State: store.Mined, Sender: sender, Nonce: tx.Nonce, Hash: tx.Hash, Succeeded: true}
	wantEqual(t, contractOf(t, db, c.ID).Tx, want)
	if got, err := db.OpenContracts(t.Context(), "e", "m", "1337"); err != nil || len(got) != 2 || got[0].Tx == nil || got[1].Tx != nil {
		t.Errorf("%+v, %v", got, err)
	}
	higher := withNonce(newTx(), store.Confirmed, 4)
	insert(t, db, higher)
	if !update(t, db, tx.ID, nil, store.TxUpdate{State: store.Confirmed}) {
		t.Fatal("not confirmed")
	}
	if _, err := db.Prune(t.Context(), time.Now().Add(time.Minute), time.Now().Add(-time.Hour)); err != nil {
		t.Fatal(err)
	}
	wantEqual(t, contractOf(t, db, c.ID).Tx, &store.ContractTx{ID: tx.ID, RequestHash: tx.RequestHash, State: store.Confirmed, Pruned: true, Hash: tx.Hash})
	settled, was := contractOf(t, db, c.ID), contractOf(t, db, c.ID)
	settled.Address = addressOf(9)
	write(t, db, func(w *store.Writer) error { return w.UpdateContract(settled, was) })
	if got := contractOf(t, db, c.ID); got.Tx != nil {
		t.Errorf("%+v", got.Tx)
	}
	if got, err := db.AllOpenContracts(t.Context(), "", 10); err != nil || len(got) != 1 || got[0].Reply != "r2" {
		t.Errorf("%+v, %v", got, err)
	}
}

func keySpent(t *testing.T, db *store.DB) {
	spend := func(key string) (ok bool) {
		write(t, db, func(w *store.Writer) (err error) {
			ok, err = w.SpendKey("treasury", "app:shop", key, [32]byte{9}, "given up")
			return err
		})
		return ok
	}
	tx := newTx()
	tx.IdempotencyKey = "spent"
	if !spend("spent") || spend("spent") {
		t.Error("a key is spent once")
	}
	row, known, err := db.Idempotent(t.Context(), "treasury", "app:shop", "spent")
	if err != nil || !known || row.State != store.Failed || row.Error != "given up" || row.RequestHash != [32]byte{9} {
		t.Errorf("%+v, %v, %v", row, known, err)
	}
	var duplicate *store.DuplicateKeyError
	if err := db.Write(t.Context(), func(w *store.Writer) error { return w.InsertTx(tx) }); !errors.As(err, &duplicate) {
		t.Errorf("a transaction under a spent key: %v", err)
	}
	used := newTx()
	insert(t, db, used)
	if spend(used.IdempotencyKey) {
		t.Error("the key of a transaction was spent")
	}
	// Whoever is first, never both.
	for i := range 20 {
		tx := newTx()
		results := make(chan bool, 2)
		go func() {
			err := db.Write(context.Background(), func(w *store.Writer) error { return w.InsertTx(tx) })
			results <- err == nil
		}()
		go func() {
			var ok bool
			err := db.Write(context.Background(), func(w *store.Writer) (err error) {
				ok, err = w.SpendKey(tx.Wallet, tx.Credential, tx.IdempotencyKey, tx.RequestHash, "given up")
				return err
			})
			results <- ok && err == nil
		}()
		if a, b := <-results, <-results; a == b {
			t.Errorf("round %d: both %v", i, a)
		}
	}
}

func contractList(t *testing.T, db *store.DB) {
	var want []string
	for i := range 5 {
		c := newContract("", addressOf(i+1))
		c.ID = fmt.Sprintf("%032x", 100-i) // ids say nothing about age
		c.Created = time.UnixMicro(int64(1000 + i/2)).UTC()
		if i%2 == 1 {
			c.Kind = "erc20"
		}
		insertContracts(t, db, c)
		want = append(want, c.ID)
	}
	want[0], want[1] = want[1], want[0] // of one time: by id
	want[2], want[3] = want[3], want[2]
	insertContracts(t, db, func() store.Contract { c := newContract("", addressOf(1)); c.Chain = "1"; return c }())
	list := func(kind, after string, limit int) (ids []string) {
		all, err := db.Contracts(t.Context(), "e", "m", "1337", kind, after, limit)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range all {
			ids = append(ids, c.ID)
		}
		return ids
	}
	wantEqual(t, list("", "", 10), want)
	wantEqual(t, list("", want[1], 2), want[2:4])
	if got := list("erc20", "", 10); len(got) != 2 {
		t.Errorf("by kind: %v", got)
	}
	write(t, db, func(w *store.Writer) error {
		n, err := w.CountContracts("e", "m")
		if n != 6 {
			t.Errorf("%d counted", n)
		}
		return err
	})
}

func originList(t *testing.T, db *store.DB) {
	var ids []string
	for i := range 6 {
		tx := newTx()
		if i != 2 {
			tx.Origin = `{"id":"x"}`
		}
		if i == 4 {
			tx.Credential = "app:other"
		}
		insert(t, db, tx)
		if i != 2 && i != 4 {
			ids = append([]string{tx.ID}, ids...)
		}
		if i == 0 {
			if got := get(t, db, tx.ID); got.Origin != tx.Origin {
				t.Errorf("origin %q", got.Origin)
			}
		}
	}
	list := func(f store.OriginFilter) (got []string) {
		f.Wallet, f.Credential = "treasury", "app:shop"
		all, err := db.Origins(t.Context(), f)
		if err != nil {
			t.Fatal(err)
		}
		for _, tx := range all {
			got = append(got, tx.ID)
		}
		return got
	}
	wantEqual(t, list(store.OriginFilter{}), ids)
	wantEqual(t, list(store.OriginFilter{Limit: 2}), ids[:2])
	wantEqual(t, list(store.OriginFilter{Before: ids[1]}), ids[2:])
	if got := list(store.OriginFilter{Since: time.Now().Add(time.Hour)}); got != nil {
		t.Errorf("%v", got)
	}
	addr := common.HexToAddress("0xaa")
	if got := list(store.OriginFilter{From: &addr, Before: "z", Since: time.Unix(1, 0), Limit: 9}); got != nil {
		t.Errorf("of a sender that has no row: %v", got)
	}
}
