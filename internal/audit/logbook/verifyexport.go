// SPDX-License-Identifier: Apache-2.0

package logbook

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/bits"
	"slices"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/hsmsigner/hsmsigner/internal/audit"
	"github.com/hsmsigner/hsmsigner/internal/store"
)

// maxExportLine bounds a line of an export: a record with the largest detail.
const maxExportLine = 16 << 20

// VerifyExport judges a file that Export has written. It streams: beside the
// intents that have no outcome yet and the records that were pruned, memory does
// not grow with the file. Rows is 0
// in its report. Only the file's end can be gone unnoticed, unless a kept
// checkpoint has it; of an export that begins in the middle of the log, what came
// before is taken as the kept checkpoints say.
func VerifyExport(ctx context.Context, file io.Reader, v Verifier, cfg VerifyConfig) (Report, error) {
	kept := cfg.Kept
	cfg.Kept = nil
	x, err := newExaminer(v, cfg)
	if err != nil {
		return Report{}, err
	}
	f := &fileExaminer{examiner: x, in: bufio.NewReaderSize(file, 1<<16), open: make(map[string]struct{})}
	if err := f.begin(kept); err != nil {
		return Report{}, err
	}
	if err := f.run(ctx); err != nil {
		return Report{}, err
	}
	open := slices.Sorted(maps.Keys(f.open)) // ids of intents are in the order of time
	x.report.Unanswered = int64(len(open))
	x.report.UnansweredIDs = open[:min(len(open), x.cfg.Limit)]
	return x.done(), nil
}

// fileExaminer goes through an export.
type fileExaminer struct {
	*examiner
	in    *bufio.Reader
	ahead []byte              // a line that was read and not used
	open  map[string]struct{} // intents without an outcome so far
	last  int64               // size of the last checkpoint
	stray bool                // lines that belong nowhere have been told of
}

// next reads a line, without its end; io.EOF after the last one.
func (f *fileExaminer) next() ([]byte, error) {
	if f.ahead != nil {
		line := f.ahead
		f.ahead = nil
		return line, nil
	}
	var line []byte
	for {
		part, err := f.in.ReadSlice('\n')
		line = append(line, part...)
		switch {
		case errors.Is(err, bufio.ErrBufferFull) && len(line) < maxExportLine:
			continue
		case errors.Is(err, bufio.ErrBufferFull):
			return nil, fmt.Errorf("audit export: a line is longer than %d bytes", maxExportLine)
		case errors.Is(err, io.EOF) && len(line) > 0:
			return line, nil // the line's end was cut off, which its hash will show
		case err != nil:
			return nil, err
		}
		return line[:len(line)-1], nil
	}
}

// own reads a line of the export itself; false if it is a record's, or anything
// else.
func own(line []byte) (exportLine, bool) {
	var e exportLine
	d := json.NewDecoder(bytes.NewReader(line))
	d.DisallowUnknownFields()
	if d.Decode(&e) != nil {
		return e, false
	}
	var again bytes.Buffer
	enc := json.NewEncoder(&again)
	enc.SetEscapeHTML(false)
	if enc.Encode(e) != nil || !bytes.Equal(bytes.TrimSuffix(again.Bytes(), []byte("\n")), line) {
		return e, false // not as we write it: altered
	}
	switch e.Kind {
	case exportKind, sealKind, prunedKind, checkpointKind, pruneKind:
		return e, true
	}
	return e, false
}

// begin reads the first line.
func (f *fileExaminer) begin(kept [][]byte) error {
	line, err := f.next()
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("audit export: %w", err)
	}
	e, ok := own(line)
	if !ok || e.Kind != exportKind || e.Version != 1 {
		return errors.New("audit export: the first line is not that of an export")
	}
	if e.Origin != f.v.name {
		return fmt.Errorf("audit export: of the log %q, the key is that of %q", e.Origin, f.v.name)
	}
	if e.First < 0 || bits.OnesCount64(uint64(e.First)) != len(e.Edge) {
		return fmt.Errorf("audit export: the first line has %d hashes of the tree before place %d", len(e.Edge), e.First)
	}
	f.tree.size, f.last, f.report.Start = e.First, e.First, e.First
	for _, h := range e.Edge {
		f.tree.peaks = append(f.tree.peaks, node{hash: h})
	}
	for i, text := range kept {
		c, err := ParseCheckpoint(text, f.v)
		if err != nil {
			return fmt.Errorf("kept checkpoint %d: %w", i+1, err)
		}
		if c.Size < e.First {
			continue
		}
		f.kept = append(f.kept, c)
	}
	f.sortKept()
	f.compareKept()
	return nil
}

// run reads seals, the records after each, and checkpoints.
func (f *fileExaminer) run(ctx context.Context) error {
	for ctx.Err() == nil {
		line, err := f.next()
		if errors.Is(err, io.EOF) {
			return f.finish()
		}
		if err != nil {
			return fmt.Errorf("audit export: %w", err)
		}
		e, ok := own(line)
		switch {
		case ok && e.Kind == sealKind:
			if err := f.seal(e); err != nil {
				return err
			}
		case ok && e.Kind == checkpointKind:
			f.last = e.Size
			f.checkpoint(store.AuditCheckpoint{Size: e.Size, Note: e.Note})
		case ok && e.Kind == pruneKind:
			f.latePrune(e)
		case !f.stray:
			f.stray = true
			f.blame(Problem{Index: f.tree.size, What: Forged, Why: fmt.Sprintf("nothing in the file vouches for the line at this place: %.60q", line)})
		}
	}
	return ctx.Err()
}

// latePrune believes what a prune after the end of the file has removed if the
// log has its event.
func (f *fileExaminer) latePrune(e exportLine) {
	p := Proof{Line: []byte(e.Line), Index: e.First, Hashes: e.Hashes, Checkpoint: Checkpoint{Note: []byte(e.Note)}}
	if err := p.Check(f.v); err != nil {
		f.blame(Problem{Index: f.tree.size, What: Forged, Why: fmt.Sprintf("the file says that a prune stands at place %d, and does not show it: %v", e.First, err)})
		return
	}
	f.prune(e.First, removedBy(audit.EventKind, p.Line))
}

// seal judges the records that follow a seal.
func (f *fileExaminer) seal(e exportLine) error {
	if e.Count < 1 || e.Count > groupSize {
		f.stray = true // so are the records after it
		f.blame(Problem{Index: f.tree.size, What: Forged, Why: fmt.Sprintf("here stands a seal of %d records, of which each has 1 to %d", e.Count, groupSize)})
		return nil
	}
	g := group{adopted: e.Adopted, paths: make([][]tlog.Hash, e.Count)}
	copy(g.signature[:], e.Signature)
	paths := e.Paths
	for i := range g.paths {
		n := pathLen(i, len(g.paths)) * tlog.HashSize
		if len(paths) < n {
			break
		}
		g.paths[i], paths = parseHashes(paths[:n]), paths[n:]
	}
	switch {
	case e.First < f.tree.size:
		f.stray = true // so are the records after it
		f.blame(Problem{Index: f.tree.size, What: Reordered, Why: fmt.Sprintf("here stands the seal of the records from place %d on", e.First)})
		return nil
	case e.First > f.tree.size:
		f.gap(e.First)
	}
	f.stray = false
	j := groupJudge{v: f.v, first: f.tree.size, at: e.At, g: &g}
	for i := range g.paths {
		line, err := f.next()
		if err != nil && !errors.Is(err, io.EOF) {
			return fmt.Errorf("audit export: %w", err)
		}
		own, ok := own(line)
		if err != nil || ok && own.Kind != prunedKind {
			f.add(finding{leaf: node{bad: true}, problem: &Problem{Index: f.tree.size, What: Missing, Why: "the file has no record for this place"}})
			if err == nil {
				f.ahead = line
			}
			return nil
		}
		f.record(&j, i, line, own, ok)
	}
	return nil
}

// record judges one record, or what says that it was pruned.
func (f *fileExaminer) record(j *groupJudge, i int, line []byte, e exportLine, pruned bool) {
	entry, row := audit.Entry{}, audit.Stored{}
	if pruned {
		hash, err := tlog.ParseHash(e.Hash)
		kind, kerr := audit.ParseKind(e.Record)
		if err == nil && kerr == nil {
			entry = audit.Entry{Kind: kind, ID: e.ID, Hash: hash}
		}
	} else {
		entry = audit.Entry{Kind: audit.EventKind, Hash: audit.HashLine(line)}
		if r, err := audit.ParseLine(line); err == nil {
			entry.Kind, entry.ID = r.Kind, r.ID()
			f.pair(r)
		}
		row = audit.Stored{Kind: entry.Kind, ID: entry.ID, Line: line}
	}
	if j.g.paths[i] == nil && len(j.g.paths) > 1 {
		j.g.paths[i] = make([]tlog.Hash, pathLen(i, len(j.g.paths))) // it leads nowhere
	}
	f.add(judgeRecord(j, i, entry, row))
}

// pair remembers intents until their outcome comes.
func (f *fileExaminer) pair(r audit.Record) {
	switch r.Kind {
	case audit.IntentKind:
		if len(r.Intent.Verdict) >= 5 && r.Intent.Verdict[:5] == "allow" && r.Intent.At.Before(f.cfg.Now.Add(-f.cfg.Grace)) {
			f.open[r.Intent.ID] = struct{}{}
		}
	case audit.OutcomeKind:
		delete(f.open, r.Outcome.Intent)
	}
}

// finish judges the end of the file.
func (f *fileExaminer) finish() error {
	if f.last != f.tree.size {
		f.blame(Problem{Index: f.tree.size, What: Unsealed, Size: f.tree.size, Why: fmt.Sprintf("the file ends without a checkpoint of size %d", f.tree.size)})
	}
	return nil
}
