// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/ethereum/go-ethereum/common"
)

// timeLayout is RFC 3339 in UTC, to the microsecond: as fine as the database
// keeps it.
const timeLayout = "2006-01-02T15:04:05.000000Z"

// HashLine is the hash of a record in the log's Merkle tree: SHA-256 of a zero
// byte and the line (RFC 6962, section 2.1).
func HashLine(line []byte) [32]byte {
	var room [2048]byte
	b := append(room[:0], 0)
	return sha256.Sum256(append(b, line...))
}

// AppendLine appends the line of the intent; see [Record.AppendLine].
func (i *Intent) AppendLine(b []byte) []byte {
	b = append(b, `{"kind":"intent","id":`...)
	b = appendText(b, i.ID)
	b = appendTime(b, i.At)
	b = appendField(b, `,"principal":`, i.Principal)
	b = appendField(b, `,"wallet":`, i.Wallet)
	b = appendHex(b, `,"address":`, i.Address[:])
	b = appendField(b, `,"action":`, string(i.Action))
	b = appendField(b, `,"subject":`, i.Subject)
	b = appendField(b, `,"verdict":`, i.Verdict)
	b = appendDetail(b, i.Detail)
	return append(b, '}')
}

// AppendLine appends the line of the outcome; see [Record.AppendLine]. A hash of
// nothing but zeros is an empty text.
func (o *Outcome) AppendLine(b []byte) []byte {
	b = append(b, `{"kind":"outcome","id":`...)
	b = appendText(b, o.ID)
	b = appendTime(b, o.At)
	b = appendField(b, `,"intent":`, o.Intent)
	b = appendHash(b, `,"digest":`, o.Digest)
	b = appendHash(b, `,"hash":`, o.Hash)
	b = appendField(b, `,"request_id":`, o.RequestID)
	b = appendField(b, `,"error":`, o.Error)
	return append(b, '}')
}

// AppendLine appends the line of the event; see [Record.AppendLine].
func (e *Event) AppendLine(b []byte) []byte {
	b = append(b, `{"kind":"event","id":`...)
	b = appendText(b, e.ID)
	b = appendTime(b, e.At)
	b = appendField(b, `,"principal":`, e.Principal)
	b = appendField(b, `,"event":`, e.Kind)
	b = appendField(b, `,"consortium":`, e.Consortium)
	b = appendField(b, `,"environment":`, e.Environment)
	b = appendField(b, `,"membership":`, e.Membership)
	b = appendField(b, `,"wallet":`, e.Wallet)
	b = appendField(b, `,"subject":`, e.Subject)
	b = appendDetail(b, e.Detail)
	return append(b, '}')
}

func appendTime(b []byte, at time.Time) []byte {
	b = append(b, `,"at":"`...)
	// To the microsecond as the column has it, which is cut towards minus infinity.
	b = time.UnixMicro(at.UnixMicro()).UTC().AppendFormat(b, timeLayout)
	return append(b, '"')
}

func appendField(b []byte, name, value string) []byte {
	return appendText(append(b, name...), value)
}

func appendHex(b []byte, name string, value []byte) []byte {
	b = append(b, name...)
	b = append(b, `"0x`...)
	b = hex.AppendEncode(b, value)
	return append(b, '"')
}

func appendHash(b []byte, name string, h common.Hash) []byte {
	if h == (common.Hash{}) {
		return appendField(b, name, "")
	}
	return appendHex(b, name, h[:])
}

// appendDetail appends a detail that is a JSON object as that, byte by byte, and
// any other as a text. So no two details give the same line.
func appendDetail(b []byte, detail string) []byte {
	b = append(b, `,"detail":`...)
	if plainObject(detail) {
		return append(b, detail...)
	}
	return appendText(b, detail)
}

func plainObject(s string) bool {
	if s == "" || s[0] != '{' || s[len(s)-1] != '}' {
		return false
	}
	for i := range len(s) {
		if s[i] < ' ' || s[i] == 0x7f {
			return false
		}
	}
	return utf8.ValidString(s) && json.Valid([]byte(s))
}

const hexDigits = "0123456789abcdef"

// appendText appends s as a JSON string. Every text has one form: only what has
// to be escaped is.
func appendText(b []byte, s string) []byte {
	s = CleanText(s)
	b = append(b, '"')
	from := 0
	for i := range len(s) {
		c := s[i]
		if c >= ' ' && c != '"' && c != '\\' && c != 0x7f {
			continue
		}
		b = append(b, s[from:i]...)
		switch c {
		case '"', '\\':
			b = append(b, '\\', c)
		case '\n':
			b = append(b, '\\', 'n')
		case '\r':
			b = append(b, '\\', 'r')
		case '\t':
			b = append(b, '\\', 't')
		default:
			b = append(b, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
		}
		from = i + 1
	}
	b = append(b, s[from:]...)
	return append(b, '"')
}

// CleanText replaces what PostgreSQL takes in no text, which is what is not
// UTF-8, and NUL. A record has the same line whichever database it is in.
func CleanText(s string) string {
	if utf8.ValidString(s) && strings.IndexByte(s, 0) < 0 {
		return s
	}
	return strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\x00", "\uFFFD")
}

// line is every field that a record of any kind has.
type line struct {
	Kind        string          `json:"kind"`
	ID          string          `json:"id"`
	At          string          `json:"at"`
	Principal   string          `json:"principal"`
	Wallet      string          `json:"wallet"`
	Address     string          `json:"address"`
	Action      string          `json:"action"`
	Subject     string          `json:"subject"`
	Verdict     string          `json:"verdict"`
	Detail      json.RawMessage `json:"detail"`
	Intent      string          `json:"intent"`
	Digest      string          `json:"digest"`
	Hash        string          `json:"hash"`
	RequestID   string          `json:"request_id"`
	Error       string          `json:"error"`
	Event       string          `json:"event"`
	Consortium  string          `json:"consortium"`
	Environment string          `json:"environment"`
	Membership  string          `json:"membership"`
}

// ParseLine reads a line back. It takes only what AppendLine writes, byte by
// byte.
func ParseLine(text []byte) (Record, error) {
	var l line
	if err := json.Unmarshal(text, &l); err != nil {
		return Record{}, fmt.Errorf("audit: the line is no JSON object: %w", err)
	}
	kind, err := ParseKind(l.Kind)
	if err != nil {
		return Record{}, err
	}
	at, err := time.Parse(timeLayout, l.At)
	if err != nil {
		return Record{}, fmt.Errorf("audit: time %q; want one like %s", l.At, timeLayout)
	}
	r := Record{Kind: kind}
	switch kind {
	case IntentKind:
		r.Intent = &Intent{
			ID: l.ID, At: at, Principal: l.Principal, Wallet: l.Wallet, Address: common.HexToAddress(l.Address),
			Action: Action(l.Action), Subject: l.Subject, Verdict: l.Verdict, Detail: detailText(l.Detail),
		}
	case OutcomeKind:
		r.Outcome = &Outcome{
			ID: l.ID, Intent: l.Intent, At: at, Digest: common.HexToHash(l.Digest), Hash: common.HexToHash(l.Hash),
			RequestID: l.RequestID, Error: l.Error,
		}
	case EventKind:
		r.Event = &Event{
			ID: l.ID, At: at, Principal: l.Principal, Kind: l.Event, Consortium: l.Consortium, Environment: l.Environment,
			Membership: l.Membership, Wallet: l.Wallet, Subject: l.Subject, Detail: detailText(l.Detail),
		}
	}
	if !bytes.Equal(r.AppendLine(nil), text) {
		return Record{}, fmt.Errorf("audit: the line of %s %s is not in the form in which it was logged", kind, l.ID)
	}
	return r, nil
}

func detailText(raw json.RawMessage) string {
	var s string
	if json.Unmarshal(raw, &s) == nil {
		return s
	}
	return string(raw)
}
