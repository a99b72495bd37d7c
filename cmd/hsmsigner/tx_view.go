// SPDX-License-Identifier: Apache-2.0

package main

import (
	"math/big"
	"strconv"
	"strings"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/core/types"

	"github.com/hsmsigner/hsmsigner/internal/store"
	"github.com/hsmsigner/hsmsigner/internal/txmgr"
)

// txView is a transaction as the command line shows it. Amounts are decimal
// wei; they are text, since JSON readers round large numbers.
type txView struct {
	ID             string     `json:"id"`
	Wallet         string     `json:"wallet"`
	State          string     `json:"state"`
	Kind           string     `json:"kind"`
	Sender         string     `json:"sender"`
	From           string     `json:"from"`
	Nonce          *uint64    `json:"nonce,omitempty"`
	Type           uint8      `json:"type"`
	To             string     `json:"to,omitempty"` // empty: creates a contract
	Value          string     `json:"value"`        // wei
	Gas            uint64     `json:"gas"`
	DataBytes      int        `json:"data_bytes"`
	FeeCeiling     string     `json:"fee_ceiling,omitempty"` // wei per gas
	Hash           string     `json:"hash,omitempty"`
	Block          uint64     `json:"block,omitempty"`
	Succeeded      *bool      `json:"succeeded,omitempty"` // once mined
	Error          string     `json:"error,omitempty"`
	Credential     string     `json:"credential"`
	IdempotencyKey string     `json:"idempotency_key,omitempty"`
	Replaces       string     `json:"replaces,omitempty"`
	Created        time.Time  `json:"created"`
	Updated        time.Time  `json:"updated"`
	Expires        *time.Time `json:"expires,omitempty"`
	Attempts       []tryView  `json:"attempts,omitempty"`
}

// tryView is one signed encoding.
type tryView struct {
	ID      string    `json:"id"`
	Kind    string    `json:"kind"`
	Nonce   uint64    `json:"nonce"`
	Outcome string    `json:"outcome"`
	Hash    string    `json:"hash,omitempty"`
	Epoch   int64     `json:"epoch"`
	Created time.Time `json:"created"`
}

func viewTx(t store.Tx) txView {
	v := txView{
		ID: t.ID, Wallet: t.Wallet, State: string(t.State), Kind: string(t.Kind),
		Sender: t.Sender, From: addressOfSender(t.Sender), Nonce: t.Nonce,
		FeeCeiling: decimal(t.FeeCeiling), Hash: hashText(t.Hash), Block: t.Block, Error: txmgr.FailureMessage(t.Error),
		Credential: t.Credential, IdempotencyKey: t.IdempotencyKey, Replaces: t.Replaces,
		Created: t.Created.UTC(), Updated: t.Updated.UTC(),
	}
	if !t.Expires.IsZero() {
		expires := t.Expires.UTC()
		v.Expires = &expires
	}
	if t.BlockHash != (common.Hash{}) {
		v.Succeeded = &t.Succeeded
	}
	var payload types.Transaction
	if payload.UnmarshalBinary(t.Payload) == nil {
		v.Type, v.Value, v.Gas, v.DataBytes = payload.Type(), decimal(payload.Value()), payload.Gas(), len(payload.Data())
		if to := payload.To(); to != nil {
			v.To = to.Hex()
		}
	}
	return v
}

func viewAttempt(t store.Tx, a store.Attempt) tryView {
	return tryView{a.ID, string(a.Kind), a.Nonce, string(a.OutcomeIn(t)), hashText(a.Hash), a.Epoch, a.Created.UTC()}
}

// addressOfSender is the last part of a sender's id.
func addressOfSender(id string) string {
	return common.HexToAddress(id[strings.LastIndexByte(id, '-')+1:]).Hex()
}

func hashText(h common.Hash) string {
	if h == (common.Hash{}) {
		return ""
	}
	return h.Hex()
}

func decimal(n *big.Int) string {
	if n == nil {
		return ""
	}
	return n.String()
}

// ether is an amount of wei for people: exact, without trailing zeros.
func ether(wei string) string {
	n, ok := new(big.Int).SetString(wei, 10)
	if !ok {
		return ""
	}
	whole, rest := new(big.Int).QuoRem(n, big.NewInt(1e18), new(big.Int))
	if rest.Sign() == 0 {
		return whole.String()
	}
	fraction := rest.String()
	fraction = strings.Repeat("0", 18-len(fraction)) + fraction
	return whole.String() + "." + strings.TrimRight(fraction, "0")
}

func nonceText(n *uint64) string {
	if n == nil {
		return "-"
	}
	return strconv.FormatUint(*n, 10)
}

// age is how long ago t was, in the largest unit.
func age(t, now time.Time) string {
	d := max(now.Sub(t), 0)
	switch {
	case d < time.Minute:
		return strconv.Itoa(int(d.Seconds())) + "s"
	case d < time.Hour:
		return strconv.Itoa(int(d.Minutes())) + "m"
	case d < 48*time.Hour:
		return strconv.Itoa(int(d.Hours())) + "h"
	}
	return strconv.Itoa(int(d.Hours()/24)) + "d"
}
