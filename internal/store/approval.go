// SPDX-License-Identifier: Apache-2.0

package store

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/binary"
	"fmt"
	"time"

	"github.com/ethereum/go-ethereum/common"
)

// Tables approval and approval_vote: requests that wait for people, and what the
// people said. Which state follows which is package approval's business.

// ApprovalState says where a request that waits for people stands.
type ApprovalState string

// The states.
const (
	ApprovalPending  ApprovalState = "pending"  // not enough people have approved
	ApprovalApproved ApprovalState = "approved" // and it was not used yet
	ApprovalRejected ApprovalState = "rejected"
	ApprovalExpired  ApprovalState = "expired"
	ApprovalUsed     ApprovalState = "used"   // its transaction is stored, or its signature was asked for
	ApprovalFailed   ApprovalState = "failed" // approved, and then refused
)

// Open reports whether something can still become of it.
func (s ApprovalState) Open() bool { return s == ApprovalPending || s == ApprovalApproved }

// Approval is a request that waits, or waited, for people.
type Approval struct {
	ID          string
	Consortium  string // ids of where its wallet stands
	Environment string
	Membership  string
	Wallet      string
	Principal   string // who asked
	Action      string
	Address     common.Address
	RequestHash [32]byte
	Request     string // JSON
	Rules       string // JSON
	State       ApprovalState
	Result      string // id of the transaction or of the audit intent it was used for, or why it failed
	Created     time.Time
	Expires     time.Time
	Decided     time.Time // when it left the state pending; zero: not yet
	Told        bool      // its caller has been given the outcome; not under the mac
	Restored    bool      // it was open in a backup that was put back: nothing may come of it; not under the mac
	MAC         []byte
}

// ApprovalVote is what one approver said of one request.
type ApprovalVote struct {
	Approval  string
	Approver  string // principal, or address
	Verdict   string // approve, reject
	Roles     string // JSON: those that the approver had where the request stands
	Comment   string
	Signature []byte // EIP-712; nil if by sign-in
	At        time.Time
	MAC       []byte
}

// Bytes are what the row's mac is made over: all of it but the mac and Told, so
// that no two different rows have the same bytes. Times count in microseconds.
func (a Approval) Bytes() []byte {
	return rowBytes("hsmsigner approval row v1", []time.Time{a.Created, a.Expires, a.Decided},
		a.ID, a.Consortium, a.Environment, a.Membership, a.Wallet, a.Principal, a.Action, string(a.Address[:]), string(a.RequestHash[:]),
		a.Request, a.Rules, string(a.State), a.Result)
}

// Bytes are what the row's mac is made over: all of it but the mac.
func (v ApprovalVote) Bytes() []byte {
	return rowBytes("hsmsigner approval vote v1", []time.Time{v.At},
		v.Approval, v.Approver, v.Verdict, v.Roles, v.Comment, string(v.Signature))
}

// rowBytes writes the parts of a row so that no two different rows read the same.
func rowBytes(label string, times []time.Time, parts ...string) []byte {
	b := append([]byte(label), 0)
	for _, t := range times {
		micros := int64(0)
		if !t.IsZero() {
			micros = t.UnixMicro()
		}
		b = binary.BigEndian.AppendUint64(b, uint64(micros))
	}
	for _, part := range parts {
		b = binary.BigEndian.AppendUint32(b, uint32(len(part)))
		b = append(b, part...)
	}
	return b
}

const (
	approvalColumns = `id, consortium, environment, membership, wallet, principal, action, address, request_hash, request, rules, state, result, created, expires, decided, told, mac, open`
	voteColumns     = `approval, approver, verdict, roles, comment, signature, at, mac`
)

// InsertApproval stores a request. It reports false, and stores nothing, if the
// wallet has an open one with its hash.
func (w *Writer) InsertApproval(a Approval) (bool, error) {
	w.db.open.opens(a.Wallet, a.RequestHash)
	n, err := w.exec("insert approval "+a.ID, `INSERT INTO approval (`+approvalColumns+`)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19)
		ON CONFLICT DO NOTHING`,
		a.ID, a.Consortium, a.Environment, a.Membership, a.Wallet, a.Principal, a.Action, a.Address.Bytes(), a.RequestHash[:],
		a.Request, a.Rules, string(a.State), a.Result, timeArg(a.Created), timeArg(a.Expires), timeArg(a.Decided), boolArg(a.Told), a.MAC,
		boolArg(a.State.Open()))
	if err != nil || n == 0 {
		return false, err
	}
	return true, w.NoteChange(ChangeApproval)
}

// SetApproval gives a request another state, with the rules, the result, the time
// of the decision and the mac, if it still has the state and the mac was. It reports
// whether it had.
func (w *Writer) SetApproval(a Approval, state ApprovalState, was []byte) (bool, error) {
	if a.State.Open() {
		w.db.open.opens(a.Wallet, a.RequestHash)
	}
	n, err := w.exec("change approval "+a.ID, `UPDATE approval SET state = $1, open = $2, rules = $3, result = $4, decided = $5, mac = $6
		WHERE id = $7 AND state = $8 AND mac = $9`,
		string(a.State), boolArg(a.State.Open()), a.Rules, a.Result, timeArg(a.Decided), a.MAC, a.ID, string(state), was)
	if err != nil || n == 0 {
		return false, err
	}
	return true, w.NoteChange(ChangeApproval)
}

// CloseApproval takes a request that was altered past us out of the way of
// others. Its state and its mac stay as they are.
func (w *Writer) CloseApproval(id string) error {
	_, err := w.exec("close approval "+id, `UPDATE approval SET open = 0 WHERE id = $1`, id)
	return err
}

// TellApproval notes that the caller of a request was given its outcome, and
// reports whether nobody had noted it before.
func (w *Writer) TellApproval(id string) (bool, error) {
	n, err := w.exec("tell approval "+id, `UPDATE approval SET told = 1 WHERE id = $1 AND told = 0`, id)
	return n == 1, err
}

// LockApproval reads a request and keeps others from changing it, and from voting
// on it, until the commit. ErrNotFound if there is none.
func (w *Writer) LockApproval(id string) (Approval, error) {
	if _, err := w.exec("lock approval "+id, `UPDATE approval SET id = id WHERE id = $1`, id); err != nil {
		return Approval{}, err
	}
	a, err := approvalIn(w, id)
	return a, w.read(err)
}

// InsertVote stores what an approver said. It reports false if he has said
// something already.
func (w *Writer) InsertVote(v ApprovalVote) (bool, error) {
	n, err := w.exec("insert vote on approval "+v.Approval, `INSERT INTO approval_vote (`+voteColumns+`)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (approval, approver) DO NOTHING`,
		v.Approval, v.Approver, v.Verdict, v.Roles, v.Comment, bytesArg(v.Signature), timeArg(v.At), v.MAC)
	if err != nil || n == 0 {
		return false, err
	}
	return true, w.NoteChange(ChangeApproval)
}

// Votes are those on a request, the oldest first.
func (w *Writer) Votes(approval string) ([]ApprovalVote, error) {
	all, err := votesIn(w, approval)
	return all, w.read(err)
}

// LastApproval is the open request of a wallet with that hash, else the newest.
// ErrNotFound if there is none.
func (w *Writer) LastApproval(wallet string, hash [32]byte) (Approval, error) {
	a, err := lastApprovalIn(w, wallet, hash)
	return a, w.read(err)
}

// OpenApprovalsOf counts the requests of a principal at a wallet that are open,
// and the bytes of them.
func (w *Writer) OpenApprovalsOf(wallet, principal string) (n, size int64, err error) {
	type sum struct{ n, size int64 }
	scan := func(rows *sql.Rows) (s sum, err error) { return s, rows.Scan(&s.n, &s.size) }
	s, err := one(w, scan, "count approvals of "+wallet, `SELECT count(*), coalesce(sum(length(request)), 0) FROM approval
		WHERE wallet = $1 AND principal = $2 AND open = 1`, wallet, principal)
	return s.n, s.size, w.read(err)
}

// Approval reads a request; ErrNotFound if there is none.
func (db *DB) Approval(ctx context.Context, id string) (Approval, error) {
	r, err := db.reader(ctx)
	if err != nil {
		return Approval{}, err
	}
	return approvalIn(r, id)
}

// Votes are those on a request, the oldest first.
func (db *DB) Votes(ctx context.Context, approval string) ([]ApprovalVote, error) {
	r, err := db.reader(ctx)
	if err != nil {
		return nil, err
	}
	return votesIn(r, approval)
}

// LastApproval is the open request of a wallet with that hash, else the newest.
// ErrNotFound if there is none.
func (db *DB) LastApproval(ctx context.Context, wallet string, hash [32]byte) (Approval, error) {
	r, err := db.reader(ctx)
	if err != nil {
		return Approval{}, err
	}
	return lastApprovalIn(r, wallet, hash)
}

// ApprovalFilter narrows a list of requests.
type ApprovalFilter struct {
	Wallet string          // required
	States []ApprovalState // none: all
	Before string          // id: only older ones
	Limit  int             // default 50
}

// Approvals are the requests of a wallet, the newest first.
func (db *DB) Approvals(ctx context.Context, f ApprovalFilter) ([]Approval, error) {
	r, err := db.reader(ctx)
	if err != nil {
		return nil, err
	}
	if f.Limit <= 0 {
		f.Limit = 50
	}
	before := f.Before
	if before == "" {
		before = "~" // above every id
	}
	states := ""
	args := []any{f.Wallet, before, int64(f.Limit)}
	for _, s := range f.States {
		args = append(args, string(s))
		states += fmt.Sprintf(" OR state = $%d", len(args))
	}
	if states != "" {
		states = " AND (" + states[len(" OR "):] + ")"
	}
	return collect(r, scanApproval, "list approvals of "+f.Wallet, `SELECT `+approvalColumns+` FROM approval
		WHERE wallet = $1 AND id < $2`+states+` ORDER BY id DESC LIMIT $3`, args...)
}

// RestoredApprovals are those that were open in a backup which was put back, and
// are to be ended, the oldest first.
func (db *DB) RestoredApprovals(ctx context.Context, limit int) ([]Approval, error) {
	r, err := db.reader(ctx)
	if err != nil {
		return nil, err
	}
	return collect(r, scanApproval, "read approvals of a restored backup", `SELECT `+approvalColumns+` FROM approval
		WHERE open = $1 ORDER BY id LIMIT $2`, openRestored, int64(limit))
}

// WaitingApprovals are the open requests in a state, the oldest first, after the
// one with the id after.
func (db *DB) WaitingApprovals(ctx context.Context, state ApprovalState, after string, limit int) ([]Approval, error) {
	r, err := db.reader(ctx)
	if err != nil {
		return nil, err
	}
	return collect(r, scanApproval, "read approvals that are "+string(state), `SELECT `+approvalColumns+` FROM approval
		WHERE open = 1 AND state = $1 AND id > $2 ORDER BY id LIMIT $3`, string(state), after, int64(limit))
}

// OverdueApprovals are open requests whose time is over, the oldest first.
func (db *DB) OverdueApprovals(ctx context.Context, now time.Time, limit int) ([]Approval, error) {
	r, err := db.reader(ctx)
	if err != nil {
		return nil, err
	}
	return collect(r, scanApproval, "read approvals that are over", `SELECT `+approvalColumns+` FROM approval
		WHERE open = 1 AND expires <= $1 ORDER BY id LIMIT $2`, timeArg(now), int64(limit))
}

// DropApprovals forgets requests, and the votes on them, that ended and whose time
// was over before olderThan, and returns how many.
func (db *DB) DropApprovals(ctx context.Context, olderThan time.Time) (int, error) {
	return db.inBatches(ctx, func(w *Writer) (int, error) {
		const old = `SELECT id FROM approval WHERE open = 0 AND expires < $1 ORDER BY id LIMIT $2`
		if _, err := w.exec("drop votes", `DELETE FROM approval_vote WHERE approval IN (`+old+`)`, timeArg(olderThan), pruneBatch); err != nil {
			return 0, err
		}
		n, err := w.exec("drop approvals", `DELETE FROM approval WHERE id IN (`+old+`)`, timeArg(olderThan), pruneBatch)
		return int(n), err
	})
}

func approvalIn(q querier, id string) (Approval, error) {
	return one(q, scanApproval, "read approval "+id, `SELECT `+approvalColumns+` FROM approval WHERE id = $1`, id)
}

func lastApprovalIn(q querier, wallet string, hash [32]byte) (Approval, error) {
	return one(q, scanApproval, "look for an approval of "+wallet, `SELECT `+approvalColumns+` FROM approval
		WHERE wallet = $1 AND request_hash = $2 ORDER BY open DESC, id DESC LIMIT 1`, wallet, hash[:])
}

func votesIn(q querier, approval string) ([]ApprovalVote, error) {
	return collect(q, scanVote, "read votes on approval "+approval, `SELECT `+voteColumns+` FROM approval_vote
		WHERE approval = $1 ORDER BY at, approver`, approval)
}

func scanApproval(rows *sql.Rows) (Approval, error) {
	var a Approval
	var address, hash, mac sql.RawBytes
	var state string
	var created, expires, decided sql.NullInt64
	var told, open int64
	err := rows.Scan(&a.ID, &a.Consortium, &a.Environment, &a.Membership, &a.Wallet, &a.Principal, &a.Action, &address, &hash,
		&a.Request, &a.Rules, &state, &a.Result, &created, &expires, &decided, &told, &mac, &open)
	a.Address, a.State, a.MAC, a.Told = common.BytesToAddress(address), ApprovalState(state), bytes.Clone(mac), told != 0
	copy(a.RequestHash[:], hash)
	a.Restored = open == openRestored
	a.Created, a.Expires, a.Decided = timeOf(created), timeOf(expires), timeOf(decided)
	return a, err
}

func scanVote(rows *sql.Rows) (ApprovalVote, error) {
	var v ApprovalVote
	var signature, mac sql.RawBytes
	var at sql.NullInt64
	err := rows.Scan(&v.Approval, &v.Approver, &v.Verdict, &v.Roles, &v.Comment, &signature, &at, &mac)
	v.Signature, v.At, v.MAC = bytes.Clone(signature), timeOf(at), bytes.Clone(mac)
	return v, err
}
