// SPDX-License-Identifier: Apache-2.0

package platform

import (
	"time"

	"github.com/ethereum/go-ethereum/common"
)

// Transaction is a transaction of a service, in the words of hsmsigner tx show.
// Amounts are decimal wei; they are text, since JSON readers round large numbers.
type Transaction struct {
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
	Durations      *Durations `json:"durations,omitempty"`
	Attempts       []Attempt  `json:"attempts,omitempty"` // of one transaction only, not in lists
}

// Attempt is one signed encoding of a transaction.
type Attempt struct {
	ID      string    `json:"id"`
	Kind    string    `json:"kind"`
	Nonce   uint64    `json:"nonce"`
	Outcome string    `json:"outcome"`
	Hash    string    `json:"hash,omitempty"`
	Epoch   int64     `json:"epoch"`
	Created time.Time `json:"created"`
}

// TransactionQuery narrows a list of transactions. Zero fields do not filter.
type TransactionQuery struct {
	Address common.Address
	States  []string // words as in Transaction.State
	ID      string
	Hash    common.Hash // of any of its attempts
	Nonce   *uint64     // that it has, or had last
	Key     string      // idempotency key, whoever gave it
	Before  string      // id: only older ones, for paging
	Limit   int         // default 50, at most 1000
}
