// SPDX-License-Identifier: Apache-2.0

package client

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// ServiceStatus is how a service does.
type ServiceStatus struct {
	State    string            `json:"state"`
	Status   string            `json:"status"`
	Reason   string            `json:"reason,omitempty"`
	Release  string            `json:"release"`
	Accounts int               `json:"accounts"`
	Usable   int               `json:"usable_accounts"`
	Ready    bool              `json:"ready"`
	Backend  Health            `json:"backend"`
	Node     Health            `json:"node"`
	Listing  Listing           `json:"listing"`
	URLs     map[string]string `json:"urls"`
}

// Listing is how far the listing of a backend's keys is.
type Listing struct {
	Running  bool      `json:"running"`
	Keys     int       `json:"keys"`     // found so far by the one that runs, else by the last; before filters
	Problems int       `json:"problems"` // of those, that cannot be used
	Started  time.Time `json:"started_at,omitzero"`
	Finished time.Time `json:"finished_at,omitzero"` // when one last succeeded
}

// Health is how something that a service depends on is.
type Health struct {
	OK      bool      `json:"ok"`
	Reason  string    `json:"reason,omitempty"`
	Checked time.Time `json:"checked_at,omitzero"`
}

// Status says how a service does, as the replica that answers sees it.
func (p Place) Status(ctx context.Context, service string) (*ServiceStatus, error) {
	return one[ServiceStatus](ctx, p.client, http.MethodGet, p.path("services", service, "status"), nil)
}

// ResetService has a service connect anew to its backend and its node.
func (p Place) ResetService(ctx context.Context, service string) (*Service, error) {
	return one[Service](ctx, p.client, http.MethodPut, p.path("services", service, "reset"), struct{}{})
}

// ResetNode has all services of a node connect anew.
func (p Place) ResetNode(ctx context.Context, node string) (*Node, error) {
	return one[Node](ctx, p.client, http.MethodPut, p.path("nodes", node, "reset"), struct{}{})
}

// Regenerate gives an app credential another password. The old one is invalid
// at once.
func (p Place) Regenerate(ctx context.Context, appCred string) (*AppCred, error) {
	return one[AppCred](ctx, p.client, http.MethodPost, p.path("appcreds", appCred, "regenerate"), nil)
}

// Account is an account of a service.
type Account struct {
	Address    string            `json:"address"` // checksummed, EIP-55
	KeyRef     string            `json:"key_ref"`
	Name       string            `json:"name"`
	Label      string            `json:"label"`
	Protection string            `json:"protection"`
	State      string            `json:"state"`
	Reason     string            `json:"state_reason,omitempty"`
	Tags       map[string]string `json:"tags,omitempty"`
	Seen       time.Time         `json:"seen_at,omitzero"`
	Balance    string            `json:"balance,omitempty"` // wei, decimal; if asked for
	Nonce      *uint64           `json:"nonce,omitempty"`   // of the next transaction; if asked for
}

// NewAccount asks for a key to be made inside the backend.
type NewAccount struct {
	Name  string            `json:"name"`
	Tags  map[string]string `json:"tags,omitempty"`
	Label string            `json:"label,omitempty"`
}

// AccountsReport is what a refresh has found.
type AccountsReport struct {
	Found    int `json:"found"`
	Added    int `json:"added"`
	Missing  int `json:"missing"`
	Problems []struct {
		Name   string `json:"name"`
		KeyRef string `json:"key_ref,omitempty"`
		Reason string `json:"reason"`
	} `json:"problems"`
}

// AccountQuery says what is asked of the node for each account.
type AccountQuery struct {
	Balance, Nonce bool
}

func (q AccountQuery) values() url.Values {
	v := url.Values{}
	if q.Balance {
		v.Set("balance", "true")
	}
	if q.Nonce {
		v.Set("nonce", "true")
	}
	return v
}

// Accounts lists the accounts of a service.
func (p Place) Accounts(ctx context.Context, service string, q AccountQuery) ([]Account, error) {
	var all []Account
	_, err := p.client.Do(ctx, http.MethodGet, p.path("services", service, "accounts"), q.values(), nil, &all)
	return all, err
}

// Account returns one account of a service.
func (p Place) Account(ctx context.Context, service, address string, q AccountQuery) (*Account, error) {
	var a Account
	if _, err := p.client.Do(ctx, http.MethodGet, p.path("services", service, "accounts", address), q.values(), nil, &a); err != nil {
		return nil, err
	}
	return &a, nil
}

// RefreshAccounts looks for new and removed keys now.
func (p Place) RefreshAccounts(ctx context.Context, service string) (*AccountsReport, error) {
	return one[AccountsReport](ctx, p.client, http.MethodPut, p.path("services", service, "accounts", "refresh"), struct{}{})
}

// CreateAccount has the backend make a key.
func (p Place) CreateAccount(ctx context.Context, service string, wanted NewAccount) (*Account, error) {
	return one[Account](ctx, p.client, http.MethodPost, p.path("services", service, "accounts"), wanted)
}

// LabelAccount names an account for people; an empty label takes the name away.
func (p Place) LabelAccount(ctx context.Context, service, address, label string) (*Account, error) {
	return one[Account](ctx, p.client, http.MethodPatch, p.path("services", service, "accounts", address), map[string]string{"label": label})
}

// Transaction is a transaction of a service.
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

// Durations says how long the stages of a transaction took, in microseconds. What is
// left out has not ended yet, is no stage of this transaction, or is not known.
type Durations struct {
	Queued *int64 `json:"queued_us,omitempty"` // from its acceptance until its signature was asked for
	Signed *int64 `json:"signed_us,omitempty"` // until the key backend had given it
	Sent   *int64 `json:"sent_us,omitempty"`   // until a node had answered that it took the bytes
	Mined  *int64 `json:"mined_us,omitempty"`  // until its block was seen by the signer
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

// TransactionQuery narrows a list of transactions. Zero fields do not.
type TransactionQuery struct {
	States []string
	From   string  // address
	ID     string  // of the transaction
	Hash   string  // of any of its attempts
	Nonce  *uint64 // that it has, or had last
	Key    string  // idempotency key, whoever gave it
	Before string  // id: only older ones, for paging
	Limit  int     // at most 1000; the server's own is 50
}

// Transactions lists transactions of a service, the newest first.
func (p Place) Transactions(ctx context.Context, service string, q TransactionQuery) ([]Transaction, error) {
	v := url.Values{}
	for _, s := range q.States {
		v.Add("state[]", s)
	}
	for name, value := range map[string]string{"from": q.From, "id": q.ID, "hash": q.Hash, "idempotency_key": q.Key, "before": q.Before} {
		if value != "" {
			v.Set(name, value)
		}
	}
	if q.Nonce != nil {
		v.Set("nonce", strconv.FormatUint(*q.Nonce, 10))
	}
	if q.Limit > 0 {
		v.Set("limit", strconv.Itoa(q.Limit))
	}
	var all []Transaction
	_, err := p.client.Do(ctx, http.MethodGet, p.path("services", service, "transactions"), v, nil, &all)
	return all, err
}

// Transaction returns a transaction by its id or any of its hashes.
func (p Place) Transaction(ctx context.Context, service, id string) (*Transaction, error) {
	return one[Transaction](ctx, p.client, http.MethodGet, p.path("services", service, "transactions", id), nil)
}

// CancelTransaction cancels a transaction that is not mined.
func (p Place) CancelTransaction(ctx context.Context, service, id string) (*Transaction, error) {
	return one[Transaction](ctx, p.client, http.MethodPost, p.path("services", service, "transactions", id, "cancel"), nil)
}

// Fees are wei per gas, in decimal; empty: what the chain asks now.
type Fees struct {
	MaxFee string `json:"max_fee_per_gas,omitempty"`
	Tip    string `json:"priority_fee_per_gas,omitempty"`
}

// SpeedUpTransaction has a transaction signed again with higher fees.
func (p Place) SpeedUpTransaction(ctx context.Context, service, id string, fees Fees) (*Transaction, error) {
	return one[Transaction](ctx, p.client, http.MethodPost, p.path("services", service, "transactions", id, "speed-up"), fees)
}
