// SPDX-License-Identifier: Apache-2.0

package platform

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/hsmsigner/hsmsigner/internal/audit"
	"github.com/hsmsigner/hsmsigner/internal/audit/logbook"
	"github.com/hsmsigner/hsmsigner/internal/auth"
	"github.com/hsmsigner/hsmsigner/internal/store"
)

// AuditLog is the log over the audit trail. *logbook.Book is one.
type AuditLog interface {
	Checkpoint(ctx context.Context) (logbook.Checkpoint, error)
	CheckpointAt(ctx context.Context, size int64) (logbook.Checkpoint, error)
	Consistency(ctx context.Context, from, to int64) ([]tlog.Hash, error)
	Prove(ctx context.Context, kind audit.Kind, id string) (logbook.Proof, error)
	Verifier() logbook.Verifier
}

// RecordQuery narrows a list of records of the audit trail; zero fields do not.
type RecordQuery struct {
	From, To  time.Time // From ≤ at < To
	Kinds     []audit.Kind
	Principal string
	Wallet    string
	Address   common.Address
	Action    string
	Event     string
	Subject   string
	Before    string // a cursor
	Limit     int
}

// AuditRecord is one record of the audit trail.
type AuditRecord struct {
	ID          string    `json:"id"`
	Kind        string    `json:"kind"`
	At          time.Time `json:"at"`
	Principal   string    `json:"principal,omitempty"`
	Consortium  string    `json:"consortium_id,omitempty"`
	Environment string    `json:"environment_id,omitempty"`
	Membership  string    `json:"membership_id,omitempty"`
	Wallet      string    `json:"wallet,omitempty"`
	Address     string    `json:"address,omitempty"`
	Action      string    `json:"action,omitempty"`
	Event       string    `json:"event,omitempty"`
	Subject     string    `json:"subject,omitempty"`
	Verdict     string    `json:"verdict,omitempty"`
	Intent      string    `json:"intent,omitempty"`
	Digest      string    `json:"digest,omitempty"`
	Hash        string    `json:"hash,omitempty"`
	RequestID   string    `json:"request_id,omitempty"`
	Error       string    `json:"error,omitempty"`
	Detail      any       `json:"detail,omitempty"`
}

// AuditRecords is a page of them.
type AuditRecords struct {
	Records []AuditRecord `json:"records"`
	Next    string        `json:"next,omitempty"`
}

// AuditCheckpoint is a signed state of the audit log.
type AuditCheckpoint struct {
	Origin     string    `json:"origin"`
	Size       int64     `json:"size"`
	Root       string    `json:"root"`
	At         time.Time `json:"at"`
	Checkpoint string    `json:"checkpoint"`
	Key        string    `json:"key"`
}

// AuditProof shows that a record is in the audit log.
type AuditProof struct {
	Record     string   `json:"record"`
	Index      int64    `json:"index"`
	Hashes     []string `json:"hashes"`
	Checkpoint string   `json:"checkpoint"`
	Key        string   `json:"key"`
}

// AuditConsistency shows that one state of the audit log goes on from another.
type AuditConsistency struct {
	From       int64    `json:"from"`
	To         int64    `json:"to"`
	Hashes     []string `json:"hashes"`
	Checkpoint string   `json:"checkpoint"`
	Key        string   `json:"key"`
}

const maxRecords = 1000

// AuditRecords lists what the caller may see of the audit trail, newest first:
// what happened where it has a role, and what was signed by wallets that are, or
// were, there.
func (p *Platform) AuditRecords(ctx context.Context, who auth.Access, q RecordQuery) (AuditRecords, error) {
	if q.Limit < 0 || q.Limit > maxRecords {
		return AuditRecords{}, invalid("limit", "want 1 to %d", maxRecords)
	}
	see, err := p.seesRecords(ctx, who)
	if err != nil {
		return AuditRecords{}, err
	}
	stored, next, err := p.cfg.Store.AuditRecords(ctx, store.AuditFilter{
		From: q.From, To: q.To, Principal: q.Principal, Wallet: q.Wallet, Address: q.Address,
		Action: audit.Action(q.Action), Event: q.Event, Subject: q.Subject, Before: q.Before, Limit: q.Limit, See: see,
		Intents: slices.Contains(q.Kinds, audit.IntentKind), Outcomes: slices.Contains(q.Kinds, audit.OutcomeKind), Events: slices.Contains(q.Kinds, audit.EventKind),
	})
	if err != nil {
		return AuditRecords{}, err
	}
	page := AuditRecords{Records: make([]AuditRecord, len(stored)), Next: next}
	for i, r := range stored {
		page.Records[i] = ViewRecord(r)
	}
	return page, nil
}

// ViewRecord is a stored record as the API and the command line show it.
func ViewRecord(r store.AuditRecord) AuditRecord {
	if e := r.Event; e != nil {
		return AuditRecord{
			ID: e.ID, Kind: audit.EventKind.String(), At: e.At.UTC(), Principal: e.Principal, Event: e.Kind, Consortium: e.Consortium,
			Environment: e.Environment, Membership: e.Membership, Wallet: e.Wallet, Subject: e.Subject, Detail: detailOf(e.Detail),
		}
	}
	i := r.Intent
	v := AuditRecord{
		ID: i.ID, Kind: audit.IntentKind.String(), At: i.At.UTC(), Principal: i.Principal, Wallet: i.Wallet,
		Action: string(i.Action), Subject: i.Subject,
	}
	if i.Address != (common.Address{}) { // the key may not exist yet
		v.Address = i.Address.Hex()
	}
	o := r.Outcome
	if o == nil {
		v.Verdict, v.Detail = i.Verdict, detailOf(i.Detail)
		return v
	}
	v.ID, v.Kind, v.At, v.Intent = o.ID, audit.OutcomeKind.String(), o.At.UTC(), o.Intent
	v.Digest, v.Hash, v.RequestID, v.Error = hashText(o.Digest), hashText(o.Hash), o.RequestID, o.Error
	return v
}

// detailOf is a detail as JSON; a text if it is none.
func detailOf(text string) any {
	switch {
	case text == "":
		return nil
	case json.Valid([]byte(text)):
		return json.RawMessage(text)
	}
	return text
}

// Checkpoint is the newest signed state of the audit log. It tells everybody with
// a role how many records there are, and nothing of them.
func (p *Platform) Checkpoint(ctx context.Context, who auth.Access) (AuditCheckpoint, error) {
	if err := p.auditor(who); err != nil {
		return AuditCheckpoint{}, err
	}
	c, err := p.cfg.Audit.Checkpoint(ctx)
	if err != nil {
		return AuditCheckpoint{}, emptyLog(err)
	}
	return AuditCheckpoint{Origin: c.Origin, Size: c.Size, Root: c.Root.String(), At: c.At.UTC(), Checkpoint: string(c.Note), Key: p.cfg.Audit.Verifier().String()}, nil
}

// RecordProof shows that a record which the caller may see is in the audit log.
func (p *Platform) RecordProof(ctx context.Context, who auth.Access, id string) (AuditProof, error) {
	none := &Error{Reason: NotFound, Msg: "there is no audit record with that id"}
	see, err := p.seesRecords(ctx, who)
	if err != nil {
		return AuditProof{}, err
	}
	r, err := p.cfg.Store.AuditRecord(ctx, id)
	switch {
	case errors.Is(err, store.ErrNotFound), err == nil && see != nil && !see(r):
		return AuditProof{}, none
	case err != nil:
		return AuditProof{}, err
	}
	if err := p.auditor(who); err != nil {
		return AuditProof{}, err
	}
	proof, err := p.cfg.Audit.Prove(ctx, r.Kind(), id)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return AuditProof{}, unavailable("the record is not under a checkpoint yet: try again in a second")
	case err != nil:
		return AuditProof{}, err
	}
	return ViewProof(proof, p.cfg.Audit.Verifier().String()), nil
}

// ViewProof is a proof as the API and the command line show it.
func ViewProof(p logbook.Proof, key string) AuditProof {
	return AuditProof{Record: string(p.Line), Index: p.Index, Hashes: hashTexts(p.Hashes), Checkpoint: string(p.Checkpoint.Note), Key: key}
}

// Consistency shows that the state of the audit log at size to, or the newest if
// it is 0, begins with all records of that at size from.
func (p *Platform) Consistency(ctx context.Context, who auth.Access, from, to int64) (AuditConsistency, error) {
	if err := p.auditor(who); err != nil {
		return AuditConsistency{}, err
	}
	c, err := p.cfg.Audit.Checkpoint(ctx)
	if err == nil && to != 0 && to != c.Size {
		if to > c.Size {
			return AuditConsistency{}, invalid("to", "the log has %d records", c.Size)
		}
		if c, err = p.cfg.Audit.CheckpointAt(ctx, to); errors.Is(err, store.ErrNotFound) {
			return AuditConsistency{}, invalid("to", "no state of this size was signed: want the size of a checkpoint")
		}
	}
	switch {
	case err != nil:
		return AuditConsistency{}, emptyLog(err)
	case from < 0 || from > c.Size:
		return AuditConsistency{}, invalid("from", "the log has %d records at the later state", c.Size)
	}
	hashes, err := p.cfg.Audit.Consistency(ctx, from, c.Size)
	return AuditConsistency{From: from, To: c.Size, Hashes: hashTexts(hashes), Checkpoint: string(c.Note), Key: p.cfg.Audit.Verifier().String()}, err
}

func hashTexts(hashes []tlog.Hash) []string {
	out := make([]string, len(hashes))
	for i, h := range hashes {
		out[i] = h.String()
	}
	return out
}

func emptyLog(err error) error {
	if errors.Is(err, store.ErrNotFound) {
		return &Error{Reason: NotFound, Msg: "the audit log has no records yet"}
	}
	return err
}

// auditor wants some role somewhere, and a log.
func (p *Platform) auditor(who auth.Access) error {
	switch {
	case !slices.ContainsFunc(who.Grants, func(g auth.Grant) bool { return who.Can(auth.Auditor, g.Consortium, g.Membership) }):
		return &Error{Reason: Forbidden, Msg: "this needs the role auditor"}
	case p.cfg.Audit == nil:
		return unavailable("this daemon keeps no audit log")
	}
	return nil
}

// seesRecords says which records the caller may see; nil: all. What the function
// needs to know was read before, since it is called while rows are.
func (p *Platform) seesRecords(ctx context.Context, who auth.Access) (func(store.AuditRecord) bool, error) {
	if who.Can(auth.Auditor, "", "") {
		return nil, nil //nolint:nilnil // all
	}
	if err := p.owners.read(ctx, p.cfg.Store); err != nil {
		return nil, err
	}
	all, err := p.cfg.Store.Resources(ctx, store.ResourceFilter{Kind: string(Services)})
	if err != nil {
		return nil, err
	}
	now := make(map[string]bool, len(all))
	for _, r := range all {
		now[r.ID] = who.Can(auth.Auditor, r.Consortium, r.Membership)
	}
	for _, r := range p.declared {
		consortium, membership := r.owner()
		now[r.wallet()] = who.Can(auth.Auditor, consortium, membership)
	}
	mine := func(wallet string) bool {
		if sees, there := now[wallet]; there {
			return sees
		}
		o, was := p.owners.of(wallet)
		return was && who.Can(auth.Auditor, o.Consortium, o.Membership)
	}
	return func(r store.AuditRecord) bool {
		if e := r.Event; e != nil {
			return e.Consortium != "" && who.Can(auth.Auditor, e.Consortium, e.Membership)
		}
		return r.Intent.Wallet != "" && mine(r.Intent.Wallet)
	}, nil
}

// owners remembers whose the wallets are and were: services that are deleted have
// no row any more, and their owners may still ask what they signed.
type owners struct {
	mu    sync.Mutex
	until string // id of the last event that was looked at
	known map[string]store.AuditOwner
}

// madeService is the kind of event by which a service is made.
const madeService = "service-create"

// lag is how far below the newest event is read again: ids of two replicas come
// in the order of their clocks.
const lag = 10 * time.Minute

func (o *owners) read(ctx context.Context, db *store.DB) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.known == nil {
		o.known = make(map[string]store.AuditOwner)
	}
	for {
		some, err := db.AuditOwners(ctx, madeService, o.until)
		if err != nil {
			return err
		}
		if len(some) == 0 {
			o.until = min(o.until, store.IDAt(time.Now().Add(-lag)))
			return nil
		}
		for _, s := range some {
			if _, there := o.known[s.Wallet]; !there {
				o.known[s.Wallet] = s
			}
			o.until = s.Event
		}
	}
}

func (o *owners) of(wallet string) (store.AuditOwner, bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	owner, known := o.known[wallet]
	return owner, known
}
