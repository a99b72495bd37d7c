// SPDX-License-Identifier: Apache-2.0

package logbook

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"runtime"
	"slices"
	"sync"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/hsmsigner/hsmsigner/internal/audit"
	"github.com/hsmsigner/hsmsigner/internal/store"
)

const (
	defaultGrace = 2 * time.Minute
	defaultLimit = 100
	// verifyRecords is about how many records are held in memory.
	verifyRecords = 8192
)

// examiner goes through a log, place by place, and gathers what is wrong.
type examiner struct {
	v      Verifier
	cfg    VerifyConfig
	report Report
	tree   tree
	lost   bool // records are missing: the tree cannot be known from there on
	kept   []Checkpoint
	agreed int64 // the largest kept checkpoint that the log agrees with

	// gone are records without a row, until the event of the prune comes that has
	// removed them: it can only stand after them.
	gone map[[store.PruneMarkSize]byte]absent
}

// absent is a record without a row.
type absent struct {
	place int64 // the first, and how many it has: a log may have a record twice
	times int64
	kind  audit.Kind
	id    string
}

func newExaminer(v Verifier, cfg VerifyConfig) (*examiner, error) {
	if cfg.Now.IsZero() {
		cfg.Now = time.Now()
	}
	if cfg.Grace <= 0 {
		cfg.Grace = defaultGrace
	}
	if cfg.Limit <= 0 {
		cfg.Limit = defaultLimit
	}
	x := &examiner{v: v, cfg: cfg, report: Report{Origin: v.name}, gone: make(map[[store.PruneMarkSize]byte]absent)}
	for i, text := range cfg.Kept {
		c, err := ParseCheckpoint(text, v)
		if err != nil {
			return nil, fmt.Errorf("kept checkpoint %d: %w", i+1, err)
		}
		x.kept = append(x.kept, c)
	}
	x.sortKept()
	x.compareKept()
	return x, nil
}

func (x *examiner) sortKept() {
	slices.SortStableFunc(x.kept, func(a, b Checkpoint) int { return cmp.Compare(a.Size, b.Size) })
}

// blame notes a problem. Of more than cfg.Limit, those with the lowest places
// are kept.
func (x *examiner) blame(p Problem) {
	x.report.Bad++
	list := append(x.report.Problems, p)
	if len(list) > 2*x.cfg.Limit {
		list = x.order(list)[:x.cfg.Limit]
	}
	x.report.Problems = list
}

// order sorts problems by place, those without one last.
func (x *examiner) order(list []Problem) []Problem {
	place := func(p Problem) int64 {
		if p.Index < 0 {
			return math.MaxInt64
		}
		return p.Index
	}
	slices.SortStableFunc(list, func(a, b Problem) int { return cmp.Compare(place(a), place(b)) })
	return list
}

// add takes the next record into account.
func (x *examiner) add(f finding) {
	if f.problem != nil {
		mark := store.PruneMark(f.entry)
		switch a, twice := x.gone[mark]; {
		case !f.gone:
			x.blame(*f.problem)
		case twice:
			a.times++
			x.gone[mark] = a
		default:
			x.gone[mark] = absent{f.problem.Index, 1, f.entry.Kind, f.entry.ID}
		}
	}
	x.prune(x.tree.size, f.removed)
	if f.adopted && !f.leaf.bad {
		x.report.Adopted++
	}
	if x.lost {
		x.tree.size++
	} else {
		x.tree.add(f.leaf)
	}
	x.report.Records++
	x.compareKept()
	if x.cfg.Progress != nil && x.report.Records%100_000 == 0 {
		x.cfg.Progress(x.report.Records)
	}
}

// prune takes what a prune whose event stands at that place has removed for
// removed, and no more.
func (x *examiner) prune(place int64, removed [][store.PruneMarkSize]byte) {
	for _, mark := range removed {
		if p, ok := x.gone[mark]; ok && p.place < place {
			delete(x.gone, mark)
			x.report.Pruned += p.times
		}
	}
}

// gap notes that the records up to place next are missing.
func (x *examiner) gap(next int64) {
	x.blame(Problem{Index: x.tree.size, What: Missing, Why: fmt.Sprintf("the log has no records from place %d to %d", x.tree.size, next-1)})
	x.tree.size, x.lost = next, true
}

// root is the root over the records so far, if it is known.
func (x *examiner) root() (h tlog.Hash, known bool) {
	if x.lost {
		return tlog.Hash{}, false
	}
	n := x.tree.root()
	return n.hash, !n.bad
}

// compareKept compares the kept checkpoints of the size that is reached.
func (x *examiner) compareKept() {
	for len(x.kept) > 0 && x.kept[0].Size <= x.tree.size {
		c := x.kept[0]
		x.kept = x.kept[1:]
		root, known := x.root()
		switch {
		case c.Size < x.tree.size || !known: // what makes it unknown has been told
		case root == c.Root:
			x.agreed = c.Size
			x.report.Kept++
		default:
			x.blame(Problem{
				Index: x.agreed, What: Forked, Size: c.Size,
				Why: fmt.Sprintf("of the %d records of a checkpoint kept elsewhere, some were others; the first of them is at place %d or later", c.Size, x.agreed),
			})
		}
	}
}

// checkpoint judges a stored checkpoint of the size that is reached.
func (x *examiner) checkpoint(row store.AuditCheckpoint) {
	c, err := ParseCheckpoint([]byte(row.Note), x.v)
	if err == nil && c.Size != row.Size {
		err = fmt.Errorf("it is of size %d", c.Size)
	}
	c.At = row.At
	root, known := x.root()
	switch {
	case err != nil:
		x.blame(Problem{Index: row.Size, What: Note, Size: row.Size, Why: "the checkpoint is not one that the log's key has signed: " + err.Error()})
		return
	case row.Size == x.tree.size && known && root != c.Root:
		x.blame(Problem{Index: row.Size, What: Note, Size: row.Size, Why: "the records before it are not those that the checkpoint was signed for"})
		return
	}
	x.report.Latest = c
}

// done is called at the end of the log.
func (x *examiner) done() Report {
	for _, a := range x.gone {
		x.blame(Problem{Index: a.place, What: Deleted, Kind: a.kind, ID: a.id, Why: deletedText(a.kind, a.id)})
	}
	for _, c := range x.kept {
		x.blame(Problem{
			Index: x.tree.size, What: Truncated, Size: c.Size,
			Why: fmt.Sprintf("a checkpoint kept elsewhere has %d records, the log %d", c.Size, x.tree.size),
		})
	}
	x.report.Problems = x.order(x.report.Problems)
	if len(x.report.Problems) > x.cfg.Limit {
		x.report.Problems = x.report.Problems[:x.cfg.Limit]
	}
	return x.report
}

// Verify looks at every record, row, hash and checkpoint, as they are when it
// begins. It streams: beside the records that were pruned, memory does not grow
// with the log. The error is that of reading; what is wrong with the log is in
// the report.
func (r *Reader) Verify(ctx context.Context, cfg VerifyConfig) (Report, error) {
	x, err := newExaminer(r.v, cfg)
	if err != nil {
		return Report{}, err
	}
	d := &dbExaminer{examiner: x, r: r}
	for _, step := range []func(context.Context) error{d.open, d.records, d.close, d.latePrunes, d.rows, d.pairs} {
		if err := step(ctx); err != nil {
			return Report{}, err
		}
	}
	return x.done(), nil
}

// dbExaminer goes through the log in a database.
type dbExaminer struct {
	*examiner
	r      *Reader
	end    int64 // of the log when it began
	head   store.AuditHead
	failed error // of reading a tile

	points    []store.AuditCheckpoint // read ahead
	lastPoint int64                   // size of the last that was read
	seen      bool                    // there was one
}

// open finds out where the log ends.
func (d *dbExaminer) open(ctx context.Context) error {
	for {
		head, err := d.r.db.AuditHead(ctx)
		if errors.Is(err, store.ErrNotFound) {
			head, err = store.AuditHead{Began: -1}, nil
		}
		if err != nil {
			return err
		}
		last, err := d.r.db.AuditBatchLast(ctx)
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return err
		}
		again, err := d.r.db.AuditHead(ctx)
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return err
		}
		if err == nil && again.Size != head.Size {
			continue // it is growing
		}
		d.head, d.end = head, math.MaxInt64
		if view := viewBatch(last); err == nil && last.First+int64(len(view.entries)) == head.Size {
			d.end = head.Size // as it should be; what comes later is not looked at
		}
		break
	}
	d.tree.full = func(level int, number int64, hashes []node) { d.tile(ctx, level, number, hashes, false) }
	return nil
}

// records goes through the batches.
func (d *dbExaminer) records(ctx context.Context) error {
	next, limit := int64(math.MinInt64), 16
	for {
		batches, err := d.r.db.AuditBatches(ctx, next, limit)
		if err != nil {
			return err
		}
		views, findings, err := d.judgeAll(ctx, batches)
		if err != nil {
			return err
		}
		n := 0
		for i, view := range views {
			n += len(findings[i])
			if view.row.First >= d.end {
				return d.failed
			}
			if err := d.batch(ctx, view, findings[i]); err != nil {
				return err
			}
			if view.row.First == math.MaxInt64 {
				return d.failed
			}
			next = view.row.First + 1
		}
		if len(batches) < limit || next == math.MinInt64 {
			return d.failed
		}
		limit = max(4, min(1024, verifyRecords*len(batches)/max(n, 1)))
	}
}

// judgeAll judges some batches, which is the most of the work, on all processors.
func (d *dbExaminer) judgeAll(ctx context.Context, batches []store.AuditBatch) ([]*batchView, [][]finding, error) {
	views := make([]*batchView, len(batches))
	var entries []audit.Entry
	for i, row := range batches {
		views[i] = viewBatch(row)
		entries = append(entries, views[i].entries...)
	}
	rows, err := d.r.rows(ctx, entries)
	if err != nil {
		return nil, nil, err
	}
	findings := make([][]finding, len(views))
	work := make(chan int)
	var wg sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for i := range work {
				findings[i] = views[i].judge(d.v)
			}
		})
	}
	for i, view := range views {
		view.rows, rows = rows[:len(view.entries)], rows[len(view.entries):]
		work <- i
	}
	close(work)
	wg.Wait()
	return views, findings, nil
}

// batch takes a batch into account, and the checkpoint that belongs to it.
func (d *dbExaminer) batch(ctx context.Context, view *batchView, findings []finding) error {
	row := view.row
	switch {
	case row.First < d.tree.size:
		d.blame(Problem{Index: -1, What: Damaged, Why: fmt.Sprintf("a batch claims the places from %d on, which belong to others", row.First)})
		return nil
	case row.First == math.MaxInt64:
		d.blame(Problem{Index: -1, What: Damaged, Why: "a batch claims a place that is no number"})
		return nil
	case row.First > d.tree.size:
		d.gap(row.First)
	}
	if len(findings) == 0 {
		d.blame(Problem{Index: row.First, What: Damaged, Why: "the batch at this place has no records"})
		return nil
	}
	for _, f := range findings {
		d.add(f)
	}
	if view.after != nil {
		d.blame(*view.after)
	}
	return d.pass(ctx, d.tree.size)
}

// pass judges the stored checkpoints up to the end of a batch.
func (d *dbExaminer) pass(ctx context.Context, size int64) error {
	for {
		c, ok, err := d.point(ctx)
		if err != nil {
			return err
		}
		if !ok || c.Size > size {
			d.blame(Problem{Index: size, What: Unsealed, Size: size, Why: fmt.Sprintf("the checkpoint of size %d is gone", size)})
			return nil
		}
		d.points = d.points[1:]
		d.checkpoint(c)
		if c.Size == size {
			return nil
		}
	}
}

// point is the next stored checkpoint.
func (d *dbExaminer) point(ctx context.Context) (store.AuditCheckpoint, bool, error) {
	if len(d.points) == 0 {
		from := int64(math.MinInt64)
		if d.seen {
			if d.lastPoint == math.MaxInt64 {
				return store.AuditCheckpoint{}, false, nil
			}
			from = d.lastPoint + 1
		}
		var err error
		if d.points, err = d.r.db.AuditCheckpoints(ctx, from, 512); err != nil || len(d.points) == 0 {
			return store.AuditCheckpoint{}, false, err
		}
		d.lastPoint, d.seen = d.points[len(d.points)-1].Size, true
	}
	return d.points[0], true, nil
}
