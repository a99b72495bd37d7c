// SPDX-License-Identifier: Apache-2.0

package store

import (
	"database/sql"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/ethereum/go-ethereum/common"

	"github.com/hsmsigner/hsmsigner/internal/audit"
)

// loose reads a row whatever is in its columns: whoever tampers with the
// database may put a text where a number belongs, and that must be told as any
// other change, not end the reading.
type loose struct {
	values  []any
	next    int
	strange []string
}

func readLoose(rows *sql.Rows, columns int) (*loose, error) {
	l := &loose{values: make([]any, columns)}
	cells := make([]any, columns)
	for i := range cells {
		cells[i] = &l.values[i]
	}
	return l, rows.Scan(cells...)
}

func (l *loose) take() any {
	l.next++
	return l.values[l.next-1]
}

func (l *loose) note(v any) {
	l.strange = append(l.strange, fmt.Sprintf("%T %v in column %d", v, v, l.next))
}

func (l *loose) text() string {
	v := l.take()
	s, ok := v.(string)
	if !ok {
		l.note(v)
	}
	return s
}

func (l *loose) integer() int64 {
	v := l.take()
	n, ok := v.(int64)
	if !ok {
		l.note(v)
		return math.MaxInt64
	}
	return n
}

func (l *loose) bytes() []byte {
	v := l.take()
	b, ok := v.([]byte)
	if !ok && v != nil {
		l.note(v)
	}
	return b
}

// hash reads 32 bytes, or NULL for the hash of zeros.
func (l *loose) hash() common.Hash {
	b := l.bytes()
	h := common.BytesToHash(b)
	if b != nil && (len(b) != common.HashLength || h == (common.Hash{})) {
		l.note(b)
	}
	return h
}

func (l *loose) address() common.Address {
	b := l.bytes()
	if len(b) != common.AddressLength {
		l.note(b)
	}
	return common.BytesToAddress(b)
}

func (l *loose) time() time.Time { return time.UnixMicro(l.integer()).UTC() }

// storedColumns are, by kind, the columns that scanStored reads.
func storedColumns(kind audit.Kind) (table, columns string) {
	switch kind {
	case audit.IntentKind:
		return "audit_intent", `id, mac, at, principal, wallet, address, action, subject, verdict, detail`
	case audit.OutcomeKind:
		return "audit_outcome", `id, mac, at, intent, digest, hash, request_id, error`
	default:
		return "audit_event", `id, mac, at, principal, kind, consortium, environment, membership, wallet, subject, detail`
	}
}

// scanStored makes a record's line from its columns. What is not as this program
// writes it (an address that is too long, a hash of zeros) gives another line
// than any record has.
func scanStored(kind audit.Kind) func(*sql.Rows) (audit.Stored, error) {
	_, columns := storedColumns(kind)
	n := strings.Count(columns, ",") + 1
	return func(rows *sql.Rows) (audit.Stored, error) {
		l, err := readLoose(rows, n)
		if err != nil {
			return audit.Stored{}, err
		}
		id, mac := l.text(), l.bytes()
		r := audit.Record{Kind: kind}
		switch kind {
		case audit.IntentKind:
			r.Intent = &audit.Intent{
				ID: id, At: l.time(), Principal: l.text(), Wallet: l.text(), Address: l.address(), Action: audit.Action(l.text()),
				Subject: l.text(), Verdict: l.text(), Detail: l.text(),
			}
		case audit.OutcomeKind:
			r.Outcome = &audit.Outcome{
				ID: id, At: l.time(), Intent: l.text(), Digest: l.hash(), Hash: l.hash(), RequestID: l.text(), Error: l.text(),
			}
		case audit.EventKind:
			r.Event = &audit.Event{
				ID: id, At: l.time(), Principal: l.text(), Kind: l.text(), Consortium: l.text(), Environment: l.text(),
				Membership: l.text(), Wallet: l.text(), Subject: l.text(), Detail: l.text(),
			}
		}
		s := audit.Stored{Kind: kind, ID: id, Line: r.AppendLine(nil), MAC: mac}
		for _, what := range l.strange {
			s.Line = append(s.Line, (" with " + what)...)
		}
		return s, nil
	}
}
