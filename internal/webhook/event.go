// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"encoding/json"
	"strconv"
	"strings"
	"time"

	"github.com/ethereum/go-ethereum/common"

	"github.com/hsmsigner/hsmsigner/internal/store"
)

// event is the body of a delivery. Its fields are described in the package's
// documentation.
type event struct {
	ID          string      `json:"id"`
	Type        string      `json:"type"`
	Created     time.Time   `json:"created"`
	Wallet      string      `json:"wallet"`
	Transaction transaction `json:"transaction"`
}

type transaction struct {
	ID             string        `json:"id"`
	ChainID        uint64        `json:"chain_id,omitempty"`
	From           string        `json:"from"` // with EIP-55 checksum
	Nonce          *uint64       `json:"nonce,omitempty"`
	State          store.TxState `json:"state"`
	Hash           *common.Hash  `json:"hash,omitempty"`
	Hashes         []common.Hash `json:"hashes"`
	Block          *block        `json:"block,omitempty"`
	Succeeded      *bool         `json:"succeeded,omitempty"` // receipt status
	Error          *failure      `json:"error,omitempty"`
	IdempotencyKey string        `json:"idempotency_key,omitempty"`
}

type block struct {
	Number uint64      `json:"number"`
	Hash   common.Hash `json:"hash"`
}

type failure struct {
	Code    int    `json:"code"`
	Message string `json:"message"`
}

// typeOf names the event of a transaction that has come to a state; empty if
// that is none.
func typeOf(s store.TxState) string {
	switch s {
	case store.Offered, store.Queued, store.Held, store.Assigned:
		return "accepted"
	case store.Signed, store.Sent:
		return "sent"
	case store.Mined, store.Confirmed, store.Failed, store.Replaced, store.Displaced:
		return string(s)
	}
	return "" // Superseded: its end is told
}

// Events returns what is to be stored, in the same commit, for a transaction
// that has come to the state in t: one row for each webhook of its wallet that
// wants to hear of it. hashes are those of all its signed encodings. The states
// before Signed are all the event "accepted", so only one of them should be
// told. Our own self-transfers that fill a nonce are nobody's. Events asks no
// database and is safe for concurrent use.
func (h *Hooks) Events(t store.Tx, hashes []common.Hash) []store.Event {
	hooks := h.wallets[t.Wallet]
	if len(hooks) == 0 || t.Kind == store.FillTx {
		return nil
	}
	kind := typeOf(t.State)
	var rows []store.Event
	var e event
	for _, hook := range hooks {
		if kind == "" || !hook.wants(kind) {
			continue
		}
		if e.Type == "" {
			e = event{Type: kind, Created: time.Now().UTC().Truncate(time.Microsecond), Wallet: t.Wallet, Transaction: describe(t, hashes)}
		}
		e.ID = store.NewID()
		body, err := json.Marshal(e)
		if err != nil { // nothing in it can fail
			h.log.Error("event not written", "hook", hook.key(), "tx", t.ID, "err", err)
			continue
		}
		rows = append(rows, store.Event{ID: e.ID, Hook: hook.key(), Wallet: t.Wallet, Tx: t.ID, Body: body, Created: e.Created})
	}
	return rows
}

func describe(t store.Tx, hashes []common.Hash) transaction {
	out := transaction{
		ID: t.ID, From: t.Sender, Nonce: t.Nonce, State: t.State, Hashes: hashes, IdempotencyKey: t.IdempotencyKey,
	}
	if out.Hashes == nil {
		out.Hashes = []common.Hash{}
	}
	// store.Sender.ID: chain id, genesis, perhaps an instance, address.
	if parts := strings.Split(t.Sender, "-"); len(parts) >= 3 {
		out.From = common.HexToAddress(parts[len(parts)-1]).Hex()
		out.ChainID, _ = strconv.ParseUint(parts[0], 10, 64)
	}
	if t.Hash != (common.Hash{}) {
		out.Hash = &t.Hash
	}
	if t.BlockHash != (common.Hash{}) {
		out.Block = &block{Number: t.Block, Hash: t.BlockHash}
		out.Succeeded = &t.Succeeded
	}
	if t.State == store.Failed && t.Error != "" {
		out.Error = failureOf(t.Error)
	}
	return out
}

// failureOf reads the error of a row as package txmgr writes it.
func failureOf(text string) *failure {
	var stored struct {
		failure
		Kind string `json:"kind"`
	}
	if err := json.Unmarshal([]byte(text), &stored); err != nil || stored.Code == 0 {
		return &failure{Code: -32000, Message: text}
	}
	switch f := stored.failure; {
	case stored.Kind == "backend":
		return &failure{f.Code, "key backend failed: " + f.Message}
	case stored.Kind == "revert" && f.Message == "":
		return &failure{f.Code, "execution reverted"}
	case stored.Kind == "revert":
		return &failure{f.Code, "execution reverted: " + f.Message}
	default:
		return &f
	}
}
