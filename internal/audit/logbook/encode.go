// SPDX-License-Identifier: Apache-2.0

package logbook

import (
	"crypto/ed25519"
	"encoding/binary"
	"encoding/hex"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/hsmsigner/hsmsigner/internal/audit"
)

// shortID marks an entry whose id is 32 lower-case hex digits, and stored as 16
// bytes.
const shortID = 0x80

// adoptedGroup marks a group of records that were there before the log.
const adoptedGroup = 0x80

// appendEntry appends an entry as audit_batch.entries has it: its kind, its id,
// its hash.
func appendEntry(b []byte, e audit.Entry) []byte {
	var id [16]byte
	if n, err := hex.Decode(id[:], []byte(e.ID[:min(len(e.ID), 32)])); err == nil && n == 16 && hex.EncodeToString(id[:]) == e.ID {
		b = append(b, byte(e.Kind)|shortID)
		b = append(b, id[:]...)
	} else {
		b = append(b, byte(e.Kind))
		b = binary.AppendUvarint(b, uint64(len(e.ID)))
		b = append(b, e.ID...)
	}
	return append(b, e.Hash[:]...)
}

// parseEntries reads entries as far as they can be read. rest is what cannot.
func parseEntries(b []byte) (entries []audit.Entry, rest []byte) {
	entries = make([]audit.Entry, 0, len(b)/49+1)
	for len(b) > 0 {
		e, n := parseEntry(b)
		if n == 0 {
			return entries, b
		}
		entries = append(entries, e)
		b = b[n:]
	}
	return entries, nil
}

func parseEntry(b []byte) (e audit.Entry, n int) {
	kind, size, at := audit.Kind(b[0]&^shortID), uint64(16), 1
	if kind < audit.IntentKind || kind > audit.EventKind {
		return e, 0
	}
	if b[0]&shortID == 0 {
		length, used := binary.Uvarint(b[1:])
		if used <= 0 {
			return e, 0
		}
		size, at = length, 1+used
	}
	if size > uint64(len(b)) || uint64(len(b)) < uint64(at)+size+tlog.HashSize {
		return e, 0
	}
	id := b[at : at+int(size)]
	e = audit.Entry{Kind: kind, ID: string(id)}
	if b[0]&shortID != 0 {
		e.ID = hex.EncodeToString(id)
	}
	n = at + int(size) + tlog.HashSize
	copy(e.Hash[:], b[n-tlog.HashSize:n])
	return e, n
}

// appendGroup appends what vouches for a group as audit_batch.proof has it: how
// many records, the signature, the path of each.
func appendGroup(b []byte, g group) []byte {
	count := byte(len(g.paths))
	if g.adopted {
		count |= adoptedGroup
	}
	b = append(b, count)
	b = append(b, g.signature[:]...)
	for _, path := range g.paths {
		for _, h := range path {
			b = append(b, h[:]...)
		}
	}
	return b
}

// parseGroups reads groups as far as they can be read. A group that was cut off
// keeps the records whose paths are there. rest is what cannot be read.
func parseGroups(b []byte) (groups []group, rest []byte) {
	for len(b) > 0 {
		count := int(b[0] &^ adoptedGroup)
		if count == 0 || count > groupSize || len(b) < 1+ed25519.SignatureSize {
			return groups, b
		}
		g := group{adopted: b[0]&adoptedGroup != 0, paths: make([][]tlog.Hash, count)}
		copy(g.signature[:], b[1:])
		b = b[1+ed25519.SignatureSize:]
		whole := true
		for i := range g.paths {
			path := make([]tlog.Hash, pathLen(i, count))
			if whole = whole && len(b) >= len(path)*tlog.HashSize; whole {
				for j := range path {
					copy(path[j][:], b[j*tlog.HashSize:])
				}
				b = b[len(path)*tlog.HashSize:]
			}
			g.paths[i] = path // of zeros, if it was cut off: it leads nowhere
		}
		groups = append(groups, g)
		if !whole {
			return groups, nil
		}
	}
	return groups, nil
}
