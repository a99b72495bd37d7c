// SPDX-License-Identifier: Apache-2.0

package logbook

import (
	"encoding/base64"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// sign makes the checkpoint of a state (C2SP tlog-checkpoint): origin, size,
// root, and the log's signature.
func (k *Key) sign(size int64, root tlog.Hash) ([]byte, error) {
	text := k.name + "\n" + strconv.FormatInt(size, 10) + "\n" + root.String() + "\n"
	signed, err := note.Sign(&note.Note{Text: text}, k.signer)
	if err != nil {
		return nil, fmt.Errorf("audit log: sign the checkpoint of size %d: %w", size, err)
	}
	return signed, nil
}

// ParseCheckpoint reads a signed note and checks that the log's key has signed
// it, and that the signature is written in its one form: base64 has bits without
// meaning at its end, and a checkpoint of which any bit was changed is none of
// ours. Signatures of others are left in it.
func ParseCheckpoint(text []byte, v Verifier) (Checkpoint, error) {
	n, err := note.Open(text, note.VerifierList(v.note))
	if err != nil {
		return Checkpoint{}, fmt.Errorf("audit checkpoint: not signed by %s: %w", v.text, err)
	}
	for _, s := range n.Sigs {
		raw, err := base64.StdEncoding.DecodeString(s.Base64)
		if err != nil || base64.StdEncoding.EncodeToString(raw) != s.Base64 {
			return Checkpoint{}, fmt.Errorf("audit checkpoint: the signature of %s is not written as the log writes it", v.text)
		}
	}
	lines := strings.Split(n.Text, "\n")
	if len(lines) != 4 || lines[3] != "" {
		return Checkpoint{}, fmt.Errorf("audit checkpoint: %d lines; want three: origin, size, root hash", len(lines)-1)
	}
	if lines[0] != v.name {
		return Checkpoint{}, fmt.Errorf("audit checkpoint: of the log %q; want %q", lines[0], v.name)
	}
	size, err := strconv.ParseInt(lines[1], 10, 64)
	if err != nil || size < 0 || strconv.FormatInt(size, 10) != lines[1] {
		return Checkpoint{}, fmt.Errorf("audit checkpoint: size %q; want a decimal number", lines[1])
	}
	root, err := tlog.ParseHash(lines[2])
	if err != nil {
		return Checkpoint{}, fmt.Errorf("audit checkpoint: root hash %q; want 32 bytes in base64", lines[2])
	}
	return Checkpoint{Origin: v.name, Size: size, Root: root, Note: text}, nil
}

// Check verifies a proof with nothing but the key.
func (p Proof) Check(v Verifier) error {
	c, err := ParseCheckpoint(p.Checkpoint.Note, v)
	if err != nil {
		return err
	}
	if err := tlog.CheckRecord(p.Hashes, c.Size, c.Root, p.Index, tlog.RecordHash(p.Line)); err != nil {
		return fmt.Errorf("audit proof: the record is not at place %d of the log of size %d: %w", p.Index, c.Size, err)
	}
	return nil
}
