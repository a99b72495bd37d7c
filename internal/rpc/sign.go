// SPDX-License-Identifier: Apache-2.0

package rpc

import (
	"context"

	"github.com/ethereum/go-ethereum/common"

	"github.com/hsmsigner/hsmsigner/internal/strictjson"
	"github.com/hsmsigner/hsmsigner/internal/tx"
	"github.com/hsmsigner/hsmsigner/internal/txmgr"
)

// ethSign is eth_sign [account, data]. The data always gets the EIP-191
// prefix, also where it is 32 bytes long: the digest of a transaction that is
// given as data is hashed again with the prefix, and what is signed is not
// that transaction.
func ethSign(ctx context.Context, c *call, r *request) ([]byte, error) {
	if err := r.count(2, 2); err != nil {
		return nil, err
	}
	account, err := r.address(0, "account")
	if err != nil {
		return nil, err
	}
	data, err := r.bytes(1, "data")
	if err != nil {
		return nil, err
	}
	return c.signMessage(ctx, account, data)
}

// personalSign is personal_sign [data, account, password]. Many clients swap
// the first two, as wallets in browsers allow: if only the first is an
// address, it is taken for the account. The password belongs to a node that
// unlocks its keys by one; it is not looked at and not kept.
func personalSign(ctx context.Context, c *call, r *request) ([]byte, error) {
	if err := r.count(2, 3); err != nil {
		return nil, err
	}
	if p := r.arg(2); p.Present() && p.Kind != strictjson.String {
		return nil, invalidParams("parameter 3 (password) must be a string or null, got %s", p.Kind)
	}
	data, account := 0, 1
	if _, err := r.address(1, ""); err != nil {
		if _, err := r.address(0, ""); err == nil {
			data, account = 1, 0
		}
	}
	from, err := r.address(account, "account")
	if err != nil {
		return nil, err
	}
	msg, err := r.bytes(data, "data")
	if err != nil {
		return nil, err
	}
	return c.signMessage(ctx, from, msg)
}

func (c *call) signMessage(ctx context.Context, account common.Address, msg []byte) ([]byte, error) {
	if !c.door.Accounts.Has(account) {
		return nil, &txmgr.UnknownAccountError{Address: account}
	}
	sig, err := c.door.Signer.SignMessage(ctx, c.who, account, msg)
	if err != nil {
		return nil, err
	}
	return hexJSON(sig), nil
}

// signTypedData is eth_signTypedData [account, data], its _v3 and its _v4.
// All three sign by EIP-712; v3 has no arrays. The domain must name the
// wallet's chain or none. The data comes as an object, or as a string that
// holds one, as ethers sends it.
func signTypedData(ctx context.Context, c *call, r *request) ([]byte, error) {
	if err := r.count(2, 2); err != nil {
		return nil, err
	}
	if r.arg(0).Kind == strictjson.Array {
		return nil, invalidParams("parameter 1 (account) is an array: the first version of eth_signTypedData is not supported; want [account, EIP-712 data]")
	}
	account, err := r.address(0, "account")
	if err != nil {
		return nil, err
	}
	typed, err := tx.ParseTypedData(r.arg(1))
	if err != nil {
		return nil, err
	}
	if err := typed.CheckChain(c.door.ChainID); err != nil {
		return nil, err
	}
	if r.method == "eth_signTypedData_v3" {
		if err := typed.CheckV3(); err != nil {
			return nil, err
		}
	}
	if !c.door.Accounts.Has(account) {
		return nil, &txmgr.UnknownAccountError{Address: account}
	}
	sig, err := c.door.Signer.SignTypedData(ctx, c.who, account, typed)
	if err != nil {
		return nil, err
	}
	return hexJSON(sig), nil
}
