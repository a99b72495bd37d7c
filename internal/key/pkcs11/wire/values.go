// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"encoding/binary"
	"fmt"

	"github.com/hsmsigner/hsmsigner/internal/secp"
)

// Bounds of what a token says of itself and of its keys, in bytes.
const (
	MaxID    = 256  // of a CKA_ID
	MaxText  = 1024 // of a label, a name or a reason
	maxPath  = 4096
	maxPIN   = 1024
	maxLanes = 64
	// EntriesPerMessage is how many entries surely fit into one message.
	EntriesPerMessage = 64
)

// Settings is what a child needs to know, and what it gets through its pipe
// and by no other way.
type Settings struct {
	Module   string // full path of the shared library
	Label    string // of the token; empty: the serial number decides
	Serial   string // of the token; empty: the label decides
	PIN      []byte
	Sessions uint32 // that the pool would like to have
	Lanes    int    // sockets for one signature at a time, from file number 3 on
	CloudHSM bool   // every session is read-write, every object private
}

// Message gives the request that starts a child.
func (s Settings) Message() Message {
	flags := []byte{0}
	if s.CloudHSM {
		flags[0] = 1
	}
	return Message{Op: Start, Fields: [][]byte{
		[]byte(s.Module), []byte(s.Label), []byte(s.Serial), s.PIN, binary.BigEndian.AppendUint32(nil, s.Sessions), {byte(s.Lanes)}, flags,
	}}
}

// Settings reads a Start request.
func (m Message) Settings() (Settings, error) {
	f, err := m.fields(7)
	if err != nil {
		return Settings{}, err
	}
	if m.Op != Start || len(f[0]) > maxPath || len(f[1]) > MaxText || len(f[2]) > MaxText || len(f[3]) > maxPIN ||
		len(f[4]) != 4 || len(f[5]) != 1 || f[5][0] > maxLanes || len(f[6]) != 1 || f[6][0] > 1 {
		return Settings{}, fmt.Errorf("wire: %w: not the settings of a child", ErrFrame)
	}
	return Settings{
		Module: string(f[0]), Label: string(f[1]), Serial: string(f[2]), PIN: f[3],
		Sessions: binary.BigEndian.Uint32(f[4]), Lanes: int(f[5][0]), CloudHSM: f[6][0] == 1,
	}, nil
}

// Hello is what a child says of the token it has logged in to.
type Hello struct {
	Sessions     uint32 // in the pool
	Label        string
	Serial       string
	Manufacturer string
	Model        string
	Library      string // what the module calls itself, with its version
}

// Message gives the reply to a Start request.
func (h Hello) Message(id uint64) Message {
	return Message{ID: id, Op: Done, Fields: [][]byte{
		binary.BigEndian.AppendUint32(nil, h.Sessions), text(h.Label), text(h.Serial), text(h.Manufacturer), text(h.Model), text(h.Library),
	}}
}

// Hello reads the reply to a Start request.
func (m Message) Hello() (Hello, error) {
	f, err := m.fields(6)
	if err != nil {
		return Hello{}, err
	}
	if len(f[0]) != 4 || tooLong(f[1:]) {
		return Hello{}, fmt.Errorf("wire: %w: not the greeting of a child", ErrFrame)
	}
	return Hello{
		Sessions: binary.BigEndian.Uint32(f[0]), Label: string(f[1]), Serial: string(f[2]),
		Manufacturer: string(f[3]), Model: string(f[4]), Library: string(f[5]),
	}, nil
}

// Entry is a key in the listing of a token, or a private key object that
// cannot be used.
type Entry struct {
	ID      []byte // CKA_ID of the private key object; may be empty
	Label   string
	Point   secp.PublicKey // unused if Problem
	Problem bool           // no key: Reason says what is wrong with the object
	Reason  string         // why the key may not sign; empty if it may
}

const entryFields = 5

// Entries gives a reply with so many entries, EntriesPerMessage at most.
func Entries(id uint64, op Op, entries []Entry) Message {
	m := Message{ID: id, Op: op}
	for _, e := range entries {
		kind := []byte{0}
		if e.Problem {
			kind[0] = 1
		}
		m.Fields = append(m.Fields, kind, e.ID[:min(len(e.ID), MaxID)], text(e.Label), e.Point[:], text(e.Reason))
	}
	return m
}

// Entries reads a reply with entries.
func (m Message) Entries() ([]Entry, error) {
	if len(m.Fields)%entryFields != 0 {
		return nil, fmt.Errorf("wire: %w: %d fields are no list of keys", ErrFrame, len(m.Fields))
	}
	entries := make([]Entry, 0, len(m.Fields)/entryFields)
	for f := m.Fields; len(f) > 0; f = f[entryFields:] {
		if len(f[0]) != 1 || f[0][0] > 1 || len(f[1]) > MaxID || tooLong([][]byte{f[2], f[4]}) || len(f[3]) != len(secp.PublicKey{}) {
			return nil, fmt.Errorf("wire: %w: not an entry of a listing", ErrFrame)
		}
		entries = append(entries, Entry{
			ID: f[1], Label: string(f[2]), Point: secp.PublicKey(f[3]), Problem: f[0][0] == 1, Reason: string(f[4]),
		})
	}
	return entries, nil
}

// Kind says which error of package key a failure is.
type Kind byte

// The kinds of failure.
const (
	NotFound Kind = iota + 1
	Disabled
	Denied
	Unavailable
	BadResponse
)

// Failure is why a request was not done.
type Failure struct {
	Kind Kind
	PIN  bool   // the token refused the PIN: nobody may try it again
	Why  string // what is wrong and what would mend it; never a secret
}

func (f *Failure) Error() string { return f.Why }

// Message gives the reply to a request that failed.
func (f *Failure) Message(id uint64) Message {
	pin := []byte{0}
	if f.PIN {
		pin[0] = 1
	}
	return Message{ID: id, Op: Failed, Fields: [][]byte{{byte(f.Kind)}, pin, text(f.Why)}}
}

// Failure reads the reply to a request that failed.
func (m Message) Failure() (*Failure, error) {
	f, err := m.fields(3)
	if err != nil {
		return nil, err
	}
	if m.Op != Failed || len(f[0]) != 1 || f[0][0] == 0 || Kind(f[0][0]) > BadResponse || len(f[1]) != 1 || f[1][0] > 1 || tooLong(f[2:]) {
		return nil, fmt.Errorf("wire: %w: not a failure", ErrFrame)
	}
	return &Failure{Kind: Kind(f[0][0]), PIN: f[1][0] == 1, Why: string(f[2])}, nil
}

// Target gives the fields that name one key.
func Target(id []byte, point secp.PublicKey) [][]byte { return [][]byte{id, point[:]} }

// Target reads the first two fields of a request about one key, which has
// exactly so many more.
func (m Message) Target(more int) (id []byte, point secp.PublicKey, err error) {
	f, err := m.fields(2 + more)
	if err != nil {
		return nil, point, err
	}
	if len(f[0]) > MaxID || len(f[1]) != len(point) {
		return nil, point, fmt.Errorf("wire: %w: not a request about a key", ErrFrame)
	}
	return f[0], secp.PublicKey(f[1]), nil
}

func text(s string) []byte { return []byte(s[:min(len(s), MaxText)]) }

func tooLong(fields [][]byte) bool {
	for _, f := range fields {
		if len(f) > MaxText {
			return true
		}
	}
	return false
}
