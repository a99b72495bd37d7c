// SPDX-License-Identifier: Apache-2.0

package rpc

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/common/hexutil"
	"github.com/ethereum/go-ethereum/core/types"

	"github.com/hsmsigner/hsmsigner/internal/node"
	"github.com/hsmsigner/hsmsigner/internal/strictjson"
	"github.com/hsmsigner/hsmsigner/internal/tx"
	"github.com/hsmsigner/hsmsigner/internal/txmgr"
)

// wait gives the outcome of what was begun.
type wait func(ctx context.Context) (common.Hash, error)

// method says who answers a method: run, or begin if it has a place in the
// order of nonces. With neither, the node answers.
type method struct {
	name string

	run   func(ctx context.Context, c *call, r *request) ([]byte, error)
	begin func(ctx context.Context, c *call, r *request, order *txmgr.Order) (wait, error)

	sends bool // run takes as long as a transaction may

	// mine says of one request whether run answers it; the node answers the
	// others. Nil: run answers all.
	mine func(c *call, r *request) bool
	// check looks at the node's result before the caller gets it.
	check func(d *door, result []byte) error
}

func (m *method) forwards(c *call, r *request) bool {
	return m.run == nil || m.mine != nil && !m.mine(c, r)
}

// ownMethods are the methods that the signer answers or looks at.
func ownMethods() map[string]*method {
	return map[string]*method{
		"eth_accounts":            {run: listAccounts},
		"personal_listAccounts":   {run: listAccounts},
		"personal_accounts":       {run: listAccounts},
		"eth_sendTransaction":     {begin: sendTransaction},
		"eth_sendRawTransaction":  {run: sendRawTransaction, sends: true, mine: rawIsOwn},
		"eth_signTransaction":     {run: signTransaction},
		"eth_fillTransaction":     {run: fillTransaction},
		"eth_sign":                {run: ethSign},
		"personal_sign":           {run: personalSign},
		"eth_signTypedData":       {run: signTypedData},
		"eth_signTypedData_v3":    {run: signTypedData},
		"eth_signTypedData_v4":    {run: signTypedData},
		"eth_getTransactionCount": {run: pendingNonce, mine: countIsOwn},
		"eth_chainId":             {check: checkChainID},
		"eth_subscribe":           {run: subscribe},
		"eth_unsubscribe":         {run: unsubscribe},
		"health_status":           {run: healthStatus},
	}
}

// methodTable is all that one wallet serves.
func methodTable(svc *Service) map[string]*method {
	table := ownMethods()
	for _, name := range append(passThrough(), svc.ExtraMethods...) {
		table[name] = &method{}
	}
	for name, m := range table {
		m.name = name
	}
	return table
}

// listAccounts answers as geth does: lower-case addresses.
func listAccounts(_ context.Context, c *call, r *request) ([]byte, error) {
	if err := r.count(0, 0); err != nil {
		return nil, err
	}
	list := c.door.Accounts.Accounts()
	b := append(make([]byte, 0, 2+45*len(list)), '[')
	for i, a := range list {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, hexJSON(a[:])...)
	}
	return append(b, ']'), nil
}

// healthStatus answers what op-signer's client asks at its start: any string.
func healthStatus(_ context.Context, _ *call, r *request) ([]byte, error) {
	if err := r.count(0, 0); err != nil {
		return nil, err
	}
	return []byte(`"OK"`), nil
}

// checkChainID keeps a client from learning another chain than the one that
// its transactions are signed for.
func checkChainID(d *door, result []byte) error {
	var got hexutil.Big
	if err := json.Unmarshal(result, &got); err != nil {
		return fmt.Errorf("eth_chainId: %w", node.ErrBadResponse)
	}
	if d.ChainID != nil && got.ToInt().Cmp(d.ChainID) != 0 {
		return &Error{Code: codeNode, Message: fmt.Sprintf("node unavailable: it serves chain id %s instead of %s", got.ToInt(), d.ChainID)}
	}
	return nil
}

func sendTransaction(ctx context.Context, c *call, r *request, order *txmgr.Order) (wait, error) {
	if err := r.count(1, 2); err != nil {
		return nil, err
	}
	key, err := c.idempotency(r)
	if err != nil {
		return nil, err
	}
	args, err := tx.ParseArgs(r.arg(0))
	if err != nil {
		return nil, err
	}
	return c.door.Sender.Begin(ctx, c.who, txmgr.SendRequest{Args: args, IdempotencyKey: key, Order: order}), nil
}

// idempotency is the key that the caller gives an eth_sendTransaction; empty for
// none.
func (c *call) idempotency(r *request) (string, error) {
	key, err := sendOptions(r.arg(1))
	if err != nil {
		return "", err
	}
	if header := c.idempotencyKey; header != "" {
		switch {
		case c.inBatch:
			return "", invalidParams("the header Idempotency-Key names one request; in a batch give {\"idempotencyKey\": …} as second parameter")
		case key != "" && key != header:
			return "", invalidParams("the header Idempotency-Key and the second parameter give different keys")
		}
		key = header
	}
	return key, nil
}

// sendOptions reads the second parameter of eth_sendTransaction.
func sendOptions(v strictjson.Value) (key string, err error) {
	if !v.Present() {
		return "", nil
	}
	if v.Kind != strictjson.Object {
		return "", invalidParams("parameter 2 (options) must be an object such as {\"idempotencyKey\": \"…\"}, got %s", v.Kind)
	}
	for _, m := range v.Members {
		if m.Name != "idempotencyKey" {
			return "", invalidParams("parameter 2 (options) has an unknown member %s; want idempotencyKey", quote(m.Name))
		}
		if m.Value.Kind != strictjson.String || !validKey(m.Value.Text) {
			return "", invalidParams("idempotencyKey must be a string of 1 to 255 printable ASCII characters")
		}
		key = m.Value.Text
	}
	return key, nil
}

func rawArg(r *request) ([]byte, bool) {
	v := r.arg(0)
	if v.Kind != strictjson.String {
		return nil, false
	}
	raw, err := hexutil.Decode(v.Text)
	return raw, err == nil
}

// rawIsOwn finds raw transactions that an account of this signer signed,
// whichever wallet has it: the manager must know of them, and refuses what it
// cannot take in. Bytes that are no transaction are the node's to refuse.
func rawIsOwn(c *call, r *request) bool {
	raw, ok := rawArg(r)
	if !ok {
		return true // two readers might read it differently: it is refused
	}
	from, ok := tx.RawSender(raw)
	return ok && c.door.Sender.Owns(from)
}

func sendRawTransaction(ctx context.Context, c *call, r *request) ([]byte, error) {
	if err := r.count(1, 1); err != nil {
		return nil, err
	}
	raw, ok := rawArg(r)
	if !ok {
		return nil, invalidParams("parameter 1, the signed transaction: want a string of 0x and an even number of hex digits")
	}
	hash, handled, err := c.door.Sender.SendRaw(ctx, c.who, raw)
	if err != nil {
		return nil, err
	}
	if !handled {
		return c.forward(ctx, c.door.methods[r.method], r)
	}
	return hexJSON(hash[:]), nil
}

// countIsOwn takes the question that nonce-filling clients ask before they
// send: the node cannot know of what is accepted and not yet sent.
func countIsOwn(c *call, r *request) bool {
	account, err := r.address(0, "address")
	if err != nil || len(r.params.Elems) != 2 {
		return false
	}
	tag := r.arg(1)
	return tag.Kind == strictjson.String && tag.Text == "pending" && c.door.Accounts.Has(account)
}

func pendingNonce(ctx context.Context, c *call, r *request) ([]byte, error) {
	account, err := r.address(0, "address")
	if err != nil {
		return nil, err
	}
	n, err := c.door.Sender.PendingNonce(ctx, account)
	if err != nil {
		return nil, err
	}
	return []byte(`"` + hexutil.EncodeUint64(n) + `"`), nil
}

func signTransaction(ctx context.Context, c *call, r *request) ([]byte, error) {
	args, err := transactionArg(r)
	if err != nil {
		return nil, err
	}
	signed, err := c.door.Signer.SignTransaction(ctx, c.who, args)
	if err != nil {
		return nil, err
	}
	if c.door.SignTransactionHex {
		raw, err := signed.MarshalBinary()
		if err != nil {
			return nil, fmt.Errorf("encode transaction: %w", err)
		}
		return hexJSON(raw), nil
	}
	return rawAndTx(signed, args.From)
}

func fillTransaction(ctx context.Context, c *call, r *request) ([]byte, error) {
	args, err := transactionArg(r)
	if err != nil {
		return nil, err
	}
	filled, err := c.door.Sender.Fill(ctx, args)
	if err != nil {
		return nil, err
	}
	return rawAndTx(filled, args.From)
}

func transactionArg(r *request) (tx.Args, error) {
	if err := r.count(1, 1); err != nil {
		return tx.Args{}, err
	}
	return tx.ParseArgs(r.arg(0))
}

// rawAndTx is the SignTransactionResult of geth and of execution-apis.
func rawAndTx(t *types.Transaction, from common.Address) ([]byte, error) {
	raw, err := t.MarshalBinary()
	if err != nil {
		return nil, fmt.Errorf("encode transaction: %w", err)
	}
	fields, err := tx.RPCTransaction(t, from)
	if err != nil {
		return nil, fmt.Errorf("describe transaction: %w", err)
	}
	b := append([]byte(`{"raw":`), hexJSON(raw)...)
	b = append(b, `,"tx":`...)
	return append(append(b, fields...), '}'), nil
}
