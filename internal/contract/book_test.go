// SPDX-License-Identifier: Apache-2.0

package contract

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/hsmsigner/hsmsigner/internal/abi"
	"github.com/hsmsigner/hsmsigner/internal/node/nodetest"
	"github.com/hsmsigner/hsmsigner/internal/store"
)

// as finds an error of a type, or nil.
func as[T error](err error) (found T, ok bool) {
	ok = errors.As(err, &found)
	return found, ok
}

// wantEvents checks the kinds of the events on the audit trail, the newest first.
func (r *rig) wantEvents(want ...string) {
	r.t.Helper()
	all, _, err := r.db.AuditRecords(r.t.Context(), store.AuditFilter{Events: true, Limit: 100})
	r.must(err)
	var got []string
	for _, a := range all {
		if a.Event.Membership != here.Membership || a.Event.Environment != here.Environment || a.Event.Principal != caller.Name || a.Event.Consortium != "c" {
			r.t.Errorf("%+v", a.Event)
		}
		got = append(got, a.Event.Kind)
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		r.t.Errorf("audit events %v, want %v", got, want)
	}
}

func TestInterfacesAreKeptInTheirPlace(t *testing.T) {
	stores(t, func(t *testing.T, postgres bool) {
		r := newRig(t, 1, postgres, nodetest.Options{})
		ctx := t.Context()
		a := r.upload()
		if a.Name != "Box" || !a.Deployable || a.Principal != caller.Name || len(a.Docs) == 0 {
			t.Errorf("%+v", a)
		}
		for _, book := range []*Book{r.book, NewBook(r.book.cfg)} { // from memory, and from the row
			got, err := book.ABI(ctx, here, a.ID)
			r.must(err)
			if string(got.Document) != string(a.Document) || string(got.Bytecode) != string(a.Bytecode) || string(got.Docs) != string(a.Docs) ||
				!got.Created.Equal(a.Created) || len(got.Contract.Methods) != 5 {
				t.Errorf("%+v", got)
			}
			for _, elsewhere := range []Place{{Environment: "e2", Membership: "m"}, {Environment: "e", Membership: "m2"}} {
				if _, ok := as[*NotFoundError](second(book.ABI(ctx, elsewhere, a.ID))); !ok {
					t.Error("found from another place")
				}
				if _, ok := as[*NotFoundError](book.DeleteABI(ctx, caller, elsewhere, a.ID)); !ok {
					t.Error("deleted from another place")
				}
			}
		}
		list, err := r.book.ABIs(ctx, here, "", 0)
		if err != nil || len(list) != 1 || list[0].ID != a.ID || list[0].Document != nil {
			t.Errorf("%+v, %v", list, err)
		}
		other := NewBook(r.book.cfg)
		if _, err := other.ABI(ctx, here, a.ID); err != nil {
			t.Error(err)
		}
		r.must(r.book.DeleteABI(ctx, caller, here, a.ID))
		for _, id := range []string{a.ID, "", "x", strings.Repeat("a", 32), strings.Repeat("Z", 300)} {
			if e, ok := as[*NotFoundError](second(r.book.ABI(ctx, here, id))); !ok || len(e.Error()) > 300 {
				t.Errorf("%q: %v", id, e)
			}
		}
		// Another process knows it for a few seconds more.
		other.now = func() time.Time { return time.Now().Add(cacheFresh) }
		if _, ok := as[*NotFoundError](second(other.ABI(ctx, here, a.ID))); !ok {
			t.Error("another process has it still")
		}
		r.wantEvents("abi-delete", "abi-upload")
	})
}

func second[T any](_ T, err error) error { return err }

func TestUploadsAreBounded(t *testing.T) {
	r := newRig(t, 1, false, nodetest.Options{})
	good := Upload{ABI: json.RawMessage(`[]`)}
	for name, c := range map[string]struct {
		change func(*Upload)
		field  string
	}{
		"name":           {func(u *Upload) { u.Name = strings.Repeat("é", maxTitle+1) }, "name"},
		"control":        {func(u *Upload) { u.Name = "a\nb" }, "name"},
		"no UTF-8":       {func(u *Upload) { u.Description = "\xff" }, "description"},
		"description":    {func(u *Upload) { u.Description = strings.Repeat("x", maxDescription+1) }, "description"},
		"compiler":       {func(u *Upload) { u.Compiler = strings.Repeat("x", maxCompiler+1) }, "compiler"},
		"code":           {func(u *Upload) { u.Bytecode = make([]byte, maxCode+1) }, "bytecode"},
		"no abi":         {func(u *Upload) { u.ABI = nil }, "abi"},
		"docs":           {func(u *Upload) { u.Docs = json.RawMessage(`{`) }, "docs"},
		"docs no object": {func(u *Upload) { u.Docs = json.RawMessage(`[]`) }, "docs"},
		"long docs":      {func(u *Upload) { u.Docs = make(json.RawMessage, maxDocs+1) }, "docs"},
	} {
		u := good
		c.change(&u)
		_, err := r.book.Upload(t.Context(), caller, here, u)
		if e, ok := as[*InputError](err); !ok || e.Field != c.field {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, ok := as[*abi.ParseError](second(r.book.Upload(t.Context(), caller, here, Upload{ABI: json.RawMessage(`[{"type":"function"}]`)}))); !ok {
		t.Error("an ABI that is none was kept")
	}
	r.book.cfg.MaxABIs = 2
	for i := range 3 {
		_, err := r.book.Upload(t.Context(), caller, here, good)
		if _, full := as[*ConflictError](err); full != (i == 2) || !full && err != nil {
			t.Errorf("upload %d: %v", i, err)
		}
	}
}

func TestCacheKeepsWhatWasUsedLast(t *testing.T) {
	c := newCache()
	now := time.Now()
	a := ABI{Bytecode: make([]byte, maxCached/4)}
	for _, id := range []string{"1", "2", "3", "1", "4", "5"} {
		a.ID = id
		if _, known, _ := c.get(here, id, now); !known {
			c.put(here, a, now)
		}
	}
	var kept []string
	for _, id := range []string{"1", "2", "3", "4", "5"} {
		if _, known, _ := c.get(here, id, now); known {
			kept = append(kept, id)
		}
	}
	if fmt.Sprint(kept) != "[1 4 5]" || c.size > maxCached {
		t.Errorf("kept %v, %d bytes", kept, c.size)
	}
	for _, id := range kept {
		c.drop(id)
	}
	if c.size != 0 || len(c.byID) != 0 {
		t.Errorf("%d bytes of nothing", c.size)
	}
}

func TestNamesAndIDs(t *testing.T) {
	for _, name := range []string{"a", "Token", "usd-coin_2.0", strings.Repeat("a", 64), "0xabc", strings.Repeat("g", 40)} {
		if err := CheckName(name); err != nil {
			t.Error(err)
		}
	}
	for _, name := range []string{"", ".", "..", "-a", "a b", "a/b", "ü", "a\x00", strings.Repeat("a", 65), strings.Repeat("a", 40), "0x" + strings.Repeat("A", 40), strings.Repeat("F", 32)} {
		if _, ok := as[*InputError](CheckName(name)); !ok {
			t.Errorf("%q is a name", name)
		}
	}
	for _, id := range []string{"a", "0-_.~:z", strings.Repeat("a", 128)} {
		if err := CheckID(id); err != nil {
			t.Error(err)
		}
	}
	for _, id := range []string{"", ".", "..", "a b", "a/b", "a?b", "%41", "é", strings.Repeat("a", 129)} {
		if _, ok := as[*InputError](CheckID(id)); !ok {
			t.Errorf("%q is an id", id)
		}
	}
}

func TestContractsAreRegisteredOnce(t *testing.T) {
	stores(t, func(t *testing.T, postgres bool) {
		r := newRig(t, 1, postgres, nodetest.Options{})
		ctx := t.Context()
		a, b := r.upload(), r.upload()
		at := addr(7)
		register := func(abiID, name string) (Contract, bool, error) {
			return r.desk.Register(ctx, r.target(), Registration{ABI: abiID, Address: at, Name: name})
		}
		if _, _, err := register(a.ID, "box"); !isInput(err, "address") {
			t.Errorf("without code: %v", err)
		}
		r.chain.SetCode(at, []byte{1})
		if _, _, err := register(strings.Repeat("a", 32), "box"); !isMissing(err) {
			t.Errorf("without an interface: %v", err)
		}
		if _, _, err := register(a.ID, "no name"); !isInput(err, "name") {
			t.Errorf("with a bad name: %v", err)
		}
		for i, name := range []string{"", "", "box", "box", ""} {
			c, created, err := register(a.ID, name)
			r.must(err)
			if created != (i == 0) || c.Address == nil || *c.Address != at || !c.Settled || c.Name == "" != (i < 2) {
				t.Errorf("%d: %t, %+v", i, created, c)
			}
		}
		for what, err := range map[string]error{
			"another name":      third(register(a.ID, "other")),
			"another interface": third(register(b.ID, "box")),
		} {
			if _, ok := as[*ConflictError](err); !ok {
				t.Errorf("%s: %v", what, err)
			}
		}
		at = addr(8)
		r.chain.SetCode(at, []byte{1})
		if _, ok := as[*ConflictError](third(register(b.ID, "box"))); !ok {
			t.Error("a name was given twice")
		}
		_, created, err := register(b.ID, "")
		if err != nil || !created {
			t.Error(err)
		}
		if _, ok := as[*ConflictError](r.book.DeleteABI(ctx, caller, here, a.ID)); !ok {
			t.Error("an interface in use was deleted")
		}
		for _, ref := range []string{"box", addr(7).Hex(), strings.ToLower(addr(7).Hex())[2:]} {
			c, err := r.find(ref)
			if err != nil || *c.Address != addr(7) || c.ABI != a.ID {
				t.Errorf("%s: %+v, %v", ref, c, err)
			}
			if c, err = r.find(c.ID); err != nil || c.Name != "box" {
				t.Errorf("by id: %+v, %v", c, err)
			}
		}
		for _, ref := range []string{"", "nobody", addr(9).Hex(), strings.Repeat("0", 32), "a/b"} {
			if _, err := r.find(ref); !isMissing(err) {
				t.Errorf("%q: %v", ref, err)
			}
		}
		if _, err := r.book.Contract(ctx, here, big.NewInt(1), "box"); !isMissing(err) {
			t.Errorf("on another chain: %v", err)
		}
		r.must(r.book.Forget(ctx, caller, here, big.NewInt(1337), "box"))
		if err := r.book.Forget(ctx, caller, here, big.NewInt(1337), "box"); !isMissing(err) {
			t.Error(err)
		}
		list, err := r.book.Contracts(ctx, here, big.NewInt(1337), "", "", 0)
		if err != nil || len(list) != 1 || *list[0].Address != addr(8) {
			t.Errorf("%+v, %v", list, err)
		}
		r.must(r.book.DeleteABI(ctx, caller, here, a.ID))
		r.book.cfg.MaxContracts = 1
		at = addr(7)
		if _, ok := as[*ConflictError](third(register(b.ID, ""))); !ok {
			t.Error("more contracts than there may be")
		}
		r.wantEvents("abi-delete", "contract-forget", "contract-register", "contract-register", "contract-register", "abi-upload", "abi-upload")
	})
}

func third[A, B any](_ A, _ B, err error) error { return err }

func isInput(err error, field string) bool {
	e, ok := as[*InputError](err)
	return ok && e.Field == field
}

func isMissing(err error) bool {
	_, ok := as[*NotFoundError](err)
	return ok
}
