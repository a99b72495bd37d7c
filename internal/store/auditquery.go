// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/ethereum/go-ethereum/common"

	"github.com/hsmsigner/hsmsigner/internal/audit"
)

// auditScan is how many rows of each table one call of AuditRecords looks at, so
// that a filter which fits nothing costs little and is not a way to keep the
// database busy. No index serves the filters: each would slow every signature.
const auditScan = 20_000

// AuditFilter narrows what AuditRecords returns; zero fields do not.
type AuditFilter struct {
	From, To  time.Time // when it was written: From ≤ at < To
	Principal string
	Wallet    string
	Address   common.Address
	Action    audit.Action // of intents, and their outcomes
	Event     string       // kind of event
	Subject   string       // of intents and their outcomes, and events
	Intents   bool         // intents; none of the three means all of them
	Outcomes  bool
	Events    bool
	Before    string                 // id: only older ones, for paging
	Limit     int                    // 1 to 1000; default 50
	Scan      int                    // how many rows of each table are looked at; default 20,000
	See       func(AuditRecord) bool // what else is to be true of them; it must be quick
}

// AuditRecord is one record of the audit trail: an intent, an outcome with its
// intent (whose Intent has no id if it was removed), or an event.
type AuditRecord struct {
	Intent  *audit.Intent
	Outcome *audit.Outcome
	Event   *audit.Event
}

// ID is the record's own.
func (r AuditRecord) ID() string {
	switch {
	case r.Outcome != nil:
		return r.Outcome.ID
	case r.Event != nil:
		return r.Event.ID
	}
	return r.Intent.ID
}

// Kind is what the record is.
func (r AuditRecord) Kind() audit.Kind {
	switch {
	case r.Outcome != nil:
		return audit.OutcomeKind
	case r.Event != nil:
		return audit.EventKind
	}
	return audit.IntentKind
}

// IDAt is below all ids that NewID makes from t on.
func IDAt(t time.Time) string { return fmt.Sprintf("%012x", max(t.UnixMilli(), 0)) }

// AuditRecords returns records of the audit trail, newest id first. next is what
// to give as Before for those that follow, and empty if none do: a page may be
// short, or even empty, although more follow.
func (db *DB) AuditRecords(ctx context.Context, f AuditFilter) (all []AuditRecord, next string, err error) {
	r, err := db.reader(ctx)
	if err != nil {
		return nil, "", err
	}
	limit := f.Limit
	if limit <= 0 {
		limit = defaultLimit
	}
	q := auditQuery{r: r, f: f, limit: min(limit, maxLimit), before: "g"} // ids are hex digits
	if !f.To.IsZero() {
		q.before = idBound(f.To)
	}
	if f.Before != "" {
		q.before = min(q.before, f.Before)
	}
	if !f.From.IsZero() {
		q.until = IDAt(f.From.Add(-clockSlack))
	}
	more, err := q.bound()
	if err != nil {
		return nil, "", err
	}
	for _, source := range q.sources() {
		some, err := q.read(source)
		if err != nil {
			return nil, "", err
		}
		all = append(all, some...)
	}
	slices.SortFunc(all, func(a, b AuditRecord) int { return strings.Compare(b.ID(), a.ID()) })
	switch {
	case len(all) >= q.limit:
		all = all[:q.limit]
		next = all[len(all)-1].ID()
	case more:
		next = q.until
	}
	return all, next, nil
}

// auditQuery looks at the ids in [until, before).
type auditQuery struct {
	r             reader
	f             AuditFilter
	limit         int
	before, until string
}

// auditSource is one of the three tables.
type auditSource struct {
	table, text string
	scan        func(*sql.Rows) (AuditRecord, error)
}

func (q *auditQuery) sources() []auditSource {
	f := q.f
	every := !f.Intents && !f.Outcomes && !f.Events
	var all []auditSource
	if (f.Intents || every) && f.Event == "" {
		all = append(all, auditSource{"audit_intent", `SELECT i.id, i.at, i.principal, i.wallet, i.address, i.action, i.subject, i.verdict, i.detail
			FROM audit_intent i WHERE i.id < $1 AND i.id >= $2 AND ($3 = '' OR i.principal = $3) AND ($4 = '' OR i.wallet = $4)
			AND ($5 = '' OR i.subject = $5) AND ($6 = '' OR i.action = $6) ORDER BY i.id DESC`, scanAuditIntent})
	}
	if (f.Outcomes || every) && f.Event == "" {
		all = append(all, auditSource{"audit_outcome", `SELECT o.id, o.intent, o.at, o.digest, o.hash, o.request_id, o.error,
			i.id, i.at, i.principal, i.wallet, i.address, i.action, i.subject, i.verdict, i.detail
			FROM audit_outcome o LEFT JOIN audit_intent i ON i.id = o.intent WHERE o.id < $1 AND o.id >= $2
			AND ($3 = '' OR i.principal = $3) AND ($4 = '' OR i.wallet = $4)
			AND ($5 = '' OR i.subject = $5) AND ($6 = '' OR i.action = $6) ORDER BY o.id DESC`, scanAuditOutcome})
	}
	if (f.Events || every) && f.Action == "" && f.Address == (common.Address{}) {
		all = append(all, auditSource{"audit_event", `SELECT e.id, e.at, e.principal, e.kind, e.consortium, e.environment, e.membership, e.wallet, e.subject, e.detail
			FROM audit_event e WHERE e.id < $1 AND e.id >= $2 AND ($3 = '' OR e.principal = $3) AND ($4 = '' OR e.wallet = $4)
			AND ($5 = '' OR e.subject = $5) AND ($6 = '' OR e.kind = $6) ORDER BY e.id DESC`, scanAuditEvent})
	}
	return all
}

// bound raises until so that no more rows of any table are looked at than asked for, and reports whether it did.
func (q *auditQuery) bound() (more bool, err error) {
	scan := q.f.Scan
	if scan <= 0 {
		scan = auditScan
	}
	for _, s := range q.sources() {
		ids, err := collect(q.r, scanText, "find a page of the audit trail",
			`SELECT id FROM `+s.table+` WHERE id < $1 AND id >= $2 ORDER BY id DESC LIMIT 1 OFFSET $3`, q.before, q.until, scan-1)
		if err != nil {
			return false, err
		}
		if len(ids) > 0 && ids[0] > q.until {
			q.until, more = ids[0], true
		}
	}
	return more, nil
}

// read returns at most limit records of one table.
func (q *auditQuery) read(s auditSource) ([]AuditRecord, error) {
	const op = "store: read the audit trail: %w"
	kind := string(q.f.Action)
	if s.table == "audit_event" {
		kind = q.f.Event
	}
	rows, err := q.r.query(s.text, q.before, q.until, q.f.Principal, q.f.Wallet, q.f.Subject, kind)
	if err != nil {
		return nil, fmt.Errorf(op, err)
	}
	defer rows.Close()
	var all []AuditRecord
	for len(all) < q.limit && rows.Next() {
		record, err := s.scan(rows)
		if err != nil {
			return nil, fmt.Errorf(op, err)
		}
		if q.fits(record) {
			all = append(all, record)
		}
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf(op, err)
	}
	return all, nil
}

func (q *auditQuery) fits(r AuditRecord) bool {
	at := time.Time{}
	switch {
	case r.Outcome != nil:
		at = r.Outcome.At
	case r.Event != nil:
		at = r.Event.At
	default:
		at = r.Intent.At
	}
	f := q.f
	switch {
	case !f.From.IsZero() && at.Before(f.From), !f.To.IsZero() && !at.Before(f.To):
		return false
	case f.Address != (common.Address{}) && (r.Intent == nil || r.Intent.Address != f.Address):
		return false
	}
	return f.See == nil || f.See(r)
}

// AuditRecord finds one record by its id. ErrNotFound if there is none.
func (db *DB) AuditRecord(ctx context.Context, id string) (AuditRecord, error) {
	r, err := db.reader(ctx)
	if err != nil {
		return AuditRecord{}, err
	}
	q := auditQuery{r: r, limit: 1, until: id, before: id + "0"} // no other id is in between
	for _, s := range q.sources() {
		if some, err := q.read(s); err != nil || len(some) > 0 {
			return append(some, AuditRecord{})[0], err
		}
	}
	return AuditRecord{}, fmt.Errorf("%w: audit record %s", ErrNotFound, id)
}

func scanAuditIntent(rows *sql.Rows) (AuditRecord, error) {
	var i audit.Intent
	var at sql.NullInt64
	var action string
	var address sql.RawBytes
	err := rows.Scan(&i.ID, &at, &i.Principal, &i.Wallet, &address, &action, &i.Subject, &i.Verdict, &i.Detail)
	i.At, i.Action, i.Address = timeOf(at), audit.Action(action), common.BytesToAddress(address)
	return AuditRecord{Intent: &i}, err
}

func scanAuditOutcome(rows *sql.Rows) (AuditRecord, error) {
	var o audit.Outcome
	var i audit.Intent
	var at, intended sql.NullInt64
	var digest, hash, address sql.RawBytes
	var id, principal, wallet, action, subject, verdict, detail sql.NullString
	err := rows.Scan(&o.ID, &o.Intent, &at, &digest, &hash, &o.RequestID, &o.Error,
		&id, &intended, &principal, &wallet, &address, &action, &subject, &verdict, &detail)
	o.At, o.Digest, o.Hash = timeOf(at), common.BytesToHash(digest), common.BytesToHash(hash)
	i = audit.Intent{
		ID: id.String, At: timeOf(intended), Principal: principal.String, Wallet: wallet.String, Address: common.BytesToAddress(address),
		Action: audit.Action(action.String), Subject: subject.String, Verdict: verdict.String, Detail: detail.String,
	}
	return AuditRecord{Intent: &i, Outcome: &o}, err
}

func scanAuditEvent(rows *sql.Rows) (AuditRecord, error) {
	var e audit.Event
	var at sql.NullInt64
	err := rows.Scan(&e.ID, &at, &e.Principal, &e.Kind, &e.Consortium, &e.Environment, &e.Membership, &e.Wallet, &e.Subject, &e.Detail)
	e.At = timeOf(at)
	return AuditRecord{Event: &e}, err
}

// AuditOwner says whose a wallet is, or was.
type AuditOwner struct {
	Event                          string // id of the event that says so
	Wallet, Consortium, Membership string
}

// AuditOwners returns what events of a kind that are about wallets say of whose
// they are: those with ids above after, oldest first, and at most auditScan.
func (db *DB) AuditOwners(ctx context.Context, kind, after string) ([]AuditOwner, error) {
	r, err := db.reader(ctx)
	if err != nil {
		return nil, err
	}
	return collect(r, func(rows *sql.Rows) (o AuditOwner, err error) {
		err = rows.Scan(&o.Event, &o.Wallet, &o.Consortium, &o.Membership)
		return o, err
	}, "read the owners of wallets", `SELECT id, wallet, consortium, membership FROM audit_event
		WHERE id > $1 AND kind = $2 AND wallet <> '' ORDER BY id LIMIT $3`, after, kind, auditScan)
}
