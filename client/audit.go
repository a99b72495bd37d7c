// SPDX-License-Identifier: Apache-2.0

package client

import (
	"context"
	"encoding/json"
	"iter"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// AuditRecord is one record of the audit trail.
type AuditRecord struct {
	ID          string          `json:"id"`
	Kind        string          `json:"kind"` // intent, outcome or event
	At          time.Time       `json:"at"`
	Principal   string          `json:"principal,omitempty"`
	Consortium  string          `json:"consortium_id,omitempty"`
	Environment string          `json:"environment_id,omitempty"`
	Membership  string          `json:"membership_id,omitempty"`
	Wallet      string          `json:"wallet,omitempty"`
	Address     string          `json:"address,omitempty"`
	Action      string          `json:"action,omitempty"`
	Event       string          `json:"event,omitempty"`
	Subject     string          `json:"subject,omitempty"`
	Verdict     string          `json:"verdict,omitempty"`
	Intent      string          `json:"intent,omitempty"` // of an outcome
	Digest      string          `json:"digest,omitempty"`
	Hash        string          `json:"hash,omitempty"`
	RequestID   string          `json:"request_id,omitempty"`
	Error       string          `json:"error,omitempty"`
	Detail      json.RawMessage `json:"detail,omitempty"`
}

// AuditQuery narrows a list of records. Zero fields do not.
type AuditQuery struct {
	Kinds     []string
	From, To  time.Time // From ≤ at < To
	Wallet    string
	Address   string
	Principal string
	Action    string
	Event     string
	Subject   string
	Before    string // AuditPage.Next of the page before
	Limit     int    // at most 1000; the server's own is 50
}

func (q AuditQuery) values() url.Values {
	v := url.Values{}
	for _, k := range q.Kinds {
		v.Add("kind[]", k)
	}
	for name, value := range map[string]string{
		"wallet": q.Wallet, "address": q.Address, "principal": q.Principal, "action": q.Action,
		"event": q.Event, "subject": q.Subject, "before": q.Before,
	} {
		if value != "" {
			v.Set(name, value)
		}
	}
	for name, at := range map[string]time.Time{"from": q.From, "to": q.To} {
		if !at.IsZero() {
			v.Set(name, at.UTC().Format(time.RFC3339Nano))
		}
	}
	if q.Limit > 0 {
		v.Set("limit", strconv.Itoa(q.Limit))
	}
	return v
}

// AuditPage is some of the records that were asked for, the newest first.
type AuditPage struct {
	Records []AuditRecord `json:"records"`
	Next    string        `json:"next,omitempty"` // for AuditQuery.Before; empty: there are no more
}

// AuditRecords returns one page of the audit trail. It may be short, or even
// empty, although more follow.
func (c *Client) AuditRecords(ctx context.Context, q AuditQuery) (*AuditPage, error) {
	var page AuditPage
	if _, err := c.Do(ctx, http.MethodGet, []string{"audit", "records"}, q.values(), nil, &page); err != nil {
		return nil, err
	}
	return &page, nil
}

// AllAuditRecords returns all that were asked for, page by page. After an error
// there are no more.
func (c *Client) AllAuditRecords(ctx context.Context, q AuditQuery) iter.Seq2[AuditRecord, error] {
	return func(yield func(AuditRecord, error) bool) {
		for {
			page, err := c.AuditRecords(ctx, q)
			if err != nil {
				yield(AuditRecord{}, err)
				return
			}
			for _, r := range page.Records {
				if !yield(r, nil) {
					return
				}
			}
			if q.Before = page.Next; q.Before == "" {
				return
			}
		}
	}
}

// AuditCheckpoint is a signed state of the audit log.
type AuditCheckpoint struct {
	Origin     string    `json:"origin"`
	Size       int64     `json:"size"`
	Root       string    `json:"root"` // base64
	At         time.Time `json:"at"`
	Checkpoint string    `json:"checkpoint"` // a signed note
	Key        string    `json:"key"`        // the log's public key, as the server says
}

// AuditCheckpoint returns the newest signed state of the audit log.
func (c *Client) AuditCheckpoint(ctx context.Context) (*AuditCheckpoint, error) {
	return one[AuditCheckpoint](ctx, c, http.MethodGet, []string{"audit", "checkpoint"}, nil)
}

// AuditProof shows that a record is in the audit log (RFC 6962).
type AuditProof struct {
	Record     string   `json:"record"` // as it was hashed, byte by byte
	Index      int64    `json:"index"`
	Hashes     []string `json:"hashes"` // base64
	Checkpoint string   `json:"checkpoint"`
	Key        string   `json:"key"`
}

// AuditProof shows that a record is in the audit log.
func (c *Client) AuditProof(ctx context.Context, record string) (*AuditProof, error) {
	return one[AuditProof](ctx, c, http.MethodGet, []string{"audit", "records", record, "proof"}, nil)
}

// AuditConsistency shows that one state of the audit log goes on from another.
type AuditConsistency struct {
	From       int64    `json:"from"`
	To         int64    `json:"to"`
	Hashes     []string `json:"hashes"` // base64
	Checkpoint string   `json:"checkpoint"`
	Key        string   `json:"key"`
}

// AuditConsistency shows that the state of size to, or the newest if to is 0, goes
// on from that of size from.
func (c *Client) AuditConsistency(ctx context.Context, from, to int64) (*AuditConsistency, error) {
	v := url.Values{}
	for name, size := range map[string]int64{"from": from, "to": to} {
		if size > 0 {
			v.Set(name, strconv.FormatInt(size, 10))
		}
	}
	var got AuditConsistency
	if _, err := c.Do(ctx, http.MethodGet, []string{"audit", "consistency"}, v, nil, &got); err != nil {
		return nil, err
	}
	return &got, nil
}
