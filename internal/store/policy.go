// SPDX-License-Identifier: Apache-2.0

package store

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/binary"
	"fmt"
	"time"
)

// Table policy: the rules of each scope, every version of them. Rows are only
// ever added, and decided about.

// PolicyState says whether a version of a policy counts.
type PolicyState string

// The states.
const (
	PolicyProposed PolicyState = "proposed" // waits for another admin; counts for nothing
	PolicyActive   PolicyState = "active"   // counts; at most one of a scope
	PolicyPast     PolicyState = "past"     // counted once
	PolicyRejected PolicyState = "rejected" // was proposed and never counted
)

// Policy is one version of the rules of a scope.
type Policy struct {
	Scope    string // deployment, consortium:<id>, membership:<id>, service:<id> or credential:<id>
	Version  int64  // from 1
	State    PolicyState
	Document string // YAML or JSON, as it was given
	Author   string // principal
	Approver string // principal who decided about it; empty if nobody had to
	Comment  string
	Created  time.Time
	Decided  time.Time // when it left the state proposed; zero: not yet
	MAC      []byte    // keyed hash of [Policy.Bytes]
}

// Bytes are what the row's mac is made over: all of it but the mac, so that no
// two different rows have the same bytes. Times count in microseconds.
func (p Policy) Bytes() []byte {
	b := binary.BigEndian.AppendUint64([]byte("hsmsigner policy row v1\x00"), uint64(p.Version))
	for _, t := range []time.Time{p.Created, p.Decided} {
		micros := int64(0)
		if !t.IsZero() {
			micros = t.UnixMicro()
		}
		b = binary.BigEndian.AppendUint64(b, uint64(micros))
	}
	for _, part := range []string{p.Scope, string(p.State), p.Document, p.Author, p.Approver, p.Comment} {
		b = binary.BigEndian.AppendUint32(b, uint32(len(part)))
		b = append(b, part...)
	}
	return b
}

const policyColumns = `scope, version, state, document, author, approver, comment, created, decided, mac`

// InsertPolicy adds a version. ErrExists if the scope has one of that number
// already.
func (w *Writer) InsertPolicy(p Policy) error {
	op := fmt.Sprintf("insert version %d of the policy of %s", p.Version, p.Scope)
	n, err := w.exec(op, `INSERT INTO policy (`+policyColumns+`) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
		ON CONFLICT (scope, version) DO NOTHING`,
		p.Scope, p.Version, string(p.State), p.Document, p.Author, p.Approver, p.Comment, timeArg(p.Created), timeArg(p.Decided), bytesArg(p.MAC))
	if err != nil {
		return err
	}
	if n == 0 {
		return w.fail("", fmt.Errorf("%w: version %d of the policy of %s", ErrExists, p.Version, p.Scope))
	}
	return w.NoteChange(ChangePolicy)
}

// DecidePolicy gives a version that is in the state was another one, with who
// decided so, when, and the mac. ErrRevision if it is not in that state.
func (w *Writer) DecidePolicy(p Policy, was PolicyState) error {
	op := fmt.Sprintf("decide about version %d of the policy of %s", p.Version, p.Scope)
	n, err := w.exec(op, `UPDATE policy SET state = $1, approver = $2, comment = $3, decided = $4, mac = $5
		WHERE scope = $6 AND version = $7 AND state = $8`,
		string(p.State), p.Approver, p.Comment, timeArg(p.Decided), bytesArg(p.MAC), p.Scope, p.Version, string(was))
	if err != nil {
		return err
	}
	if n == 0 {
		return w.fail("", fmt.Errorf("%w: version %d of the policy of %s", ErrRevision, p.Version, p.Scope))
	}
	return w.NoteChange(ChangePolicy)
}

// LivePolicies are the versions of a scope that count or are proposed, the newest
// first, and the number of its newest version; 0: it has none. What it reads does
// not grow with the versions: others wait for the writer meanwhile.
func (w *Writer) LivePolicies(scope string) (live []Policy, newest int64, err error) {
	live, err = livePolicies(w, scope)
	if err != nil {
		return nil, 0, w.read(err)
	}
	number := func(rows *sql.Rows) (n int64, err error) { err = rows.Scan(&n); return n, err }
	newest, err = one(w, number, "read the newest version of the policy of "+scope,
		`SELECT COALESCE(MAX(version), 0) FROM policy WHERE scope = $1`, scope)
	return live, newest, w.read(err)
}

// LivePolicies are the versions of a scope that count or are proposed, the newest
// first.
func (db *DB) LivePolicies(ctx context.Context, scope string) ([]Policy, error) {
	r, err := db.reader(ctx)
	if err != nil {
		return nil, err
	}
	return livePolicies(r, scope)
}

func livePolicies(q querier, scope string) ([]Policy, error) {
	return collect(q, scanPolicy, "read the policy of "+scope,
		`SELECT `+policyColumns+` FROM policy WHERE scope = $1 AND state IN ($2, $3) ORDER BY version DESC`,
		scope, string(PolicyProposed), string(PolicyActive))
}

// PolicyVersion reads one version of a scope, whatever its state. ErrNotFound if
// there is none of that number.
func (w *Writer) PolicyVersion(scope string, version int64) (Policy, error) {
	p, err := policyVersion(w, scope, version)
	return p, w.read(err)
}

// PolicyVersion reads one version of a scope, whatever its state. ErrNotFound if
// there is none of that number.
func (db *DB) PolicyVersion(ctx context.Context, scope string, version int64) (Policy, error) {
	r, err := db.reader(ctx)
	if err != nil {
		return Policy{}, err
	}
	return policyVersion(r, scope, version)
}

func policyVersion(q querier, scope string, version int64) (Policy, error) {
	return one(q, scanPolicy, fmt.Sprintf("read version %d of the policy of %s", version, scope),
		`SELECT `+policyColumns+` FROM policy WHERE scope = $1 AND version = $2`, scope, version)
}

// maxVersions bounds a list of versions: each comes with its document.
const maxVersions = 100

// Policies are the versions of the policy of a scope, the newest first, and at most
// 100 of them.
func (db *DB) Policies(ctx context.Context, scope string) ([]Policy, error) {
	r, err := db.reader(ctx)
	if err != nil {
		return nil, err
	}
	return collect(r, scanPolicy, "read the versions of the policy of "+scope,
		`SELECT `+policyColumns+` FROM policy WHERE scope = $1 ORDER BY version DESC LIMIT $2`, scope, maxVersions)
}

// ActivePolicies are the versions that count, of all scopes, by scope.
func (db *DB) ActivePolicies(ctx context.Context) ([]Policy, error) {
	r, err := db.reader(ctx)
	if err != nil {
		return nil, err
	}
	return collect(r, scanPolicy, "read the policies that count", `SELECT `+policyColumns+` FROM policy WHERE state = $1 ORDER BY scope, version`, string(PolicyActive))
}

func scanPolicy(rows *sql.Rows) (Policy, error) {
	var p Policy
	var state string
	var created, decided sql.NullInt64
	var mac sql.RawBytes
	err := rows.Scan(&p.Scope, &p.Version, &state, &p.Document, &p.Author, &p.Approver, &p.Comment, &created, &decided, &mac)
	p.State, p.Created, p.Decided, p.MAC = PolicyState(state), timeOf(created), timeOf(decided), bytes.Clone(mac)
	return p, err
}
