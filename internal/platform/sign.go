// SPDX-License-Identifier: Apache-2.0

package platform

import (
	"context"
	"errors"
	"math/big"
	"time"

	"github.com/ethereum/go-ethereum/common"

	"github.com/hsmsigner/hsmsigner/internal/auth"
	"github.com/hsmsigner/hsmsigner/internal/freeze"
	"github.com/hsmsigner/hsmsigner/internal/node"
	"github.com/hsmsigner/hsmsigner/internal/policy"
	"github.com/hsmsigner/hsmsigner/internal/store"
	"github.com/hsmsigner/hsmsigner/internal/tx"
	"github.com/hsmsigner/hsmsigner/internal/txmgr"
	"github.com/hsmsigner/hsmsigner/internal/wallet"
)

// Hand signs messages and sends transactions for people who are signed in, by the
// way on which those of programs go. Names are as in [Runtime]. Both methods are
// safe for concurrent use, and return [ErrNotRunning] for a name that they do not
// know.
type Hand interface {
	// SignMessage signs under EIP-191 and returns r‖s‖v, 65 bytes, v 27 or 28.
	SignMessage(ctx context.Context, who auth.Principal, name string, account common.Address, msg []byte) ([]byte, error)
	// Send takes a transaction in and waits until a node has it.
	Send(ctx context.Context, who auth.Principal, name string, r txmgr.SendRequest) (common.Hash, error)
}

// maxMessage is how long a message to be signed may be, in bytes.
const maxMessage = 64 << 10

// SignedMessage is a message's signature.
type SignedMessage struct {
	Account   string `json:"account"`
	Hash      string `json:"message_hash"` // what was signed: Keccak-256 of the message with its EIP-191 prefix
	Signature string `json:"signature"`    // r‖s‖v, v 27 or 28
}

// SignMessage has an account of a service sign a message as personal_sign does
// (EIP-191). It is for admins, who could make a credential for it anyway. If
// pending is not nil, people are asked first, and nothing is signed: the same
// request made again, once they have approved, is.
func (p *Platform) SignMessage(ctx context.Context, who auth.Access, at Path, account common.Address, msg []byte) (s SignedMessage, pending *Pending, err error) {
	r, err := p.handed(ctx, who, at)
	if err != nil {
		return s, nil, err
	}
	if len(msg) > maxMessage {
		return s, nil, invalid("message", "has %d bytes: want at most %d. Of something longer, have the document signed", len(msg), maxMessage)
	}
	signature, err := p.cfg.Hand.SignMessage(ctx, who.Principal, r.wallet(), account, msg)
	if pending := waits(err); pending != nil {
		return s, pending, nil
	}
	if err != nil {
		return s, nil, documentRefusal(err)
	}
	return SignedMessage{account.Hex(), tx.MessageHash(msg).Hex(), "0x" + common.Bytes2Hex(signature)}, nil, nil
}

// TestTransaction is a transfer by which somebody sees whether a wallet works.
type TestTransaction struct {
	To    *common.Address // nil: the account itself
	Value *big.Int        // wei; nil: none
	// Key makes it the same transaction if the request is made again; 1 to 255
	// printable characters of ASCII, or empty: one is drawn, which the transaction
	// has, and the error that leaves its outcome open.
	Key string
}

// SendTestTransaction has an account of a service send a transfer, and returns it
// as soon as a node has it, or as it is if that takes too long. It is for admins,
// who could make a credential for it anyway. If pending is not nil, people are
// asked first: once they have approved, it is sent by itself. *[SpentKeyError] if
// nothing can be sent any more under the key.
func (p *Platform) SendTestTransaction(ctx context.Context, who auth.Access, at Path, account common.Address, t TestTransaction) (sent Transaction, pending *Pending, err error) {
	r, err := p.handed(ctx, who, at)
	if err != nil {
		return sent, nil, err
	}
	request, err := t.request(account)
	if err != nil {
		return sent, nil, err
	}
	hash, err := p.cfg.Hand.Send(ctx, who.Principal, r.wallet(), request)
	if pending := waits(err); pending != nil {
		return sent, pending, nil
	}
	// The caller's time may be up, but what is stored is to be told.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), settleTimeout)
	defer cancel()
	id := hash.Hex()
	var unsure *txmgr.PendingError
	switch {
	case errors.As(err, &unsure):
		id = unsure.TxID
	case err != nil:
		if id, err = p.settle(ctx, who, r, request, err); err != nil {
			return sent, nil, err
		}
	}
	stored, err := p.transaction(ctx, r, id)
	if err != nil {
		return sent, nil, err
	}
	sent, err = p.shownTx(ctx, stored)
	return sent, nil, err
}

// settleTimeout is for finding out what a request became, beyond its caller's time.
const settleTimeout = 10 * time.Second

// SpentKeyError says why nothing was sent, and that nothing can be sent any more
// under the key of the request: it is another's, or its transaction was refused for
// good. It wraps the *[Error].
type SpentKeyError struct{ Err error }

func (e *SpentKeyError) Error() string { return e.Err.Error() }

// Unwrap gives the error that it was made of.
func (e *SpentKeyError) Unwrap() error { return e.Err }

// settle finds the transaction that a request became although it got an error; else
// the error words for its caller why there is none, or that this is not known.
func (p *Platform) settle(ctx context.Context, who auth.Access, r row, request txmgr.SendRequest, err error) (id string, refused error) {
	unknown := errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled)
	key, known, lost := p.cfg.Store.Idempotent(ctx, r.wallet(), who.Principal.Name, request.IdempotencyKey)
	switch {
	case lost == nil && known && key.RequestHash != request.Args.RequestHash():
		return "", &SpentKeyError{conflict("the idempotency key was used for another request: use a new key, or send that request again unchanged")}
	case lost == nil && known && key.State == store.Failed:
		return "", &SpentKeyError{SendRefusal(txmgr.ParseFailure(key.Error))}
	case lost == nil && known:
		return key.TxID, nil
	case unknown:
		return "", unavailable("no answer in time, so it is not known yet whether the transaction is sent: make the same request again with the idempotency_key %s, and it is sent once only", request.IdempotencyKey)
	}
	return "", SendRefusal(err)
}

func (t TestTransaction) request(account common.Address) (txmgr.SendRequest, error) {
	to, value := t.To, t.Value
	if to == nil {
		to = &account
	}
	if value == nil {
		value = new(big.Int)
	}
	if value.Sign() < 0 || value.BitLen() > 256 {
		return txmgr.SendRequest{}, invalid("value", "want a number of wei from 0 to 2²⁵⁶-1")
	}
	if len(t.Key) > 255 {
		return txmgr.SendRequest{}, invalid("idempotency_key", "has %d characters: want at most 255", len(t.Key))
	}
	for _, c := range []byte(t.Key) {
		if c < ' ' || c > '~' {
			return txmgr.SendRequest{}, invalid("idempotency_key", "want printable characters of ASCII only")
		}
	}
	key := t.Key
	if key == "" {
		key = store.NewID()
	}
	return txmgr.SendRequest{Args: tx.Args{From: account, To: to, Value: value}, IdempotencyKey: key, Drawn: t.Key == ""}, nil
}

// handed finds a service with which the caller may sign and send.
func (p *Platform) handed(ctx context.Context, who auth.Access, at Path) (row, error) {
	r, err := p.service(ctx, who, auth.Admin, at)
	if err != nil {
		return row{}, err
	}
	if p.cfg.Hand == nil {
		return row{}, &Error{Reason: Unsupported, Msg: "this daemon signs nothing by its management API: use the RPC door"}
	}
	return r, changing(r)
}

// waits is the approval that an error says is needed; nil if it says something
// else.
func waits(err error) *Pending {
	var ask *policy.PendingError
	if !errors.As(err, &ask) {
		return nil
	}
	return &Pending{ID: ask.ID, Rule: ask.Rule, Have: ask.Have, Need: ask.Need, Expires: ask.Expires.UTC(), Message: ask.Error()}
}

// SendRefusal words for a caller why a transaction was not sent, as an *[Error]
// where one fits. The texts of packages txmgr and tx are made for whoever asked.
func SendRefusal(err error) error {
	var (
		arg     *tx.ArgError
		chain   *tx.ChainError
		limit   *tx.LimitError
		unknown *txmgr.UnknownAccountError
		wrong   *txmgr.ChainIDError
		revert  *txmgr.RevertError
		busy    *txmgr.BusyError
		backend *txmgr.BackendError
		refused *txmgr.RefusedError
		unbound *txmgr.UnboundError
		said    *node.Error
	)
	switch {
	case errors.As(err, &unknown):
		return invalid("account", "the service has no account %s", unknown.Address)
	case errors.As(err, &arg):
		return invalid("", "%s", arg)
	case errors.As(err, &limit):
		return invalid("", "%s", limit)
	case errors.As(err, &chain):
		return conflict("%s", chain)
	case errors.As(err, &wrong):
		return conflict("%s", wrong)
	case errors.As(err, &revert):
		return conflict("%s", revert)
	case errors.As(err, &unbound): // it is a BusyError, too
		return unavailable("the service is not open yet: see its state")
	case errors.As(err, &busy):
		return unavailable("%s", busy)
	case errors.As(err, &backend):
		return unavailable("%s", backend)
	case errors.As(err, &refused):
		return conflict("%s", refused)
	case errors.As(err, &said):
		return conflict("the node refused it: %s", said.Message)
	case errors.Is(err, node.ErrUnavailable), errors.Is(err, node.ErrTimeout), errors.Is(err, node.ErrBadResponse), errors.Is(err, node.ErrTooLarge), errors.Is(err, node.ErrClosed):
		text, _ := reasonOf(err)
		return unavailable("%s", text)
	case errors.Is(err, context.DeadlineExceeded):
		return unavailable("no answer in time from the node or the key backend")
	}
	var (
		mismatch *node.ChainMismatchError
		frozen   *freeze.FrozenError
		signing  *wallet.BackendError
	)
	switch {
	case errors.As(err, &mismatch):
		return conflict("%s", mismatch)
	case errors.As(err, &frozen):
		return conflict("%s", frozen)
	case errors.As(err, &signing):
		return unavailable("%s", signing)
	}
	return documentRefusal(err)
}
