// SPDX-License-Identifier: Apache-2.0

package document

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/hsmsigner/hsmsigner/internal/audit"
)

// tree is a state of the log.
type tree struct {
	size int64
	root tlog.Hash
}

// checkpoint opens the signed note (c2sp.org/tlog-checkpoint). It has one
// signature, the log's, and no other lines: what nobody vouches for could be
// changed.
func (c *check) checkpoint() error {
	text := strings.TrimSpace(c.against.LogKey)
	key, err := note.NewVerifier(text)
	if err != nil || !strings.HasPrefix(text, fmt.Sprintf("%s+%08x+", key.Name(), key.KeyHash())) {
		return errors.New("the log's key that it is to be checked with is none: want name+hash+key, as hsmsigner audit key shows it")
	}
	n, err := note.Open([]byte(c.bundle.Checkpoint), note.VerifierList(key))
	var unknown *note.UnverifiedNoteError
	switch {
	case errors.As(err, &unknown):
		return fmt.Errorf("is not signed by %s with the key that was given", key.Name())
	case err != nil:
		return errors.New("is not a note that this log has signed: it was changed, or is another log's")
	case len(n.Sigs) != 1 || len(n.UnverifiedSigs) != 0:
		return errors.New("has another signature than the log's: want that one alone")
	}
	raw, err := base64.StdEncoding.DecodeString(n.Sigs[0].Base64)
	if err != nil || c.bundle.Checkpoint != n.Text+"\n— "+n.Sigs[0].Name+" "+base64.StdEncoding.EncodeToString(raw)+"\n" {
		return errors.New("its signature is not written in the one form that it has")
	}
	c.tree, err = readTree(n.Text, key.Name())
	return err
}

func readTree(text, origin string) (tree, error) {
	var t tree
	lines := strings.Split(text, "\n")
	if len(lines) != 4 || lines[0] != origin || lines[3] != "" {
		return t, fmt.Errorf("is not a checkpoint of %s: want its name, size and root, a line each", origin)
	}
	size, err := strconv.ParseInt(lines[1], 10, 64)
	if err != nil || size < 1 {
		return t, errors.New("is not a checkpoint: its size is no number above 0")
	}
	if t.root, err = tlog.ParseHash(lines[2]); err != nil {
		return t, errors.New("is not a checkpoint: its root is no hash")
	}
	t.size = size
	return t, nil
}

// The intent is written right after the manifest is made, by the same clock.
const (
	intentEarly = time.Minute // the clock may have been put back
	intentLate  = 10 * time.Minute
)

// intent checks that the record of what was meant is in the log, and about this
// manifest.
func (c *check) intent() error {
	if len(c.bundle.Records) != 3 {
		return fmt.Errorf("there are %d records: want the intent and the two outcomes", len(c.bundle.Records))
	}
	r, err := c.record(0, audit.IntentKind)
	if err != nil {
		return err
	}
	i, m := r.Intent, c.manifest
	late := i.At.Sub(m.Time)
	switch {
	case i.Action != audit.SignDocument:
		return fmt.Errorf("the record is of %s: want %s", i.Action, audit.SignDocument)
	case i.Subject != m.Subject():
		return errors.New("the record is about another manifest")
	case i.Address != m.Signer || i.Wallet != m.Wallet:
		return errors.New("the record is of another account or wallet than the manifest")
	case !strings.HasPrefix(i.Verdict, "allow: "):
		return fmt.Errorf("the record says that it was not allowed (%s)", i.Verdict)
	case late < -intentEarly || late > intentLate:
		return fmt.Errorf("the record is of %s, and the manifest of %s", i.At.Format(time.RFC3339), m.Time.Format(time.RFC3339))
	}
	c.id = i.ID
	return nil
}

// outcomes checks that the records of the two signatures are in the log, and
// about the digests of this manifest.
func (c *check) outcomes() error {
	for n, digest := range []common.Hash{c.manifest.JWSDigest(), c.manifest.EIP191Digest()} {
		r, err := c.record(n+1, audit.OutcomeKind)
		if err != nil {
			return err
		}
		what := []string{PartJWS, PartEIP191}[n]
		switch o := r.Outcome; {
		case o.Intent != c.id:
			return fmt.Errorf("the record of %s is of another intent", what)
		case o.Digest != digest:
			return fmt.Errorf("the record of %s is about another digest", what)
		case o.Error != "" || o.Hash != (common.Hash{}):
			return fmt.Errorf("the record of %s is not that of a signature on a document", what)
		}
	}
	return nil
}

// record is one of the bundle's, which is in the log.
func (c *check) record(n int, kind audit.Kind) (audit.Record, error) {
	p := c.bundle.Records[n]
	if p.Index >= c.tree.size || tlog.CheckRecord(p.Hashes, c.tree.size, c.tree.root, p.Index, tlog.RecordHash([]byte(p.Record))) != nil {
		return audit.Record{}, fmt.Errorf("record %d: its proof does not lead to the checkpoint's root: it is not in the log, or was changed", p.Index)
	}
	r, err := audit.ParseLine([]byte(p.Record))
	if err != nil || r.Kind != kind {
		return audit.Record{}, fmt.Errorf("record %d is no %s of the audit log", p.Index, kind)
	}
	return r, nil
}
