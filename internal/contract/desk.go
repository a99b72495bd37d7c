// SPDX-License-Identifier: Apache-2.0

package contract

import (
	"context"
	"encoding/json"
	"errors"
	"strings"

	"github.com/ethereum/go-ethereum/common"

	"github.com/hsmsigner/hsmsigner/internal/abi"
	"github.com/hsmsigner/hsmsigner/internal/node"
	"github.com/hsmsigner/hsmsigner/internal/policy"
	"github.com/hsmsigner/hsmsigner/internal/store"
	"github.com/hsmsigner/hsmsigner/internal/tx"
	"github.com/hsmsigner/hsmsigner/internal/txmgr"
)

// Desk is where contracts are asked, and transactions are sent to them. It is
// safe for concurrent use.
type Desk struct {
	book  *Book
	waits waits
}

// NewDesk makes a desk.
func NewDesk(book *Book) *Desk {
	return &Desk{book: book, waits: waits{db: book.cfg.Store, poll: book.cfg.Poll, by: make(map[string][]chan struct{})}}
}

// Book is the desk's book.
func (d *Desk) Book() *Book { return d.book }

// maxID is the most characters of a request's id.
const maxID = 128

// CheckID refuses what cannot be the id of a request: it stands in URLs. The error
// is an *InputError.
func CheckID(id string) error {
	ok := id != "" && len(id) <= maxID && id != "." && id != ".."
	for i := 0; ok && i < len(id); i++ {
		c := id[i]
		ok = c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("-._~:", c) >= 0
	}
	if !ok {
		return inputErr("id", "want 1 to %d letters, digits and -._~:, got %q", maxID, excerpt(id))
	}
	return nil
}

// Send has a transaction sent to a contract, and returns when the node has it, or
// at the wallet's deadline. A request that was accepted before under its id gets
// the same answer; ErrIDUsed if that was another one. Errors are those of Begin,
// and of them *txmgr.PendingError is no error here; *RevertedError in place of
// *txmgr.RevertError.
func (d *Desk) Send(ctx context.Context, t Target, c Call) (Sent, error) {
	if c.Method == nil {
		return Sent{}, inputErr("method", "missing")
	}
	to := c.To
	args, err := c.Terms.args(&to, c.Method.Payable(), "the method "+excerpt(c.Method.Signature()))
	if err != nil {
		return Sent{}, err
	}
	if args.Data, err = c.Method.Encode(c.Args); err != nil {
		return Sent{}, err
	}
	id, drawn, err := idOf(c.ID)
	if err != nil {
		return Sent{}, err
	}
	origin := Origin{Kind: OriginSend, ID: id, ABI: c.ABI.ID, Method: c.Method.Signature(), Ack: c.Ack}
	r := txmgr.SendRequest{Args: args, IdempotencyKey: store.GatewayKey + id, Drawn: drawn, Origin: origin.text()}
	hash, err := t.Wallet.Begin(ctx, t.Principal, r)(ctx)
	return d.sent(ctx, t, id, args.RequestHash(), hash, err, c.ABI.Contract)
}

// Deploy is Send for a contract that is to be created. *ConflictError if its name
// is taken. It returns only when it is known whether the deployment was accepted,
// even if ctx ends before; that is at the wallet's deadline at the latest.
func (d *Desk) Deploy(ctx context.Context, t Target, n Deployment) (Sent, error) {
	or(&n.Kind, KindContract)
	if err := checkKind(n.Kind, n.Detail); err != nil {
		return Sent{}, err
	}
	if n.Name != "" {
		if err := CheckName(n.Name); err != nil {
			return Sent{}, err
		}
	}
	if n.ABI.Contract == nil || len(n.ABI.Bytecode) == 0 {
		return Sent{}, inputErr("bytecode", "this interface has no creation code, so that nothing can be deployed: upload it again with its bytecode")
	}
	constructor := n.ABI.Contract.Constructor
	args, err := n.Terms.args(nil, constructor != nil && constructor.Payable(), "the constructor")
	if err != nil {
		return Sent{}, err
	}
	tail, err := abi.EncodeConstructor(n.ABI.Contract, n.Args)
	if err != nil {
		return Sent{}, err
	}
	args.Data = append(append(make([]byte, 0, len(n.ABI.Bytecode)+len(tail)), n.ABI.Bytecode...), tail...)
	id, drawn, err := idOf(n.ID)
	if err != nil {
		return Sent{}, err
	}
	hash := deploymentHash(args.RequestHash(), n)
	res, err := d.book.reserve(ctx, t, n, id, hash)
	if err != nil {
		return Sent{}, err
	}
	origin := Origin{Kind: OriginDeploy, ID: id, ABI: n.ABI.ID, Name: n.Name, Contract: res.row, Ack: n.Ack}
	// A row that was reserved has to be kept or given back, so the outcome is waited
	// for; Begin has a deadline of its own.
	lasting := context.WithoutCancel(ctx)
	r := txmgr.SendRequest{Args: args, IdempotencyKey: store.GatewayKey + id, Drawn: drawn, Origin: origin.text(), RequestHash: &hash}
	txHash, begun := t.Wallet.Begin(lasting, t.Principal, r)(lasting)
	var pending *txmgr.PendingError
	if begun != nil && !errors.As(begun, &pending) && res.attempt != "" {
		if err := d.book.refused(lasting, res, begun); err != nil {
			// The name is free again when the attempt counts as dead.
			d.book.cfg.Logger.Warn("a refused deployment could not be given back", "contract", res.row, "err", err)
		}
	}
	s, err := d.sent(lasting, t, id, hash, txHash, begun, n.ABI.Contract)
	if err == nil {
		s.Contract = res.row
	}
	return s, err
}

// sent words what Begin has said.
func (d *Desk) sent(ctx context.Context, t Target, id string, request [32]byte, hash common.Hash, err error, c *abi.Contract) (Sent, error) {
	var (
		pending *txmgr.PendingError
		revert  *txmgr.RevertError
		refused *txmgr.RefusedError
		people  *policy.PendingError
	)
	switch {
	case err == nil:
		return Sent{ID: id, Hash: hash}, nil
	case errors.As(err, &pending):
		return Sent{ID: id, Pending: true}, nil
	case errors.As(err, &people):
		return d.approved(ctx, t, request, people)
	case unfinished(ctx, err):
		return Sent{}, &UnfinishedError{ID: id, Err: err}
	case errors.As(err, &revert):
		return Sent{}, &RevertedError{Reverted: revertedBy(c, revert.Data, revert.Reason), Err: err}
	case errors.As(err, &refused):
		row, known, e := d.book.cfg.Store.Idempotent(ctx, t.Wallet.Name(), t.Principal.Name, store.GatewayKey+id)
		if e == nil && known && row.RequestHash != request {
			return Sent{}, ErrIDUsed
		}
	}
	return Sent{}, err
}

// unfinished reports whether err only says that ctx has ended while a request was
// under way.
func unfinished(ctx context.Context, err error) bool {
	var backend *txmgr.BackendError
	return ctx.Err() != nil && errors.Is(err, ctx.Err()) && !errors.As(err, &backend) && !errors.Is(err, node.ErrTimeout)
}

// approved is the answer to a request for which people are asked, or were: once
// they have approved it is sent under the id that it was first made with.
func (d *Desk) approved(ctx context.Context, t Target, request [32]byte, people *policy.PendingError) (Sent, error) {
	id, mine := strings.CutPrefix(people.Key, store.GatewayKey)
	if !mine {
		return Sent{}, people
	}
	row, known, err := d.book.cfg.Store.Idempotent(ctx, t.Wallet.Name(), t.Principal.Name, people.Key)
	switch {
	case err != nil || !known || row.RequestHash != request:
	case row.State == store.Failed:
		return Sent{}, txmgr.ParseFailure(row.Error)
	default:
		return Sent{ID: id, Hash: row.Hash, Pending: row.Hash == common.Hash{}}, nil
	}
	return Sent{}, &ApprovalError{ID: id, Err: people}
}

// idOf is the id of a request, drawn if its caller has given none.
func idOf(given string) (id string, drawn bool, err error) {
	if given == "" {
		return store.NewID(), true, nil
	}
	return given, false, CheckID(given)
}

// args are the terms as those of a transaction. Whether they go together is
// checked where it is built.
func (n Terms) args(to *common.Address, payable bool, what string) (tx.Args, error) {
	if n.From == nil {
		return tx.Args{}, inputErr("from", "missing; want the address of the account that sends it")
	}
	if n.Value != nil && n.Value.Sign() > 0 && !payable {
		return tx.Args{}, inputErr("value", "%s is not payable and would refuse it: send no ether with it", what)
	}
	return tx.Args{
		From: *n.From, To: to, Gas: n.Gas, GasPrice: n.GasPrice, MaxFeePerGas: n.MaxFeePerGas,
		MaxPriorityFeePerGas: n.MaxPriorityFeePerGas, Value: n.Value, Nonce: n.Nonce,
	}, nil
}

// revertedBy decodes what a contract said.
func revertedBy(c *abi.Contract, data []byte, reason string) Reverted {
	r := Reverted{Data: data, Reason: reason}
	said, known := c.DecodeRevert(data)
	if !known {
		return r
	}
	r.Decoded, r.Reason = &said, said.Reason
	if said.Reason == "" {
		r.Reason = said.Signature
		if len(said.Args) > 0 {
			r.Reason = said.Name + excerpt(string(said.Args))
		}
	}
	return r
}

// text is the origin as it stands in the row.
func (o Origin) text() string {
	const most = 512
	if len(o.Method) > most {
		o.Method = o.Method[:strings.IndexByte(o.Method+"(", '(')]
	}
	b, _ := json.Marshal(o) // texts always marshal
	return string(b)
}
