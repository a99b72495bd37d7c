// SPDX-License-Identifier: Apache-2.0

package contract

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/hsmsigner/hsmsigner/internal/abi"
	"github.com/hsmsigner/hsmsigner/internal/audit"
	"github.com/hsmsigner/hsmsigner/internal/auth"
	"github.com/hsmsigner/hsmsigner/internal/store"
	"github.com/hsmsigner/hsmsigner/internal/strictjson"
)

// Config is what a Book and its Desk are made of.
type Config struct {
	Store *store.DB
	// MaxABIs and MaxContracts bound what a place may have; 1,000 and 10,000.
	MaxABIs, MaxContracts int
	// Poll is how often Await looks at the rows of the transactions that are waited
	// for; 100 ms.
	Poll time.Duration
	// Settle is how often Run looks at deployments that are not final; 30 s.
	Settle time.Duration
	// Node asks the node of a wallet that runs here for a receipt; see Wallet.Forward.
	// It may be nil, and may give nil. It is needed only for a deployment whose
	// transaction was pruned before anybody looked.
	Node func(wallet string) Wallet
	// Consortium is the id of the consortium that a place stands in, for the audit
	// trail. It may be nil.
	Consortium func(Place) string
	Logger     *slog.Logger // nil discards
}

// Book is the interfaces and contracts of all places. It is safe for concurrent
// use.
type Book struct {
	cfg   Config
	cache cache
	now   func() time.Time
}

// NewBook makes a book on a store.
func NewBook(cfg Config) *Book {
	or(&cfg.MaxABIs, 1000)
	or(&cfg.MaxContracts, 10_000)
	or(&cfg.Poll, 100*time.Millisecond)
	or(&cfg.Settle, 30*time.Second)
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	return &Book{cfg: cfg, cache: newCache(), now: time.Now}
}

func or[T comparable](v *T, otherwise T) {
	var zero T
	if *v == zero {
		*v = otherwise
	}
}

const (
	maxTitle       = 128  // characters of an interface's name
	maxDescription = 1024 // characters
	maxCompiler    = 128  // characters
	maxPage        = 200
	defaultPage    = 50
)

// Upload keeps an interface. *abi.ParseError or *InputError if it is not one;
// *ConflictError if the place has as many as it may.
func (b *Book) Upload(ctx context.Context, who auth.Principal, at Place, u Upload) (ABI, error) {
	a, err := readUpload(u)
	if err != nil {
		return ABI{}, err
	}
	a.ID, a.Principal, a.Created = store.NewID(), who.Name, b.now().UTC().Truncate(time.Microsecond)
	row := store.ABI{
		ID: a.ID, Environment: at.Environment, Membership: at.Membership, Name: a.Name, Description: a.Description,
		ABI: string(a.Document), Docs: string(a.Docs), Bytecode: a.Bytecode, Compiler: a.Compiler, Principal: a.Principal, Created: a.Created,
	}
	err = b.cfg.Store.Write(ctx, func(w *store.Writer) error {
		n, err := w.CountABIs(at.Environment, at.Membership)
		if err != nil {
			return err
		}
		if n >= int64(b.cfg.MaxABIs) {
			return conflict("there are %d interfaces here already, as many as there may be: delete one that is not used", n)
		}
		if err := w.InsertABI(row); err != nil {
			return err
		}
		return w.AuditEvent(b.event(who, at, "abi-upload", "", a.ID, map[string]any{"name": a.Name, "deployable": a.Deployable}))
	})
	if err != nil {
		return ABI{}, stored("keep an interface", err)
	}
	b.cache.put(at, a, b.now())
	return a, nil
}

// readUpload checks an upload, and parses it.
func readUpload(u Upload) (ABI, error) {
	a := ABI{Name: u.Name, Description: u.Description, Compiler: u.Compiler, Bytecode: u.Bytecode, Deployable: len(u.Bytecode) > 0}
	for _, t := range []struct {
		field, text string
		most        int
		lines       bool
	}{{"name", u.Name, maxTitle, false}, {"description", u.Description, maxDescription, true}, {"compiler", u.Compiler, maxCompiler, false}} {
		if err := checkText(t.field, t.text, t.most, t.lines); err != nil {
			return ABI{}, err
		}
	}
	if len(u.Bytecode) > maxCode {
		return ABI{}, inputErr("bytecode", "%d bytes, and no node takes a transaction of more than %d", len(u.Bytecode), maxCode)
	}
	if !a.Deployable {
		a.Bytecode = nil
	}
	if len(u.ABI) == 0 {
		return ABI{}, inputErr("abi", "missing; want the array of the contract's interface")
	}
	var err error
	if a.Contract, err = abi.Parse(u.ABI); err != nil {
		return ABI{}, err
	}
	v, err := strictjson.Parse(u.ABI)
	if err != nil {
		return ABI{}, inputErr("abi", "%s", err)
	}
	a.Document = v.AppendTo(nil)
	if len(u.Docs) > maxDocs {
		return ABI{}, inputErr("docs", "longer than %d bytes", maxDocs)
	}
	if len(u.Docs) > 0 {
		docs, err := strictjson.Parse(u.Docs)
		if err != nil {
			return ABI{}, inputErr("docs", "%s", excerpt(err.Error()))
		}
		if docs.Kind != strictjson.Object {
			return ABI{}, inputErr("docs", `want an object with "devdoc" and "userdoc", got %s`, docs.Kind)
		}
		a.Docs = docs.AppendTo(nil)
	}
	return a, nil
}

func checkText(field, s string, most int, lines bool) error {
	if !utf8.ValidString(s) {
		return inputErr(field, "not valid UTF-8")
	}
	if n := utf8.RuneCountInString(s); n > most {
		return inputErr(field, "%d characters, at most %d are kept", n, most)
	}
	if strings.ContainsFunc(s, func(r rune) bool { return (r < 0x20 || r == 0x7f) && !(lines && (r == '\n' || r == '\t' || r == '\r')) }) {
		return inputErr(field, "must have no control characters")
	}
	return nil
}

// ABIs lists a place's interfaces, the oldest first, those after the id after, at
// most limit (default 50, at most 200); without what ABI says is not in lists.
func (b *Book) ABIs(ctx context.Context, at Place, after string, limit int) ([]ABI, error) {
	rows, err := b.cfg.Store.ABIs(ctx, at.Environment, at.Membership, after, page(limit))
	if err != nil {
		return nil, stored("list interfaces", err)
	}
	all := make([]ABI, 0, len(rows))
	for _, r := range rows {
		all = append(all, headOf(r))
	}
	return all, nil
}

func page(limit int) int {
	if limit <= 0 {
		limit = defaultPage
	}
	return min(limit, maxPage)
}

func headOf(r store.ABI) ABI {
	return ABI{ID: r.ID, Name: r.Name, Description: r.Description, Compiler: r.Compiler, Principal: r.Principal, Created: r.Created, Deployable: r.Deployable}
}

// ABI reads one interface, with all of it. *NotFoundError.
func (b *Book) ABI(ctx context.Context, at Place, id string) (ABI, error) {
	if !isRowID(id) {
		return ABI{}, missing("abi", id)
	}
	if a, known, fresh := b.cache.get(at, id, b.now()); known && fresh {
		return a, nil
	} else if known {
		// It never changes, but another process may have deleted it.
		there, err := b.cfg.Store.HasABI(ctx, at.Environment, at.Membership, id)
		if err != nil {
			return ABI{}, stored("look for an interface", err)
		}
		if there {
			b.cache.put(at, a, b.now())
			return a, nil
		}
		b.cache.drop(id)
		return ABI{}, missing("abi", id)
	}
	r, err := b.cfg.Store.ABI(ctx, at.Environment, at.Membership, id)
	if errors.Is(err, store.ErrNotFound) {
		return ABI{}, missing("abi", id)
	}
	if err != nil {
		return ABI{}, stored("read an interface", err)
	}
	a := headOf(r)
	a.Document, a.Bytecode = json.RawMessage(r.ABI), r.Bytecode
	if r.Docs != "" {
		a.Docs = json.RawMessage(r.Docs)
	}
	if a.Contract, err = abi.Parse(a.Document); err != nil {
		return ABI{}, fmt.Errorf("contract: interface %s as it is stored: %w", id, err)
	}
	b.cache.put(at, a, b.now())
	return a, nil
}

// DeleteABI forgets an interface. *ConflictError while contracts have it.
func (b *Book) DeleteABI(ctx context.Context, who auth.Principal, at Place, id string) error {
	if !isRowID(id) {
		return missing("abi", id)
	}
	err := b.cfg.Store.Write(ctx, func(w *store.Writer) error {
		if err := w.DeleteABI(at.Environment, at.Membership, id); err != nil {
			return err
		}
		return w.AuditEvent(b.event(who, at, "abi-delete", "", id, nil))
	})
	var used *store.InUseError
	switch {
	case errors.Is(err, store.ErrNotFound):
		return missing("abi", id)
	case errors.As(err, &used):
		return conflict("the interface is used by contracts: forget those first")
	case err != nil:
		return stored("delete an interface", err)
	}
	b.cache.drop(id)
	return nil
}

// event is a change of the book, for the audit trail.
func (b *Book) event(who auth.Principal, at Place, kind, wallet, subject string, about map[string]any) audit.Event {
	e := audit.Event{
		Principal: who.Name, Kind: kind, Environment: at.Environment, Membership: at.Membership, Wallet: wallet, Subject: subject,
	}
	if b.cfg.Consortium != nil {
		e.Consortium = b.cfg.Consortium(at)
	}
	if about != nil {
		text, _ := json.Marshal(about) // texts and numbers always marshal
		e.Detail = string(text)
	}
	return e
}

// stored wraps an error of the store with what was being done; errors that were
// made for the caller stay as they are.
func stored(op string, err error) error {
	var (
		input   *InputError
		none    *NotFoundError
		against *ConflictError
		account *AccountError
		taken   *store.TakenError
	)
	switch {
	case errors.As(err, &input), errors.As(err, &none), errors.As(err, &against), errors.As(err, &account), errors.Is(err, ErrIDUsed):
		return err
	case errors.As(err, &taken): // by somebody who was faster
		return conflict("the %s is taken by another contract", taken.What)
	}
	return fmt.Errorf("contract: %s: %w", op, err)
}

func missing(what, ref string) error {
	return &NotFoundError{What: what, Ref: excerpt(ref)}
}

// isRowID reports whether s may be an id of store.NewID.
func isRowID(s string) bool {
	return len(s) == 32 && strings.Trim(s, "0123456789abcdef") == ""
}
