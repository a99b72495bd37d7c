// SPDX-License-Identifier: Apache-2.0

package contract

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"slices"
	"time"

	"github.com/hsmsigner/hsmsigner/internal/policy"
	"github.com/hsmsigner/hsmsigner/internal/store"
	"github.com/hsmsigner/hsmsigner/internal/txmgr"
)

// How a deployment keeps its name.
//
// The row of the contract, with its name, is stored before the transaction is
// begun, and each attempt to have that accepted stands in the row first. A row is
// removed only
//
//   - by the last attempt, when it was refused and the row names no other: then
//     nobody is left who could have the transaction accepted;
//   - when the transaction is final and has created nothing;
//   - or, where an attempt may have died with its process, together with the use of
//     the id: in one commit the idempotency key is spent and the row removed. If
//     that attempt lives after all, its transaction is either in before, so that the
//     key cannot be spent, or is refused as a repetition.
//
// So a transaction that was accepted has its row, and no two have one name. Clocks
// decide only how long a name waits for an attempt that says nothing.

const (
	// attemptGrace is how long the name of an attempt that says nothing is kept from
	// others.
	attemptGrace = 10 * time.Minute
	// abandoned is after how long a deployment that was never accepted is removed
	// though nobody wants its name.
	abandoned = 24 * time.Hour
	// maxAttempts bounds those that a row names.
	maxAttempts = 32
	// rounds bounds how often a change is tried that others were in the way of.
	rounds = 8
)

// deploymentID is the id of the row of a deployment: the same for the same request.
func deploymentID(wallet, credential, id string) string {
	sum := digest("hsmsigner deployment v1", wallet, credential, id)
	return hex.EncodeToString(sum[:16])
}

// deploymentHash identifies what was asked for: what the transaction is, and what
// its contract is to be called.
func deploymentHash(request [32]byte, n Deployment) [32]byte {
	return digest("hsmsigner deployment request v1", string(request[:]), n.Name, n.Kind, string(n.Detail))
}

func digest(parts ...string) [32]byte {
	var b []byte
	for _, p := range parts {
		b = binary.BigEndian.AppendUint32(b, uint32(len(p)))
		b = append(b, p...)
	}
	return sha256.Sum256(b)
}

// reservation is the row that a deployment waits in.
type reservation struct {
	row     string
	attempt string // empty if the request is known: its row is as it is
	id      string // of the request
}

// reserve stores the row of a deployment that is about to be begun under id, or
// this attempt in it. *ConflictError if the name is taken, ErrIDUsed if the id is.
func (b *Book) reserve(ctx context.Context, t Target, n Deployment, id string, hash [32]byte) (reservation, error) {
	res := reservation{row: deploymentID(t.Wallet.Name(), t.Principal.Name, id), id: id}
	err := b.change(ctx, func(w *store.Writer) error {
		res.attempt = ""
		row, err := w.Contract(res.row)
		switch {
		case err == nil:
			return b.join(w, row, hash, &res)
		case !errors.Is(err, store.ErrNotFound):
			return err
		}
		_, err = w.Idempotent(t.Wallet.Name(), t.Principal.Name, store.GatewayKey+id)
		switch {
		case err == nil:
			return nil // Begin gives its outcome; the contract was forgotten, or came to nothing
		case !errors.Is(err, store.ErrNotFound):
			return err
		}
		if !t.Wallet.Has(*n.From) {
			return &AccountError{Address: *n.From}
		}
		if err := b.room(w, t.Place); err != nil {
			return err
		}
		if err := b.vacate(w, t.Place, t.Wallet.ChainID().String(), n.Name, res.row); err != nil {
			return err
		}
		try := attempt{ID: store.NewID(), At: b.now().UTC()}
		err = w.InsertContract(store.Contract{
			ID: res.row, Environment: t.Place.Environment, Membership: t.Place.Membership, Chain: t.Wallet.ChainID().String(),
			Name: n.Name, ABI: n.ABI.ID, Kind: n.Kind, Wallet: t.Wallet.Name(), Credential: t.Principal.Name, Reply: id,
			Detail:    note{Kind: n.Detail, Request: hex.EncodeToString(hash[:]), Attempts: []attempt{try}}.text(),
			Principal: t.Principal.Name, Created: b.now().UTC(),
		})
		if errors.Is(err, store.ErrNotFound) {
			return missing("abi", n.ABI.ID)
		}
		res.attempt = try.ID
		return err
	})
	if err != nil {
		return res, stored("reserve a deployment", err)
	}
	return res, nil
}

// join enters an attempt into a row that is there.
func (b *Book) join(w *store.Writer, row store.Contract, hash [32]byte, res *reservation) error {
	if row.Address != "" || row.Tx != nil {
		return nil // accepted: Begin knows it again
	}
	was := noteOf(row)
	if was.Request != hex.EncodeToString(hash[:]) {
		return ErrIDUsed
	}
	if len(was.Attempts) >= maxAttempts {
		return conflict("there are %d requests with this id of which nothing is known yet: use a new id", len(was.Attempts))
	}
	try := attempt{ID: store.NewID(), At: b.now().UTC()}
	next, now := row, was
	now.Attempts = append(slices.Clone(was.Attempts), try)
	next.Detail = now.text()
	res.attempt = try.ID
	return w.UpdateContract(next, row)
}

// room refuses a contract too many.
func (b *Book) room(w *store.Writer, at Place) error {
	n, err := w.CountContracts(at.Environment, at.Membership)
	if err == nil && n >= int64(b.cfg.MaxContracts) {
		err = conflict("there are %d contracts here already, as many as there may be: forget one that is not used", n)
	}
	return err
}

// refused takes an attempt out of its row: Begin has not taken the transaction, or
// it failed before it left. The name is free if nobody else can have it accepted.
func (b *Book) refused(ctx context.Context, res reservation, why error) error {
	var people *policy.PendingError
	approval := ""
	if errors.As(why, &people) && (people.Key == "" || people.Key == store.GatewayKey+res.id) {
		approval = people.ID // else it waits under another id, by which it has a row of its own
	}
	err := b.change(ctx, func(w *store.Writer) error {
		row, err := w.Contract(res.row)
		switch {
		case errors.Is(err, store.ErrNotFound):
			return nil
		case err != nil:
			return err
		case gone(row.Tx):
			return w.DeleteContract(row)
		case row.Address != "" || row.Tx != nil:
			return nil
		}
		next, n := row, noteOf(row)
		n.Attempts = slices.DeleteFunc(n.Attempts, func(a attempt) bool { return a.ID == res.attempt })
		if approval != "" {
			n.Approval = approval
		}
		if len(n.Attempts) == 0 && n.Approval == "" {
			return w.DeleteContract(row)
		}
		next.Detail = n.text()
		return w.UpdateContract(next, row)
	})
	if err != nil {
		return stored("give back a deployment", err)
	}
	return nil
}

// vacate makes sure that a name is free for the row own, or refuses it with a
// *ConflictError.
func (b *Book) vacate(w *store.Writer, at Place, chain, name, own string) error {
	if name == "" {
		return nil
	}
	row, err := w.ContractByName(at.Environment, at.Membership, chain, name)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return nil
	case err != nil:
		return err
	case row.ID == own: // stored by another process since we looked for it
		return store.ErrChanged
	case row.Address != "":
		return conflict("the name %s is taken by the contract at %s", name, row.Address)
	}
	free, err := b.abandon(w, row, attemptGrace)
	if err == nil && !free {
		err = conflict("the name %s is taken by a deployment: see the reply %s", name, row.Reply)
	}
	return err
}

// abandon removes a row of which nothing will come, and reports whether it did. An
// attempt that has said nothing for so long counts as dead.
func (b *Book) abandon(w *store.Writer, row store.Contract, silent time.Duration) (bool, error) {
	if row.Tx != nil {
		if !gone(row.Tx) {
			return false, nil
		}
		return true, w.DeleteContract(row)
	}
	n := noteOf(row)
	if slices.ContainsFunc(n.Attempts, func(a attempt) bool { return b.now().Sub(a.At) < silent }) {
		return false, nil
	}
	if n.Approval != "" {
		switch a, err := w.LockApproval(n.Approval); {
		case err == nil && a.State.Open() && !a.Restored:
			return false, nil
		case err != nil && !errors.Is(err, store.ErrNotFound):
			return false, err
		}
	}
	hash, _ := hex.DecodeString(n.Request)
	const why = "the deployment was given up: nothing was heard of it, and its name may have been given to another"
	spent, err := w.SpendKey(row.Wallet, row.Credential, store.GatewayKey+row.Reply, [32]byte(append(hash, make([]byte, 32)...)[:32]),
		txmgr.EncodeFailure(&txmgr.RefusedError{Code: -32000, Msg: why}))
	if err != nil || !spent {
		return false, err // it was accepted just now
	}
	return true, w.DeleteContract(row)
}

// change writes, and tries again if somebody else has changed a row meanwhile.
func (b *Book) change(ctx context.Context, fn func(*store.Writer) error) error {
	for round := 1; ; round++ {
		err := b.cfg.Store.Write(ctx, fn)
		var taken *store.TakenError
		if err == nil || round == rounds || !errors.Is(err, store.ErrChanged) && !errors.Is(err, store.ErrExists) && !errors.As(err, &taken) {
			return err
		}
	}
}
