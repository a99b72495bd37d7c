// SPDX-License-Identifier: Apache-2.0

package txmgr

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/ethereum/go-ethereum/core/types"

	"github.com/hsmsigner/hsmsigner/internal/audit"
	"github.com/hsmsigner/hsmsigner/internal/auth"
	"github.com/hsmsigner/hsmsigner/internal/policy"
	"github.com/hsmsigner/hsmsigner/internal/store"
	"github.com/hsmsigner/hsmsigner/internal/tx"
)

// Report says how a sender stands, for a person who has to decide what to do.
type Report struct {
	Sender     string    `json:"sender"`
	Address    string    `json:"address"`
	ChainID    uint64    `json:"chain_id"`
	Wallet     string    `json:"wallet"`
	Parked     string    `json:"parked,omitempty"`      // why nothing is assigned or sent
	NeedsHelp  bool      `json:"needs_repair"`          // it stays parked until an operator acts
	NodeLatest uint64    `json:"node_latest"`           // the node's count of mined transactions
	NodePool   uint64    `json:"node_pending"`          // the same with those in its pool
	Base       uint64    `json:"base"`                  // the count that this signer goes by
	NextFree   uint64    `json:"next_nonce"`            // the next nonce that it would assign
	Queued     int       `json:"queued"`                // transactions waiting for a nonce
	Waiting    []Waiting `json:"in_flight"`             // occupied nonces from base upward, lowest first, at most 100
	BalanceWei string    `json:"balance_wei,omitempty"` // at the latest block
	Advice     string    `json:"advice"`                // what to do
}

// Waiting is one occupied nonce.
type Waiting struct {
	Nonce  uint64        `json:"nonce"`
	TxID   string        `json:"tx"`
	State  store.TxState `json:"state"`
	Hashes []string      `json:"hashes,omitempty"` // of every encoding that may be mined
	Reason string        `json:"held_because,omitempty"`
}

// freshAccount waits until the node has answered a question asked from now on.
func (s *sender) freshAccount(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	begun := time.Now()
	s.post(func() { s.wantAccount() })
	for {
		at, err := ask(ctx, s, func() time.Time { return s.account.at })
		if err != nil {
			return fmt.Errorf("the node did not answer about the account: %w", err)
		}
		if at.After(begun) {
			return nil
		}
		if !sleep(ctx, 20*time.Millisecond) {
			return fmt.Errorf("the node did not answer about the account: %w", ctx.Err())
		}
	}
}

// clearPark ends a park that needs an operator, durably.
func (s *sender) clearPark() {
	s.parked, s.unproven = "", ""
	s.foreign = foreign{}
	if s.row.Parked == "" {
		return
	}
	s.log.Warn("sender released by an operator", "was", s.row.Parked)
	s.goOn(strings.HasPrefix(s.row.Parked, store.RestoredReason))
	s.row.Parked = ""
	s.row.ConfirmedNumber, s.row.ConfirmedHash = 0, [32]byte{}
	none, number, hash, id := "", uint64(0), s.row.ConfirmedHash, s.id
	s.plan(func(w *store.Writer) error {
		return w.UpdateSender(id, store.SenderUpdate{Parked: &none, ConfirmedNumber: &number, ConfirmedHash: &hash})
	})
}

// goOn takes up what a park had stopped before it was signed. After a restored
// backup it is failed instead: nobody can know whether it was signed and sent
// after the backup was made, and a second signature would pay twice (TXMGR.md
// no. 24). What is signed goes out again as it is.
func (s *sender) goOn(restored bool) {
	for _, e := range slices.SortedFunc(maps.Values(s.byTx), func(a, b *entry) int { return cmp.Compare(b.seq, a.seq) }) {
		switch {
		case e.left || e.ready():
		case restored:
			s.fail(e, &RefusedError{Code: codeRefused, Msg: "given up: the database was restored from a backup, and this transaction may have been sent after the backup was made"})
		case e.row.State == store.Assigned && e.current() == nil:
			s.attempt(e, e.utx, store.FirstAttempt)
		}
	}
}

// report describes the sender as it is now.
func (s *sender) report() Report {
	r := Report{
		Sender: s.id, Address: s.addr.Hex(), ChainID: s.row.ChainID, Wallet: s.w.name,
		Parked: s.parked, NeedsHelp: s.row.Parked != "", NodeLatest: s.account.latest, NodePool: s.account.pending,
		Base: s.base, NextFree: s.lowestFree(), Queued: len(s.queue) + len(s.subs),
	}
	if s.unproven != "" && r.Parked == "" {
		r.Parked = s.unproven
	}
	if s.account.balance != nil {
		r.BalanceWei = s.account.balance.String()
	}
	for _, n := range s.nonces(s.base) {
		if len(r.Waiting) == 100 {
			break
		}
		e := s.slots[n]
		w := Waiting{Nonce: n, TxID: e.row.ID, State: e.row.State}
		for _, a := range e.attempts {
			if a.row.Raw != nil {
				w.Hashes = append(w.Hashes, a.row.Hash.Hex())
			}
		}
		if e.reason != nil {
			w.Reason = e.reason.Error()
		}
		r.Waiting = append(r.Waiting, w)
	}
	switch {
	case r.NeedsHelp && r.NodeLatest > r.Base:
		r.Advice = "make sure that the node is right (compare with another node); then take its count over with adopt, or, if the node was wrong and is mended, go on with release"
	case r.NeedsHelp:
		r.Advice = "find out whether the chain was reset or reorganised; if what is in flight should go out on the chain as it is now, go on with release"
	case r.Parked != "":
		r.Advice = "wait: it goes on by itself"
	case len(r.Waiting) > 0 && r.Waiting[0].Reason != "":
		r.Advice = "the node holds the lowest nonce back; mend what it says, or give that transaction up with cancel " + r.Waiting[0].TxID
	default:
		r.Advice = "nothing to repair"
	}
	return r
}

// cancelAttempt plans a self-transfer with a higher fee beside the attempts
// of a transaction that has left. It fails the transaction only once it is
// mined and confirmed (TXMGR.md no. 15).
func (s *sender) cancelAttempt(e *entry, want tx.Fees) error {
	if !e.ready() {
		return errors.New("a cancel of it is being signed")
	}
	if err := s.frozen(e); err != nil {
		return err
	}
	last := e.last()
	fees := tx.LeastBump(last).AtLeast(want, s.w.set.Limits.MaxFeePerGas)
	unsigned, err := tx.SelfTransfer(last, s.addr, s.w.chainID, e.nonce(), fees)
	if err != nil {
		return err
	}
	if limit := s.w.set.Limits.MaxFeePerGas; limit != nil && limit.Sign() > 0 && unsigned.GasFeeCap().Cmp(limit) > 0 {
		return &RefusedError{Code: codeRefused, Msg: fmt.Sprintf("a cancel would have to pay %s wei per gas, above the configured max_fee_per_gas of %s", unsigned.GasFeeCap(), limit)}
	}
	s.repairIntent(e, unsigned)
	s.attempt(e, unsigned, store.CancelAttempt)
	return nil
}

// repairIntent records that the next signature of e is a repair.
func (s *sender) repairIntent(e *entry, unsigned *types.Transaction) {
	intent := audit.Intent{
		ID: store.NewID(), At: time.Now(), Principal: auth.Operator.Name, Wallet: e.w.name, Address: s.addr,
		Action: audit.Repair, Subject: e.row.ID, Verdict: "allow: repair",
		Detail: e.w.keys.Detail(policy.Request{Transaction: unsigned}),
	}
	e.row.Intent, e.action = intent.ID, audit.Repair
	s.plan(func(w *store.Writer) error { return w.AuditIntent(intent) })
}
