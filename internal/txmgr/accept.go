// SPDX-License-Identifier: Apache-2.0

package txmgr

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"sync"
	"time"

	"github.com/ethereum/go-ethereum/accounts/abi"
	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/common/hexutil"
	"github.com/ethereum/go-ethereum/core/types"

	"github.com/hsmsigner/hsmsigner/internal/audit"
	"github.com/hsmsigner/hsmsigner/internal/auth"
	"github.com/hsmsigner/hsmsigner/internal/node"
	"github.com/hsmsigner/hsmsigner/internal/policy"
	"github.com/hsmsigner/hsmsigner/internal/store"
	"github.com/hsmsigner/hsmsigner/internal/tx"
	"github.com/hsmsigner/hsmsigner/internal/wallet"
)

// codeRefused is the JSON-RPC code of a refusal that has none of its own
// (geth's errcodeDefault).
const codeRefused = -32000

// SendRequest is one transaction that somebody wants sent.
type SendRequest struct {
	Args           tx.Args
	IdempotencyKey string // empty for none
	// Drawn says that the key was drawn for this request, whose caller knows none: a
	// request that he makes again waits for the same people.
	Drawn    bool
	Order    *Order // keeps the items of a batch in order; nil for a request of its own
	Approval string // id of the approval that brings it; empty for none
	// Origin stands in the row: what the gateway needs to word the outcome.
	Origin string
	// RequestHash stands in the row, beside the idempotency key, and in
	// policy.Request.Asked in place of that of Args: what an approval brings has
	// gas and fees that its caller did not give. Nil: that of Args.
	RequestHash *[32]byte
}

// Order makes requests take their nonces in the order in which they were
// begun, while everything before the nonce (checks, fees, gas) and after it
// (signing, sending) overlaps. One Order serves one JSON-RPC batch.
// It is not safe for concurrent use by Begin.
type Order struct{ last chan struct{} }

// ticket gives the channel that closes when it is this request's turn, and
// the function that passes the turn on.
func (o *Order) ticket() (turn <-chan struct{}, pass func()) {
	if o == nil {
		closed := make(chan struct{})
		close(closed)
		return closed, func() {}
	}
	turn = o.last
	if turn == nil {
		closed := make(chan struct{})
		close(closed)
		turn = closed
	}
	mine := make(chan struct{})
	o.last = mine
	return turn, func() { close(mine) }
}

// Begin takes a transaction in and returns at once; wait gives its hash once
// the node has accepted it, or the error that its caller should see. A wait
// whose context ends gives that context's error and does not stop the
// transaction: once stored it goes on.
func (w *Wallet) Begin(ctx context.Context, p auth.Principal, req SendRequest) (wait func(context.Context) (common.Hash, error)) {
	wait, refused := w.TryBegin(ctx, p, req)
	if refused != nil {
		return func(context.Context) (common.Hash, error) { return common.Hash{}, refused }
	}
	return wait
}

// TryBegin is Begin, but that a wallet which takes nothing new says so at once. The
// request then has had no place in its Order: it can be begun elsewhere, before
// those behind it.
func (w *Wallet) TryBegin(ctx context.Context, p auth.Principal, req SendRequest) (wait func(context.Context) (common.Hash, error), refused error) {
	if refused := w.enterWork(); refused != nil {
		return nil, refused
	}
	turn, pass := req.Order.ticket()
	id := store.NewID() // here, so that those of a batch rise in its order
	var hash common.Hash
	var err error
	done := make(chan struct{})
	go func() {
		defer w.leftWork()
		defer close(done)
		hash, err = w.send(ctx, p, id, req, turn, pass)
	}()
	return func(ctx context.Context) (common.Hash, error) {
		select {
		case <-done:
			return hash, err
		case <-ctx.Done():
			return common.Hash{}, ctx.Err()
		}
	}, nil
}

// Send is Begin and wait.
func (w *Wallet) Send(ctx context.Context, p auth.Principal, req SendRequest) (common.Hash, error) {
	return w.Begin(ctx, p, req)(ctx)
}

// send is the way in: TXMGR.md nos. 1 to 4.
func (w *Wallet) send(ctx context.Context, p auth.Principal, id string, req SendRequest, turn <-chan struct{}, pass func()) (hash common.Hash, err error) {
	passed := false
	passOn := func() {
		if !passed {
			passed = true
			pass()
		}
	}
	// A request that ends early passes the turn on when it has come, and not
	// before: those behind it must not overtake those in front.
	defer func() {
		if !passed {
			go func() {
				<-turn
				pass()
			}()
		}
	}()
	begun := time.Now()
	deadline := begun.Add(w.set.SendTimeout)
	ctx, cancel := w.until(ctx, deadline)
	defer cancel()
	ctx, span := w.span(ctx, "accept")
	defer func() { span.end(err) }()

	requestHash := req.Args.RequestHash()
	if req.RequestHash != nil {
		requestHash = *req.RequestHash
	}
	var stored func()
	if req.IdempotencyKey != "" {
		_, lookup := w.span(ctx, "idempotency")
		release, row, known, err := w.claim(ctx, w.name, p, req.IdempotencyKey)
		lookup.end(err)
		if err != nil {
			return common.Hash{}, w.early(err)
		}
		if known {
			return w.repeat(ctx, row, requestHash, deadline)
		}
		stored = sync.OnceFunc(release)
		defer stored()
	}
	s, sub, err := w.prepare(ctx, p, id, requestHash, req)
	if err != nil {
		return common.Hash{}, w.early(err)
	}
	defer func() { sub.unused(err) }()
	sub.row.IdempotencyKey, sub.row.Origin = req.IdempotencyKey, req.Origin
	sub.row.RequestHash = requestHash
	sub.deadline = deadline
	sub.begun = begun
	sub.stored = stored
	sub.order = req.Order
	sub.follow(span)
	select {
	case <-turn:
	case <-ctx.Done():
		return common.Hash{}, w.early(ctx.Err())
	}
	if err := s.submit(sub); err != nil {
		return common.Hash{}, err
	}
	passOn()
	span.end(nil)
	return sub.await()
}

// until bounds what happens before a transaction is stored: by the caller's
// deadline, and by the end of the wallet or the manager.
func (w *Wallet) until(ctx context.Context, deadline time.Time) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithDeadline(ctx, deadline)
	stop := context.AfterFunc(w.ctx, cancel)
	return ctx, func() { stop(); cancel() }
}

// early maps an error from before anything was stored. The caller's deadline
// means that it may safely send again.
func (w *Wallet) early(err error) error {
	if w.ctx.Err() != nil {
		return w.over()
	}
	var down *storeError
	if errors.As(err, &down) {
		w.m.log.Error("the transaction store does not answer", "err", down.err)
		return errStoreAway()
	}
	if errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, node.ErrTimeout) {
		return &BusyError{Reason: "the request could not be prepared in time; nothing was stored", RetryAfter: time.Second}
	}
	return err
}

// senderAt finds or starts the sender with that id, which has rows.
func (w *Wallet) senderAt(ctx context.Context, id string) (*sender, error) {
	if s := w.m.loaded(id, w.membership); s != nil {
		return s, nil
	}
	row, err := w.m.db.Sender(ctx, id)
	if err != nil {
		return nil, err
	}
	if chain, err := w.node.Identity(ctx); err == nil {
		w.chain.learn(chain)
	}
	return w.m.sender(w, row)
}

// prepare does everything that can fail before a nonce is spent.
func (w *Wallet) prepare(ctx context.Context, p auth.Principal, id string, requestHash [32]byte, req SendRequest) (*sender, *submission, error) {
	args := req.Args
	if err := w.usable(args.From); err != nil {
		return nil, nil, err
	}
	if err := w.keys.Frozen(args.From); err != nil {
		return nil, nil, err
	}
	_, building := w.span(ctx, "build")
	verified := make(chan error, 1)
	go func() { verified <- w.node.VerifyChain(ctx) }()
	ceilingGiven := args.GasPrice != nil || args.MaxFeePerGas != nil
	unsigned, s, err := w.build(ctx, &args)
	if verr := <-verified; verr != nil {
		err = verr
	}
	building.end(err)
	if err != nil {
		return nil, nil, err
	}
	payload, err := tx.EncodeUnsigned(unsigned)
	if err != nil {
		return nil, nil, err
	}
	ceiling := new(big.Int).Set(unsigned.GasFeeCap())
	if !ceilingGiven {
		ceiling.Mul(ceiling, big.NewInt(int64(w.set.FeeCeiling)))
		if limit := w.set.Limits.MaxFeePerGas; limit != nil && limit.Sign() > 0 && ceiling.Cmp(limit) > 0 {
			ceiling.Set(limit)
		}
	}
	request := policy.Request{
		Principal: p, Account: args.From, Action: audit.SendTransaction, Transaction: unsigned,
		ID: id, Approval: req.Approval, FeeCeiling: ceiling,
		Asked: policy.Asked{IdempotencyKey: req.IdempotencyKey, Drawn: req.Drawn, Hash: requestHash, Nonce: args.Nonce, Origin: req.Origin},
	}
	verdict, err := w.judge(ctx, request)
	if err != nil {
		return nil, nil, err
	}
	sub := w.submission(request, verdict)
	sub.row.Kind = store.UserTx
	sub.row.Payload = payload
	sub.row.FeeCeiling = ceiling
	sub.row.Nonce, sub.row.Explicit = args.Nonce, args.Nonce != nil
	return s, sub, nil
}

// submission begins a row for a transaction that policy allows.
func (w *Wallet) submission(r policy.Request, verdict policy.Verdict) *submission {
	now := time.Now()
	row := store.Tx{
		ID: r.ID, Wallet: w.name, Credential: r.Principal.Name, Intent: store.NewID(), Clearance: verdict.Clearance, Uses: verdict.Uses,
		Expires: now.Add(w.set.Expires), Created: now, Updated: now,
	}
	return &submission{
		w: w, principal: r.Principal, row: row, utx: r.Transaction, result: make(chan result, 1),
		intent: audit.Intent{
			ID: row.Intent, At: now, Principal: r.Principal.Name, Wallet: w.name, Address: r.Account,
			Action: audit.SendTransaction, Subject: row.ID, Verdict: verdict.String(), Detail: w.keys.Detail(r),
		},
	}
}

// usable maps the wallet's answer to the caller's.
func (w *Wallet) usable(addr common.Address) error {
	if _, ok := w.keys.Account(addr); !ok {
		return &UnknownAccountError{Address: addr}
	}
	return w.keys.Usable(addr)
}

// judge asks the policy; a denial, or that people are asked first, is on record
// before the caller hears of it.
func (w *Wallet) judge(ctx context.Context, r policy.Request) (policy.Verdict, error) {
	_, judging := w.span(ctx, "policy")
	verdict, err := w.keys.Judge(ctx, r)
	judging.end(err)
	if text, refused := wallet.Verdict(err); refused {
		if werr := w.m.db.WriteIntent(ctx, audit.Intent{
			ID: store.NewID(), At: time.Now(), Principal: r.Principal.Name, Wallet: w.name, Address: r.Account,
			Action: r.Action, Subject: "not accepted", Verdict: text, Detail: w.keys.Detail(r),
		}); werr != nil {
			return verdict, storeFailed(fmt.Errorf("txmgr: audit a denial: %w", werr))
		}
	}
	return verdict, err
}

// build fills what the caller left out and makes the unsigned transaction.
// Its nonce field means nothing yet.
func (w *Wallet) build(ctx context.Context, args *tx.Args) (*types.Transaction, *sender, error) {
	if args.ChainID != nil && args.ChainID.Cmp(w.chainID) != 0 {
		return nil, nil, &ChainIDError{Given: args.ChainID, Want: w.chainID}
	}
	s, err := w.senderOf(ctx, args.From)
	if err != nil {
		return nil, nil, err
	}
	if err := tx.FillFees(ctx, w.chain, args, w.set.Limits); err != nil {
		return nil, nil, err
	}
	if err := w.fillGas(ctx, args, s); err != nil {
		return nil, nil, err
	}
	if err := tx.CheckLimits(*args, w.set.Limits); err != nil {
		return nil, nil, err
	}
	unsigned, err := args.Unsigned(w.chainID, 0)
	if err != nil {
		return nil, nil, err
	}
	for _, authority := range tx.Authorities(unsigned) {
		if w.Owns(authority) {
			return nil, nil, &RefusedError{Code: codeRefused, Msg: fmt.Sprintf("authorizationList: an authorisation is signed by %s, an account of this signer: it would spend that account's nonces behind its back", authority)}
		}
	}
	return unsigned, s, nil
}

// fillGas estimates a missing gas limit. An estimate that reverts while
// earlier transactions of this sender are unsent is made once more after they
// have left, since it may depend on them; only then is the revert the answer
// (TXMGR.md no. 2).
func (w *Wallet) fillGas(ctx context.Context, args *tx.Args, s *sender) error {
	err := tx.FillGas(ctx, w.chain, args, w.set.Limits)
	revert := asRevert(err)
	if revert == nil {
		return err
	}
	if s.drain(ctx) {
		err = tx.FillGas(ctx, w.chain, args, w.set.Limits)
		if again := asRevert(err); again != nil {
			return again
		}
		return err
	}
	return revert
}

// asRevert reads a node's "execution reverted" answer, or gives nil.
func asRevert(err error) *RevertError {
	var nerr *node.Error
	if !errors.As(err, &nerr) || !reverted(nerr) {
		return nil
	}
	r := &RevertError{}
	var hex hexutil.Bytes
	if json.Unmarshal(nerr.Data, &hex) == nil {
		r.Data = hex
	}
	if reason, err := abi.UnpackRevert(r.Data); err == nil {
		r.Reason = reason
	}
	if r.Reason == "" {
		// Nodes that give no data often have the reason in their words.
		if _, reason, ok := strings.Cut(nerr.Message, "reverted: "); ok {
			r.Reason = reason
		}
	}
	return r
}

// reverted reports whether a node says that a call reverted: code 3 is geth's,
// the words are those of nodes that use a code of their own.
func reverted(e *node.Error) bool {
	return e.Code == 3 || strings.Contains(strings.ToLower(e.Message), "revert")
}

// Fill completes a transaction as Begin would, and neither stores nor signs
// anything: eth_fillTransaction. The nonce is the caller's, or the next free.
func (w *Wallet) Fill(ctx context.Context, args tx.Args) (*types.Transaction, error) {
	ctx, leave, err := w.enter(ctx)
	if err != nil {
		return nil, err
	}
	defer leave()
	if err := w.usable(args.From); err != nil {
		return nil, err
	}
	if err := w.node.VerifyChain(ctx); err != nil {
		return nil, err
	}
	if _, _, err := w.build(ctx, &args); err != nil {
		return nil, err
	}
	n := args.Nonce
	if n == nil {
		next, err := w.PendingNonce(ctx, args.From)
		if err != nil {
			return nil, err
		}
		n = &next
	}
	return args.Unsigned(w.chainID, *n)
}

// PendingNonce answers eth_getTransactionCount(own address, "pending"): the
// higher of the node's count and our next free nonce, so that callers that
// fill nonces themselves do not collide (TXMGR.md no. 9).
func (w *Wallet) PendingNonce(ctx context.Context, addr common.Address) (uint64, error) {
	ctx, leave, err := w.enter(ctx)
	if err != nil {
		return 0, err
	}
	defer leave()
	id, err := w.node.Identity(ctx)
	if err != nil {
		return 0, err
	}
	theirs, err := w.node.NonceAt(ctx, addr, "pending")
	if err != nil {
		return 0, err
	}
	sid := SenderID(id, w.node.Instance(), addr)
	if s := w.m.loaded(sid, w.membership); s != nil {
		if free, ok := s.nextFree(); ok {
			return max(theirs, free), nil
		}
	}
	// Another process runs it, or nobody does yet. What another membership has in
	// hand is not told: its count is the node's.
	if !w.hasSender(ctx, sid) {
		return theirs, nil
	}
	if free, err := w.m.db.NextNonce(ctx, sid, theirs); err == nil {
		return free, nil
	}
	return theirs, nil
}
