// SPDX-License-Identifier: Apache-2.0

package client

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// NewSignature asks an account of a service to sign a document.
type NewSignature struct {
	Account   string `json:"account"`
	SHA256    string `json:"sha256"` // of the document: 64 hex digits
	Size      int64  `json:"size"`   // of the document, in bytes
	Name      string `json:"name,omitempty"`
	MediaType string `json:"media_type,omitempty"`
}

// PendingSignature is a request that people are asked about first. The same
// request, made again once they have approved, is done.
type PendingSignature struct {
	ApprovalID string    `json:"approval_id"`
	Rule       string    `json:"rule"`
	Approved   int       `json:"approved"`
	Needed     int       `json:"needed"`
	Expires    time.Time `json:"expires_at"`
	Message    string    `json:"message"`
}

// Error is the server's message.
func (p *PendingSignature) Error() string { return p.Message }

// SignDocument has a document signed of which only the hash is sent. It returns
// the bundle that proves the signature, as it is to be kept. If people are asked
// first, the error is a [*PendingSignature].
func (p Place) SignDocument(ctx context.Context, service string, wanted NewSignature) (json.RawMessage, error) {
	var bundle json.RawMessage
	status, err := p.client.Do(ctx, http.MethodPost, p.path("services", service, "signatures"), nil, wanted, &bundle)
	return signed(status, bundle, err)
}

// SignDocumentFrom sends a document, to be hashed by the server and signed. It
// takes as long as ctx allows. Of wanted, SHA256 may be empty; Size is needed.
func (p Place) SignDocumentFrom(ctx context.Context, service string, wanted NewSignature, from io.Reader) (json.RawMessage, error) {
	query := url.Values{"account": {wanted.Account}, "size": {strconv.FormatInt(wanted.Size, 10)}}
	media := wanted.MediaType
	if media == "" {
		media = "application/octet-stream"
	}
	for name, value := range map[string]string{"name": wanted.Name, "media_type": media, "sha256": wanted.SHA256} {
		if value != "" {
			query.Set(name, value)
		}
	}
	target, err := p.client.target(p.path("services", service, "signatures"), query)
	if err != nil {
		return nil, err
	}
	r, err := p.client.request(ctx, http.MethodPost, target, io.NopCloser(from))
	if err != nil {
		return nil, err
	}
	if r.ContentLength = wanted.Size; wanted.Size == 0 {
		r.Body = http.NoBody
	}
	r.Header.Set("Content-Type", "application/octet-stream") // JSON would be taken for a request
	large := *p.client.http
	large.Timeout = 0
	var bundle json.RawMessage
	status, _, err := send(&large, r, &bundle)
	return signed(status, bundle, err)
}

func signed(status int, answer json.RawMessage, err error) (json.RawMessage, error) {
	if err != nil {
		return nil, err
	}
	if status == http.StatusAccepted {
		var pending PendingSignature
		if json.Unmarshal(answer, &pending) != nil || pending.ApprovalID == "" {
			return nil, errors.New("client: the answer is not what was expected: it names no approval")
		}
		return nil, &pending
	}
	return answer, nil
}

// Verification is what came of the check of a bundle.
type Verification struct {
	Valid    bool `json:"valid"`    // no part fails
	Complete bool `json:"complete"` // every part was checked, and holds
	Findings []struct {
		Part   string `json:"part"`
		Result string `json:"result"` // holds, fails, not checked
		Why    string `json:"why,omitempty"`
	} `json:"findings"`
	Manifest json.RawMessage `json:"manifest,omitempty"`
}

// VerifyDocument has the server check a bundle against its audit log. Of the
// document, wanted names SHA256 and Size, and in Account who has to have signed;
// what is empty is not checked. Whoever need not trust the server's word uses
// hsmsigner document verify.
func (p Place) VerifyDocument(ctx context.Context, service string, bundle json.RawMessage, wanted NewSignature) (*Verification, error) {
	body := map[string]any{"bundle": bundle}
	if wanted.Account != "" {
		body["account"] = wanted.Account
	}
	if wanted.SHA256 != "" {
		body["sha256"], body["size"] = wanted.SHA256, wanted.Size
	}
	return one[Verification](ctx, p.client, http.MethodPost, p.path("services", service, "verify"), body)
}
