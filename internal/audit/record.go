// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"time"
)

// Kind says what a record is.
type Kind uint8

// The kinds of record.
const (
	IntentKind Kind = iota + 1
	OutcomeKind
	EventKind
)

// Kinds are all kinds of record.
func Kinds() []Kind { return []Kind{IntentKind, OutcomeKind, EventKind} }

// String is the kind as it stands in a record's line.
func (k Kind) String() string {
	switch k {
	case IntentKind:
		return "intent"
	case OutcomeKind:
		return "outcome"
	case EventKind:
		return "event"
	}
	return fmt.Sprintf("kind %d", uint8(k))
}

// ParseKind is the inverse of String.
func ParseKind(name string) (Kind, error) {
	for _, k := range Kinds() {
		if k.String() == name {
			return k, nil
		}
	}
	return 0, fmt.Errorf("audit: no record is a %q; want intent, outcome or event", name)
}

// Entry is a record as the log knows it.
type Entry struct {
	Kind Kind
	ID   string
	Hash [32]byte // HashLine of the record's line
	// Doubtful says that it is not known whether the commit that wrote the record
	// has succeeded.
	Doubtful bool
}

// Sum is a hash over the record's kind, its id and the hash of its line. It is of
// no line: it begins as no line's hash does (RFC 6962, section 2.1), and is never
// a leaf of the log itself.
func (e Entry) Sum() [32]byte {
	b := make([]byte, 0, 96)
	b = append(b, "\x02"...)
	b = append(b, byte(e.Kind))
	b = binary.AppendUvarint(b, uint64(len(e.ID)))
	b = append(b, e.ID...)
	return sha256.Sum256(append(b, e.Hash[:]...))
}

// Record is one record of the trail, by its kind. Exactly one of Intent,
// Outcome and Event is set.
type Record struct {
	Kind    Kind
	Intent  *Intent
	Outcome *Outcome
	Event   *Event
}

// ID is the record's id, which is unique among those of its kind.
func (r Record) ID() string {
	switch r.Kind {
	case IntentKind:
		return r.Intent.ID
	case OutcomeKind:
		return r.Outcome.ID
	case EventKind:
		return r.Event.ID
	}
	return ""
}

// At is when it was written, by the clock of the process that wrote it.
func (r Record) At() time.Time {
	switch r.Kind {
	case IntentKind:
		return r.Intent.At
	case OutcomeKind:
		return r.Outcome.At
	case EventKind:
		return r.Event.At
	}
	return time.Time{}
}

// AppendLine appends the record's line to b: one JSON object (RFC 8259) with a
// fixed order of fields, no spaces and no line break at its end. These very
// bytes are hashed, and exported.
func (r Record) AppendLine(b []byte) []byte {
	switch r.Kind {
	case IntentKind:
		return r.Intent.AppendLine(b)
	case OutcomeKind:
		return r.Outcome.AppendLine(b)
	case EventKind:
		return r.Event.AppendLine(b)
	}
	return b
}

// Stored is a record as it was found in the database.
type Stored struct {
	Kind Kind
	ID   string
	Line []byte // its line, made anew from the columns
	MAC  []byte // nil if it was written before there was a log
}
