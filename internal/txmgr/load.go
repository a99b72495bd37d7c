// SPDX-License-Identifier: Apache-2.0

package txmgr

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/core/types"

	"github.com/hsmsigner/hsmsigner/internal/audit"
	"github.com/hsmsigner/hsmsigner/internal/auth"
	"github.com/hsmsigner/hsmsigner/internal/node"
	"github.com/hsmsigner/hsmsigner/internal/store"
	"github.com/hsmsigner/hsmsigner/internal/tx"
	"github.com/hsmsigner/hsmsigner/internal/wallet"
)

// load takes the sender over: a new epoch, then everything unfinished from
// the rows, so that what is stored goes out again before anything new
// (TXMGR.md nos. 19 and 22, crash table).
func (s *sender) load(ctx context.Context) error {
	s.forget()
	err := s.m.db.Write(ctx, func(w *store.Writer) error { return w.PutSender(s.row) })
	if errors.Is(err, store.ErrForeignSender) {
		return &RefusedError{Code: codeRefused, Msg: fmt.Sprintf("account %s is not available to this wallet", s.addr)}
	}
	if err != nil {
		return err
	}
	if s.row, err = s.m.db.Sender(ctx, s.id); err != nil {
		return err
	}
	if err := s.prove(ctx); err != nil {
		return err
	}
	lease, err := s.m.db.AcquireLease(ctx, s.id, s.m.owner, s.m.ttl)
	if err != nil {
		return err
	}
	s.fence = store.Fence{Sender: s.id, Owner: lease.Owner, Epoch: lease.Epoch}
	latest, pending, balance, err := s.w.node.Account(ctx, s.addr)
	if err != nil {
		return err
	}
	// A different block at the height of the last confirmed one means that
	// the rows speak of a chain that is gone. A lower head is a lagging node.
	reset, err := s.confirmedGone(ctx)
	if err != nil {
		return err
	}
	rows, attempts, err := s.m.db.LoadSender(ctx, s.id, latest)
	if err != nil {
		return err
	}
	highest, any, err := s.m.db.HighestNonce(ctx, s.id)
	if err != nil {
		return err
	}
	s.base = latest
	if any {
		s.base = min(latest, highest+1)
	}
	for _, row := range rows {
		if row.Nonce != nil && !row.State.Final() && row.State != store.Mined {
			s.base = min(s.base, *row.Nonce)
		}
	}
	for _, row := range rows {
		if err := s.restore(row, attempts[row.ID]); err != nil {
			return fmt.Errorf("txmgr: transaction %s: %w", row.ID, err)
		}
	}
	s.skipFinal(rows)
	s.account = account{latest: latest, pending: pending, balance: balance, at: time.Now(), asked: s.account.asked + 1}
	s.loadedOK = true
	s.parked = s.row.Parked
	if reset != "" && s.parked == "" {
		s.parkForRepair(reset)
	}
	s.counted()
	return nil
}

// prove has the backend sign a challenge the first time an address is used,
// so that nobody can claim another's address with a vault that merely lists
// it (TXMGR.md no. 23).
func (s *sender) prove(ctx context.Context) error {
	if s.row.Proven {
		return nil
	}
	if err := s.w.keys.Prove(ctx, s.addr); err != nil {
		var backend *wallet.BackendError
		if errors.As(err, &backend) {
			return &BackendError{Kind: backend.Kind, Err: err}
		}
		return err
	}
	yes := true
	err := s.m.db.Write(ctx, func(w *store.Writer) error {
		return w.UpdateSender(s.id, store.SenderUpdate{Proven: &yes})
	})
	s.row.Proven = err == nil
	return err
}

// confirmedGone says so if the last confirmed block is no longer on the chain.
func (s *sender) confirmedGone(ctx context.Context) (string, error) {
	if s.row.ConfirmedHash == (common.Hash{}) {
		return "", nil
	}
	head, err := s.w.node.HeaderByNumber(ctx, s.row.ConfirmedNumber)
	switch {
	case errors.Is(err, node.ErrNotFound):
		return "", fmt.Errorf("txmgr: the node has no block %d yet, in which transactions of this account were confirmed: %w", s.row.ConfirmedNumber, node.ErrUnavailable)
	case err != nil:
		return "", err
	case head.Hash != s.row.ConfirmedHash:
		return fmt.Sprintf("block %d, which was confirmed and holds transactions of this account, has another hash now: the chain was reset or reorganised deeply", s.row.ConfirmedNumber), nil
	}
	return "", nil
}

// restore makes an entry of a row.
func (s *sender) restore(row store.Tx, attempts []store.Attempt) error {
	if row.State.Final() {
		return nil
	}
	w := s.w
	s.m.mu.Lock()
	if own := s.m.wallets[row.Wallet]; own != nil {
		w = own
	}
	s.m.mu.Unlock()
	utx, err := tx.DecodeUnsigned(row.Payload)
	if err != nil {
		return err
	}
	e := &entry{
		row: row, w: w, utx: utx, cost: tx.MaxCost(utx), principal: auth.Principal{Name: row.Credential},
		action: audit.SendTransaction, seq: s.nextSeq(), begun: row.Created, stage: time.Now(),
	}
	if row.Kind == store.FillTx {
		e.action = audit.Repair
	}
	s.byTx[row.ID] = e
	for _, a := range attempts {
		switch {
		case a.Outcome != store.Open:
		case a.Raw == nil:
			// Being signed when the process ended: void, so that a signature
			// which still arrives somewhere can never be stored.
			id := a.ID
			s.plan(func(w *store.Writer) error {
				_, err := w.SetAttemptOutcome(id, []store.AttemptOutcome{store.Open}, store.Void)
				return err
			})
		default:
			// Stored under an earlier epoch counts as sent (no. 19).
			got := &attempt{row: a, entry: e, left: true}
			e.attempts = append(e.attempts, got)
			e.left = true
			s.byHash[a.Hash] = got
			s.chain.watch(a.Hash, s)
		}
	}
	if row.Kind == store.RawTx && e.ready() {
		signed := new(types.Transaction)
		if err := signed.UnmarshalBinary(e.current().row.Raw); err != nil {
			return err
		}
		e.utx = signed
	}
	s.settle(e)
	return nil
}

// settle puts a restored entry where its state says.
func (s *sender) settle(e *entry) {
	switch e.row.State {
	case store.Queued:
		s.queue = append(s.queue, e)
	case store.Held:
		e.left = false
		s.occupy(e.nonce(), e)
	case store.Assigned:
		s.occupy(e.nonce(), e)
		if !e.left {
			s.attempt(e, e.utx, store.FirstAttempt)
		}
	case store.Signed, store.Sent:
		s.occupy(e.nonce(), e)
	case store.Mined:
		s.mined[e] = struct{}{}
		e.acked = true
		if e.nonce() >= s.base {
			s.occupy(e.nonce(), e)
		}
	case store.Superseded:
		s.older[e.nonce()] = append(s.older[e.nonce()], e)
	}
}

// skipFinal moves the base over nonces that final rows have: a node that lags
// behind them is not believed.
func (s *sender) skipFinal(rows []store.Tx) {
	done := map[uint64]bool{}
	for _, row := range rows {
		if row.Nonce != nil && row.State.Final() {
			done[*row.Nonce] = true
		}
	}
	for done[s.base] && s.slots[s.base] == nil {
		s.base++
	}
	s.hint = s.base
}

// park keeps the sender from assigning and sending until what it waits for
// has come. It is not remembered over a restart.
func (s *sender) park(reason string) {
	if s.parked == "" {
		s.log.Warn("sender parked", "reason", reason)
		s.event("parked")
	}
	if s.row.Parked == "" {
		s.parked = reason
	}
}

// unpark ends a park that needs no operator.
func (s *sender) unpark() {
	if s.row.Parked == "" && s.parked != "" {
		s.log.Info("sender goes on")
		s.parked = ""
	}
}

// parkForRepair keeps the sender parked, over restarts too, until an operator
// has looked at it. Callers that wait for a nonce are told at once.
func (s *sender) parkForRepair(reason string) {
	if s.row.Parked != "" {
		return
	}
	s.log.Error("sender parked until tx repair", "reason", reason)
	s.event("parked")
	s.row.Parked, s.parked = reason, reason
	id := s.id
	s.plan(func(w *store.Writer) error { return w.UpdateSender(id, store.SenderUpdate{Parked: &reason}) })
	for _, e := range slices.Clone(s.queue) {
		if len(s.waiters[e.row.ID]) > 0 {
			s.fail(e, s.parkedError())
		}
	}
}

// parkedError is what a caller is told while an operator is needed.
func (s *sender) parkedError() error {
	return &RefusedError{Code: codeRefused, Msg: fmt.Sprintf("account %s is parked: %s; an operator has to release it with: hsmsigner tx repair %s", s.addr, s.row.Parked, s.id)}
}

// fill makes a self-transfer for nonce n, above which something has left
// (TXMGR.md no. 16). The fees are asked for first; until they are known the
// nonce counts as occupied.
func (s *sender) fill(n uint64) {
	s.filling[n] = true
	s.m.wg.Go(func() {
		var args tx.Args
		to, gas := s.addr, uint64(21_000)
		args.From, args.To, args.Gas = s.addr, &to, &gas
		err := tx.FillFees(s.m.ctx, s.chain, &args, s.w.set.Limits)
		var unsigned *types.Transaction
		if err == nil {
			unsigned, err = args.Unsigned(s.w.chainID, n)
		}
		if err != nil {
			s.log.Warn("cannot make a transaction that fills a nonce, trying again", "nonce", n, "err", err)
			if sleep(s.m.ctx, time.Second) {
				s.post(func() {
					if s.loadedOK && s.filling[n] {
						s.fill(n)
					}
				})
			}
			return
		}
		s.post(func() { s.filled(n, unsigned) })
	})
}

func (s *sender) filled(n uint64, unsigned *types.Transaction) {
	if !s.loadedOK || !s.filling[n] || s.slots[n] != nil || n < s.base {
		return
	}
	delete(s.filling, n)
	s.hint = min(s.hint, n)
	payload, err := tx.EncodeUnsigned(unsigned)
	if err != nil {
		s.log.Error("cannot encode a transaction that fills a nonce", "nonce", n, "err", err)
		return
	}
	now := time.Now()
	row := store.Tx{
		ID: store.NewID(), Wallet: s.w.name, Credential: auth.System.Name, Intent: store.NewID(), Sender: s.id,
		Nonce: &n, Explicit: true, Kind: store.FillTx, Payload: payload, State: store.Assigned,
		FeeCeiling: unsigned.GasFeeCap(), Expires: now.Add(365 * 24 * time.Hour), Created: now, Updated: now,
	}
	intent := audit.Intent{
		ID: row.Intent, At: now, Principal: auth.System.Name, Wallet: s.w.name, Address: s.addr,
		Action: audit.Repair, Subject: row.ID, Verdict: "allow: repair",
	}
	e := &entry{
		row: row, w: s.w, utx: unsigned, cost: tx.MaxCost(unsigned), principal: auth.System, action: audit.Repair,
		seq: s.nextSeq(), begun: now, stage: now,
	}
	s.byTx[row.ID] = e
	s.plan(func(w *store.Writer) error {
		if err := w.AuditIntent(intent); err != nil {
			return err
		}
		return w.InsertTx(row)
	})
	s.occupy(n, e)
	s.attempt(e, unsigned, store.FirstAttempt)
	s.log.Warn("filling a nonce with a self-transfer", "nonce", n)
	s.event("filled")
}

// cancelAttempt plans a self-transfer with a higher fee beside the attempts
// of a transaction that has left. It fails the transaction only once it is
// mined and confirmed (TXMGR.md no. 15).
func (s *sender) cancelAttempt(e *entry) error {
	fees := tx.LeastBump(e.utx)
	if cur := e.current(); cur != nil && cur.row.Payload != nil {
		if last, err := tx.DecodeUnsigned(cur.row.Payload); err == nil {
			fees = tx.LeastBump(last)
		}
	}
	unsigned, err := tx.SelfTransfer(e.utx, s.addr, s.w.chainID, e.nonce(), fees)
	if err != nil {
		return err
	}
	if limit := s.w.set.Limits.MaxFeePerGas; limit != nil && limit.Sign() > 0 && unsigned.GasFeeCap().Cmp(limit) > 0 {
		return &RefusedError{Code: codeRefused, Msg: fmt.Sprintf("a cancel would have to pay %s wei per gas, above the configured max_fee_per_gas of %s", unsigned.GasFeeCap(), limit)}
	}
	s.repairIntent(e)
	s.attempt(e, unsigned, store.CancelAttempt)
	return nil
}

// repairIntent records that the next signature of e is a repair.
func (s *sender) repairIntent(e *entry) {
	intent := audit.Intent{
		ID: store.NewID(), At: time.Now(), Principal: auth.Operator.Name, Wallet: e.w.name, Address: s.addr,
		Action: audit.Repair, Subject: e.row.ID, Verdict: "allow: repair",
	}
	e.row.Intent, e.action = intent.ID, audit.Repair
	s.plan(func(w *store.Writer) error { return w.AuditIntent(intent) })
}
