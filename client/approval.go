// SPDX-License-Identifier: Apache-2.0

package client

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// Approval is a request that waits, or waited, for people.
type Approval struct {
	ID          string          `json:"id"`
	Wallet      string          `json:"wallet"`
	State       string          `json:"state"` // pending, approved, rejected, expired, used, failed or altered
	Principal   string          `json:"principal"`
	AskedBy     string          `json:"principal_name,omitempty"` // what people call who asked
	Action      string          `json:"action"`
	Address     string          `json:"address"`
	Fields      []ApprovalField `json:"fields"`
	Data        string          `json:"data,omitempty"`
	RequestHash string          `json:"request_hash"`
	Rules       []struct {
		Rule      string `json:"rule"`
		Needed    int    `json:"needed"`
		Approved  int    `json:"approved"`
		Approvers struct {
			Principals []string `json:"principals"`
			Roles      []string `json:"roles"`
			Addresses  []string `json:"addresses"`
		} `json:"approvers"`
	} `json:"rules"`
	Votes []struct {
		Approver string    `json:"approver"`
		Name     string    `json:"approver_name,omitempty"` // what people call them
		Verdict  string    `json:"verdict"`                 // approve or reject
		Comment  string    `json:"comment,omitempty"`
		Signed   bool      `json:"signed"`
		Counts   bool      `json:"counts"`
		At       time.Time `json:"at"`
	} `json:"votes"`
	Result  string    `json:"result,omitempty"`
	Waits   string    `json:"waits,omitempty"` // why it is not sent yet although it is approved
	Created time.Time `json:"created_at"`
	Expires time.Time `json:"expires_at"`
	Decided time.Time `json:"decided_at,omitzero"`
	// Request is all of it; TypedData what an approver's wallet signs by
	// eth_signTypedData_v4. Not in lists.
	Request   json.RawMessage `json:"request,omitempty"`
	TypedData *struct {
		Approve json.RawMessage `json:"approve"`
		Reject  json.RawMessage `json:"reject"`
	} `json:"typed_data,omitempty"`
}

// ApprovalField is one field of what approvers sign.
type ApprovalField struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// ApprovalQuery narrows a list of requests. Zero fields do not.
type ApprovalQuery struct {
	States []string
	Before string // id: only older ones
	Limit  int    // at most 1000; the server's own is 50
}

func (q ApprovalQuery) values() url.Values {
	v := url.Values{}
	for _, s := range q.States {
		v.Add("state[]", s)
	}
	if q.Before != "" {
		v.Set("before", q.Before)
	}
	if q.Limit != 0 {
		v.Set("limit", strconv.Itoa(q.Limit))
	}
	return v
}

// Vote is what an approver says beside yes or no.
type Vote struct {
	Comment   string `json:"comment,omitempty"`
	Signature string `json:"signature,omitempty"` // over TypedData, 0x and 130 hex digits; empty: the caller's own vote
}

// Approvals lists the requests of a service that wait, or waited, for people, the
// newest first.
func (p Place) Approvals(ctx context.Context, service string, q ApprovalQuery) ([]Approval, error) {
	var all []Approval
	_, err := p.client.Do(ctx, http.MethodGet, p.path("services", service, "approvals"), q.values(), nil, &all)
	return all, err
}

// Approval shows one request, with what approvers sign.
func (p Place) Approval(ctx context.Context, service, id string) (*Approval, error) {
	return one[Approval](ctx, p.client, http.MethodGet, p.path("services", service, "approvals", id), nil)
}

// Approve votes for a request.
func (p Place) Approve(ctx context.Context, service, id string, v Vote) (*Approval, error) {
	return one[Approval](ctx, p.client, http.MethodPost, p.path("services", service, "approvals", id, "approve"), v)
}

// Reject ends a request.
func (p Place) Reject(ctx context.Context, service, id string, v Vote) (*Approval, error) {
	return one[Approval](ctx, p.client, http.MethodPost, p.path("services", service, "approvals", id, "reject"), v)
}
