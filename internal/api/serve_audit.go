// SPDX-License-Identifier: Apache-2.0

package api

import (
	"context"
	"errors"
	"math"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/hsmsigner/hsmsigner/internal/api/query"
	"github.com/hsmsigner/hsmsigner/internal/audit"
	"github.com/hsmsigner/hsmsigner/internal/platform"
)

// cursorPattern is an id, or its beginning.
const cursorPattern = `^[0-9a-f]{12,32}$`

// maxFilter is how many bytes a filter may have.
const maxFilter = 200

func recordKinds() []string {
	var names []string
	for _, k := range audit.Kinds() {
		names = append(names, k.String())
	}
	return names
}

func listRecords(ctx context.Context, p Platform, _ *route, c *call) (reply, error) {
	q, err := recordQuery(c.query)
	if err != nil {
		return reply{}, err
	}
	page, err := p.AuditRecords(ctx, c.who, q)
	return ok(page), err
}

func recordQuery(v url.Values) (q platform.RecordQuery, err error) {
	for name, to := range map[string]*string{
		"wallet": &q.Wallet, "principal": &q.Principal, "action": &q.Action, "event": &q.Event, "subject": &q.Subject, "before": &q.Before,
	} {
		if !v.Has(name) {
			continue
		}
		if *to = v.Get(name); *to == "" || len(*to) > maxFilter || strings.ContainsRune(*to, 0) {
			return q, invalid(name, "want 1 to 200 characters")
		}
	}
	for name, to := range map[string]*time.Time{"from": &q.From, "to": &q.To} {
		if !v.Has(name) {
			continue
		}
		if *to, err = time.Parse(time.RFC3339, v.Get(name)); err != nil {
			return q, invalid(name, "want a time like 2026-01-02T15:04:05Z")
		}
	}
	if v.Has("kind") && v.Has("kind[]") {
		return q, invalid("kind", "want kind or kind[], not both")
	}
	for _, name := range append(slices.Clone(v["kind"]), v["kind[]"]...) {
		kind, err := audit.ParseKind(name)
		if err != nil {
			return q, invalid("kind", "want one of "+strings.Join(recordKinds(), ", "))
		}
		q.Kinds = append(q.Kinds, kind)
	}
	if v.Has("address") {
		if !regexp.MustCompile(addressPattern).MatchString(v.Get("address")) {
			return q, invalid("address", "want an address: 0x and 40 hex digits")
		}
		q.Address, _ = addressOf(v.Get("address"))
	}
	if q.Before != "" && !regexp.MustCompile(cursorPattern).MatchString(q.Before) {
		return q, invalid("before", "want next of the page before")
	}
	if v.Has(query.Limit) {
		if q.Limit, err = query.Whole(v.Get(query.Limit), 1, query.MaxLimit); err != nil {
			return q, invalid(query.Limit, err.Error())
		}
	}
	return q, nil
}

func proveRecord(ctx context.Context, p Platform, _ *route, c *call) (reply, error) {
	if !regexp.MustCompile(recordPattern).MatchString(c.leaf) {
		return reply{}, notFound()
	}
	proof, err := p.RecordProof(ctx, c.who, c.leaf)
	if refused := (*platform.Error)(nil); errors.As(err, &refused) && refused.Reason == platform.NotFound {
		return reply{}, notFound() // as for what cannot be an id
	}
	return ok(proof), err
}

func auditCheckpoint(ctx context.Context, p Platform, _ *route, c *call) (reply, error) {
	state, err := p.Checkpoint(ctx, c.who)
	return ok(state), err
}

func auditConsistency(ctx context.Context, p Platform, _ *route, c *call) (reply, error) {
	var from, to int
	for name, size := range map[string]*int{"from": &from, "to": &to} {
		if !c.query.Has(name) {
			continue
		}
		var err error
		if *size, err = query.Whole(c.query.Get(name), 1, math.MaxInt); err != nil {
			return reply{}, invalid(name, err.Error())
		}
	}
	proof, err := p.Consistency(ctx, c.who, int64(from), int64(to))
	return ok(proof), err
}
