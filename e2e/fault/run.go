// SPDX-License-Identifier: Apache-2.0

package fault

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/ethereum/go-ethereum/common"

	"github.com/hsmsigner/hsmsigner/internal/faultpoint"
)

// Options of a run.
type Options struct {
	Postgres *Server // the server to make a database on; nil for SQLite
	Replicas int     // default 1; more need PostgreSQL
	Senders  int     // default 3
	Load     Load
	Within   time.Duration // the time in which faults begin; default 1.2 s
	Settle   time.Duration // how long after the faults everything may take to become final; default 30 s
	Schedule *Schedule     // in place of the one that the seed decides
	Timeout  time.Duration // rpc.timeout of the daemons; default 5 s
	Wallet   string        // more YAML of the wallet
	Extra    string        // more YAML at the top level
	Plain    bool          // nothing between daemon and node, and no record of fault points: for speed
	// Keep keeps the folder of a run without violation too.
	Keep bool
}

// Report is what came of a run.
type Report struct {
	Seed       uint64
	Schedule   Schedule
	Violations []Violation
	Took       time.Duration
	Settled    time.Duration  // from the last answer until everything was final
	Hits       map[string]int // fault points reached
	Struck     map[string]int // faults that happened, by kind
	Requests   int
	Answered   int // with a hash
	Refused    int // for good
	Unknown    int // without key and without answer
	Mined      int
	Starts     int
	Dir        string // kept; empty if there was nothing to keep it for
}

// Run is one run: daemons, load, faults, peace, judgement. An error means that
// the run could not be made; what the daemons did wrong is in the report.
func (r *Rig) Run(ctx context.Context, seed uint64, o Options) (*Report, error) {
	o = o.withDefaults()
	c, err := r.setUp(ctx, seed, o)
	if err != nil {
		return nil, err
	}
	rep, err := c.run(ctx)
	err = errors.Join(err, c.tearDown(rep, err))
	return rep, err
}

func (o Options) withDefaults() Options {
	o.Replicas = max(1, o.Replicas)
	if o.Senders == 0 {
		o.Senders = 3
	}
	def := func(v *time.Duration, d time.Duration) {
		if *v == 0 {
			*v = d
		}
	}
	def(&o.Within, 1200*time.Millisecond)
	def(&o.Settle, 2*time.Minute)
	def(&o.Timeout, 5*time.Second)
	return o
}

// Case is a set of daemons at work in front of the rig's chain.
type Case struct {
	rig      *Rig
	o        Options
	seed     uint64
	dir      string
	data     string // of SQLite
	mounted  bool
	Senders  []common.Address
	Replicas []*Replica
	schedule Schedule
	dsn      string // of PostgreSQL, without any proxy
	rows     *sql.DB
	from     uint64 // the block before the first of this run
	begun    time.Time

	mu     sync.Mutex
	struck map[string]int
}

func (r *Rig) setUp(ctx context.Context, seed uint64, o Options) (c *Case, err error) {
	c = &Case{rig: r, o: o, seed: seed, struck: map[string]int{}, begun: time.Now()}
	if c.dir, err = os.MkdirTemp(r.Dir, fmt.Sprintf("run-%d-", seed)); err != nil {
		return nil, fmt.Errorf("fault: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.tearDown(nil, err))
		}
	}()
	c.data = filepath.Join(c.dir, "data")
	if o.Schedule != nil {
		c.schedule = *o.Schedule
		c.schedule.Seed = seed
	} else {
		c.schedule = NewSchedule(seed, o.Replicas, o.Postgres != nil, r.disk, o.Within)
	}
	if err := os.WriteFile(filepath.Join(c.dir, "schedule"), []byte(c.schedule.String()), 0o600); err != nil {
		return c, fmt.Errorf("fault: %w", err)
	}
	for _, e := range c.schedule.Events {
		if e.Kind == EventDiskFull && !c.mounted {
			if err := mount(c.data); err != nil {
				return c, err
			}
			c.mounted = true
		}
	}
	var password string
	if c.Senders, password, err = newKeys(c.dir, o.Senders); err != nil {
		return c, err
	}
	if c.from, err = r.Eth.BlockNumber(ctx); err != nil {
		return c, fmt.Errorf("fault: head: %w", err)
	}
	funded := make(chan error, 1)
	go func() { funded <- r.fund(ctx, c.Senders...) }()
	if o.Postgres != nil {
		if c.dsn, err = o.Postgres.NewDatabase(ctx); err != nil {
			return c, errors.Join(err, <-funded)
		}
	}
	for i := range o.Replicas {
		if err := c.addReplica(i, password); err != nil {
			return c, errors.Join(err, <-funded)
		}
	}
	return c, <-funded
}

func (c *Case) addReplica(i int, password string) (err error) {
	rep := &Replica{Name: fmt.Sprintf("replica-%d", i), dir: c.dir, bin: c.rig.Bin.Hsmsigner}
	c.Replicas = append(c.Replicas, rep)
	if rep.Node, err = NewNodeProxy(c.rig.URL, confirmations-1, c.seed*8+uint64(i)); err != nil {
		return err
	}
	rep.plain = c.o.Plain
	files := runFiles{node: rep.Node.URL, data: c.data, password: password, timeout: c.o.Timeout, wallet: c.o.Wallet, extra: c.o.Extra, lease: time.Second}
	if c.o.Plain {
		files.node = c.rig.URL
	}
	if c.o.Postgres != nil {
		if rep.Link, err = c.o.Postgres.link(); err != nil {
			return err
		}
		if files.postgres, err = through(c.dsn, rep.Link); err != nil {
			return err
		}
		files.data = filepath.Join(c.dir, rep.Name+".data")
	}
	var addresses [3]string
	for i := range addresses {
		if addresses[i], err = freeAddress(); err != nil {
			return err
		}
	}
	files.peer = addresses[2]
	rep.URL, rep.admin = "http://"+addresses[0], "http://"+addresses[1]
	text := rep.configFile(files, addresses[0], addresses[1])
	if err := os.WriteFile(rep.path(".yaml"), []byte(text), 0o600); err != nil {
		return fmt.Errorf("fault: %w", err)
	}
	return nil
}

// start starts all daemons and waits until they are ready. Fault points that
// strike during the start do so.
func (c *Case) start(ctx context.Context) error {
	for i, r := range c.Replicas {
		var rules []faultpoint.Rule
		if i < len(c.schedule.Rules) {
			rules = c.schedule.Rules[i]
		}
		if err := r.Start(rules, c.schedule.Nap); err != nil {
			return err
		}
	}
	for _, r := range c.Replicas {
		if err := r.WaitReady(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (c *Case) run(ctx context.Context) (*Report, error) {
	rep := &Report{Seed: c.seed, Schedule: c.schedule}
	if err := c.start(ctx); err != nil {
		return rep, err
	}
	faults, quit := context.WithCancel(ctx)
	defer quit()
	var inject sync.WaitGroup
	failures := make(chan error, len(c.schedule.Events))
	for _, e := range c.schedule.Events {
		inject.Go(func() { failures <- c.inject(faults, e) })
	}
	evidence := Evidence{Senders: c.Senders}
	evidence.Requests = send(ctx, c.o.Load, c.seed, c.urls(), c.Senders)
	inject.Wait()
	close(failures)
	for err := range failures {
		if err != nil {
			return rep, err
		}
	}
	answered := time.Now()
	if err := c.settle(ctx); err != nil {
		return rep, err
	}
	rep.Settled = time.Since(answered)
	if err := c.gather(ctx, &evidence); err != nil {
		return rep, err
	}
	rep.Violations = Judge(evidence)
	c.count(rep, evidence)
	if !c.schedule.MayRefuse() {
		rep.Violations = append(rep.Violations, groundless(evidence.Requests)...)
	}
	rep.Took = time.Since(c.begun)
	return rep, nil
}

// groundless lists refusals for which the schedule gives no reason. That nothing
// was sent because the caller's time was up is one.
func groundless(requests []*Request) (found []Violation) {
	for _, r := range requests {
		for _, f := range r.Failures {
			if !strings.Contains(f, "given up unsent") {
				found = append(found, Violation{"nobody is refused without a reason", fmt.Sprintf("request %d (key %q): %s", r.Index, r.Key, f)})
			}
		}
	}
	return found
}

// gather reads what the chain, the proxies and the database know.
func (c *Case) gather(ctx context.Context, e *Evidence) error {
	for _, r := range c.Replicas {
		e.Wire = append(e.Wire, r.Node.Shown()...)
	}
	return errors.Join(e.readChain(ctx, c.rig.RPC, c.from), e.readRows(ctx, c.rows))
}

func (c *Case) urls() []string {
	var urls []string
	for _, r := range c.Replicas {
		urls = append(urls, r.URL)
	}
	return urls
}

// settle waits until no row is open, or long enough to call it a violation.
func (c *Case) settle(ctx context.Context) (err error) {
	for _, r := range c.Replicas {
		r.Node.Heal()
		if r.Link != nil {
			r.Link.Set(LinkUp)
		}
		if err := r.Rules(); err != nil {
			return err
		}
	}
	if c.rows == nil {
		if c.rows, err = openRows(c.data, c.dsn); err != nil {
			return err
		}
	}
	for end := time.Now().Add(c.o.Settle); time.Now().Before(end) && ctx.Err() == nil; sleep(ctx, 20*time.Millisecond) {
		if n, err := unfinished(ctx, c.rows); err == nil && n == 0 {
			return nil
		}
	}
	return ctx.Err()
}

func (c *Case) count(rep *Report, e Evidence) {
	rep.Requests, rep.Mined = len(e.Requests), len(e.Chain)
	for _, r := range e.Requests {
		switch {
		case len(r.Hashes) > 0:
			rep.Answered++
		case len(r.Failures) > 0:
			rep.Refused++
		default:
			rep.Unknown++
		}
	}
	rep.Hits, rep.Struck = map[string]int{}, map[string]int{}
	c.mu.Lock()
	for k, n := range c.struck {
		rep.Struck[k] += n
	}
	c.mu.Unlock()
	for _, r := range c.Replicas {
		for f, n := range r.Node.Struck() {
			rep.Struck[string(f)] += n
		}
		r.mu.Lock()
		rep.Starts += r.starts
		r.mu.Unlock()
		text, err := os.ReadFile(r.path(".hits"))
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(text)) {
			point, action, acted := strings.Cut(strings.TrimSpace(line), " ")
			if acted {
				rep.Struck["at "+point+": "+action]++
			} else {
				rep.Hits[point]++
			}
		}
	}
}

// tearDown ends everything. The folder stays if there is something to see in it.
func (c *Case) tearDown(rep *Report, failed error) error {
	var errs []error
	for _, r := range c.Replicas {
		r.Down(false)
		if r.Node != nil {
			r.Node.Close()
		}
		if r.Link != nil {
			r.Link.Close()
		}
	}
	if c.rows != nil {
		errs = append(errs, c.rows.Close())
	}
	keep := failed != nil || c.o.Keep || rep == nil || len(rep.Violations) > 0
	if c.mounted {
		if keep {
			errs = append(errs, os.CopyFS(filepath.Join(c.dir, "data-kept"), os.DirFS(c.data)))
		}
		errs = append(errs, unmount(c.data))
	}
	if c.dsn != "" && !keep {
		errs = append(errs, c.o.Postgres.DropDatabase(context.Background(), c.dsn))
	}
	if keep {
		if rep != nil {
			rep.Dir = c.dir
			var b strings.Builder
			for _, v := range rep.Violations {
				b.WriteString(v.String() + "\n")
			}
			errs = append(errs, os.WriteFile(filepath.Join(c.dir, "violations"), []byte(b.String()), 0o600))
		}
	} else {
		errs = append(errs, os.RemoveAll(c.dir))
	}
	return errors.Join(errs...)
}
