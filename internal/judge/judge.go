// SPDX-License-Identifier: Apache-2.0

// Package judge answers for [policy.Policy]: it reads the rules that apply to a
// request, asks the people whom a rule wants asked, and takes what is allowed off
// the limits.
//
// Rules stand in the operator's config file ([Config.Declared]) and, by scope, in
// table policy. Everything that applies counts: of each document that has rules,
// one rule must allow, none may deny, and every limit must hold. Where there is no
// document at all, everything is allowed. A change of table policy is in force on
// every replica within a second. A document that cannot be read, whose row was
// changed by somebody who does not know the key of the rows' macs, or that is gone,
// refuses everything of its scope. Where the rules cannot be looked at, nothing is
// judged: the caller waits, until it gives up.
//
// What was allowed has a clearance. With it the same thing is judged again just
// before it is signed: by the rules as they are then, all anew; of the limits only
// what the clearance does not have. As long as the rules have not changed that
// costs no access to the database.
//
// It never signs, and never writes to the audit trail: who asks for a verdict
// does.
package judge

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/ethereum/go-ethereum/common"

	"github.com/hsmsigner/hsmsigner/internal/allowance"
	"github.com/hsmsigner/hsmsigner/internal/policy"
	"github.com/hsmsigner/hsmsigner/internal/store"
)

// Rows are the policies that people have set, and the counts by which their
// changes are seen; [*store.DB] has them.
type Rows interface {
	ActivePolicies(ctx context.Context) ([]store.Policy, error)
	Changes(ctx context.Context) (map[string]int64, error)
}

// Approvals are the people whom rules of effect ask want asked; package approval
// has them. Its methods are safe for concurrent use.
type Approvals interface {
	// Find looks for approvals of r by all of asks. Exactly one of granted, pending
	// and err is set: granted if they are there and unused; pending, perhaps of a
	// request for approval made just now, if not. A *policy.DeniedError as err says
	// that the approvers have refused, or may not be asked again.
	//
	// It is asked once rules and limits let r through, and before anything is taken
	// off a limit.
	Find(ctx context.Context, r policy.Request, asks []policy.Ask) (granted *Grant, pending *policy.PendingError, err error)
	// Waits looks for an open request that r repeats, or for the approved one that
	// brings r, where no rule asks about r: sent beside it, r would be sent twice.
	// Nil if there is none. A *policy.DeniedError says that what brings r has ended.
	Waits(ctx context.Context, r policy.Request) (*Grant, error)
	// Use takes a granted approval for the request with that id (policy.Request.ID).
	// It is asked after Find or Waits, when the limits have been taken from, and
	// reports false if the approval has been used meanwhile, has expired, or was
	// withdrawn. For a transaction that is to be sent it fills in grant.Uses instead,
	// which takes it in the commit of the transaction's row.
	Use(ctx context.Context, grant *Grant, id string) (bool, error)
	// Holds reports whether the approval with that id, which was used for the
	// request with the id used, has all that asks want: a *policy.DeniedError says
	// what it lacks. Any other error says nothing of it.
	Holds(ctx context.Context, id, used string, asks []policy.Ask) error
}

// Grant is an approval that is there.
type Grant struct {
	ID     string
	Ceased bool   // it may be pending: no rule asks any more
	Uses   string // policy.Verdict.Uses
}

// Config is what a judge is made of.
type Config struct {
	Rows     Rows              // nil: there are no policies but the declared ones
	Declared []Declared        // by [Declare]
	Limits   *allowance.Ledger // required
	// Approvals may be nil: what rules want asked for is then refused.
	Approvals Approvals
	// MAC is the keyed hash over [store.Policy.Bytes]; required with Rows.
	MAC    func([]byte) []byte
	Poll   time.Duration    // between two looks at the counts; default 500 ms
	Now    func() time.Time // for the time windows of rules; nil: time.Now
	Logger *slog.Logger     // nil discards
}

const (
	defaultPoll = 500 * time.Millisecond
	// fresh is how old what was seen of the rules may be.
	fresh = time.Second
	// lookTimeout bounds one look at the rules.
	lookTimeout = time.Second
	// pause is between two tries to reach the database.
	pause = 200 * time.Millisecond
	// sure is how long after it was given a clearance is believed without a look:
	// well below what the sweep of package allowance waits for what is not stored.
	sure = 8 * time.Minute
)

// Judge is safe for concurrent use.
type Judge struct {
	cfg   Config
	rules rules
}

var _ policy.Policy = (*Judge)(nil)

// New makes a judge. It looks at the rules at the first request.
func New(cfg Config) *Judge {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Poll <= 0 {
		cfg.Poll = defaultPoll
	}
	return &Judge{cfg: cfg, rules: newRules(cfg)}
}

// Run looks for changes of the rules, until ctx ends. The ledger has a Run of its
// own.
func (j *Judge) Run(ctx context.Context) {
	tick := time.NewTicker(j.cfg.Poll)
	defer tick.Stop()
	for {
		if err := j.rules.look(ctx); err != nil && ctx.Err() == nil {
			j.cfg.Logger.Warn("the policies could not be looked at; nothing is signed until they can", "err", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// Reload looks for changes of the rules now: whoever has made one calls it, so
// that it is in force here at once.
func (j *Judge) Reload(ctx context.Context) error { return j.rules.look(ctx) }

// Judge is policy.Policy.
func (j *Judge) Judge(ctx context.Context, r policy.Request) (policy.Verdict, error) {
	set, err := j.rules.current(ctx)
	if err != nil {
		return policy.Verdict{}, err
	}
	rules, problem := set.applying(r)
	if problem != nil {
		return policy.Verdict{Rule: problem.scope, Reason: problem.text}, nil
	}
	d := policy.JudgeAll(rules, r, j.cfg.Now())
	switch {
	case d.Effect == policy.EffectDeny:
		return policy.Verdict{Rule: d.Rule, Reason: d.Reason}, nil
	case r.Signing:
		return j.again(ctx, r, d, set.revision)
	}
	return j.first(ctx, r, d, set)
}

// first is the verdict at acceptance, or on what is signed at once.
func (j *Judge) first(ctx context.Context, r policy.Request, d policy.Decision, set *set) (policy.Verdict, error) {
	c := allowance.Clearance{Revision: set.revision, At: time.Now().Unix()}
	var grant *Grant
	if d.Effect == policy.EffectAsk {
		refused, found, err := j.ask(ctx, r, d)
		if refused != nil || err != nil {
			return or(refused), err
		}
		grant, c.Approval, c.Asked = found, found.ID, asked(d.Asks)
	} else if j.cfg.Approvals != nil && !set.quiet {
		waits, err := j.cfg.Approvals.Waits(ctx, r)
		var denied *policy.DeniedError
		if errors.As(err, &denied) {
			return denied.Verdict, nil
		}
		if err != nil {
			return policy.Verdict{}, err
		}
		grant = waits
	}
	receipt, err := j.cfg.Limits.Reserve(ctx, r.ID, d.Takes)
	if err != nil {
		return limited(err)
	}
	c.Receipt = receipt
	if grant != nil {
		used, err := j.cfg.Approvals.Use(ctx, grant, r.ID)
		if !used || err != nil {
			j.cfg.Limits.Settle(r.ID, receipt, policy.Unused)
			return policy.Verdict{Rule: d.Rule, Reason: "the approval " + grant.ID + " was used for another request meanwhile, or has expired"}, err
		}
	}
	v := policy.Verdict{Allow: true, Rule: d.Rule, Clearance: c.String()}
	if grant != nil {
		v.Uses = grant.Uses
	}
	return v, nil
}

// ask looks for people's approval. Nobody is asked for what a limit refuses
// anyway.
func (j *Judge) ask(ctx context.Context, r policy.Request, d policy.Decision) (*policy.Verdict, *Grant, error) {
	if j.cfg.Approvals == nil {
		return &policy.Verdict{Rule: d.Rule, Reason: "it has to be approved, and approvals are not available here"}, nil, nil
	}
	looks, err := j.cfg.Limits.Look(ctx, d.Takes)
	if err != nil {
		return nil, nil, err
	}
	for _, look := range looks {
		if look.Err != nil {
			v, err := limited(look.Err)
			return &v, nil, err
		}
	}
	grant, pending, err := j.cfg.Approvals.Find(ctx, r, d.Asks)
	var denied *policy.DeniedError
	switch {
	case errors.As(err, &denied):
		return &denied.Verdict, nil, nil
	case err != nil:
		return nil, nil, err
	case pending != nil:
		return &policy.Verdict{Rule: d.Rule, Reason: "it waits for approval"}, nil, pending
	case grant == nil:
		return nil, nil, errors.New("judge: the approvals give neither an answer nor a reason")
	}
	return nil, grant, nil
}

// again is the verdict just before signing.
func (j *Judge) again(ctx context.Context, r policy.Request, d policy.Decision, revision string) (policy.Verdict, error) {
	c, err := allowance.ParseClearance(r.Clearance)
	if err != nil {
		return policy.Verdict{Rule: d.Rule, Reason: "what was stored of the first verdict cannot be read"}, nil
	}
	allowed := policy.Verdict{Allow: true, Rule: d.Rule, Clearance: r.Clearance}
	for _, a := range d.Asks {
		if slices.Contains(c.Asked, askedOf(a)) {
			continue
		}
		if refused, err := j.holds(ctx, r, c.Approval, d.Asks); refused != nil || err != nil {
			return or(refused), err
		}
		c.Asked = asked(d.Asks) // not to be looked at again for every further signature
		allowed.Clearance = c.String()
		break
	}
	age := time.Since(time.Unix(c.At, 0))
	if c.Revision == revision && -sure < age && age < sure && c.Receipt.Covers(d.Takes) {
		return allowed, nil
	}
	for {
		// It was promised to be sent: a database that is away is waited for.
		err := j.cfg.Limits.Renew(ctx, r.ID, d.Takes, c.Receipt)
		var exceeded *allowance.ExceededError
		switch {
		case err == nil:
			c.Revision, c.At = revision, time.Now().Unix() // not to be looked at again for every further signature
			allowed.Clearance = c.String()
			return allowed, nil
		case errors.As(err, &exceeded), errors.Is(err, allowance.ErrDamaged):
			return limited(err)
		case !sleep(ctx, pause):
			return policy.Verdict{}, err
		}
	}
}

// holds compares the approval by which something was accepted with what the rules
// ask for by now. A database that is away is waited for.
func (j *Judge) holds(ctx context.Context, r policy.Request, id string, asks []policy.Ask) (*policy.Verdict, error) {
	if id == "" || j.cfg.Approvals == nil {
		return &policy.Verdict{Rule: asks[0].Rule, Reason: "the rule wants approval by now, which it did not when this was accepted"}, nil
	}
	for {
		err := j.cfg.Approvals.Holds(ctx, id, r.ID, asks)
		var denied *policy.DeniedError
		switch {
		case err == nil:
			return nil, nil
		case errors.As(err, &denied):
			return &denied.Verdict, nil
		case !sleep(ctx, pause):
			return nil, err
		}
	}
}

// asked is how a clearance remembers what was asked for.
func asked(asks []policy.Ask) []string {
	all := make([]string, len(asks))
	for i, a := range asks {
		all[i] = askedOf(a)
	}
	return all
}

// askedOf tells what a rule asks for from anything else that it may ask for later:
// of how many, and of whom. How long they have is no part of it.
func askedOf(a policy.Ask) string {
	who := a.Approvers
	who.Names, who.Roles, who.Addresses = slices.Clone(who.Names), slices.Clone(who.Roles), slices.Clone(who.Addresses)
	slices.Sort(who.Names)
	slices.Sort(who.Roles)
	slices.SortFunc(who.Addresses, common.Address.Cmp)
	h := sha256.New()
	fmt.Fprintf(h, "%d %q %q %x", a.Needed, who.Names, who.Roles, who.Addresses)
	return a.Rule + "#" + hex.EncodeToString(h.Sum(nil)[:12])
}

// Settle is policy.Policy.
func (j *Judge) Settle(id, clearance string, use policy.Use) {
	if use == policy.Stored && j.cfg.Limits.Counts(id) {
		return // this is on the way of every transaction
	}
	c, err := allowance.ParseClearance(clearance)
	if err != nil {
		j.cfg.Logger.Error("a clearance cannot be read; what it has reserved is looked for later", "id", id)
		return
	}
	j.cfg.Limits.Settle(id, c.Receipt, use)
}

// limited is the verdict by a limit. Any other error is none.
func limited(err error) (policy.Verdict, error) {
	var exceeded *allowance.ExceededError
	if !errors.As(err, &exceeded) {
		return policy.Verdict{}, err
	}
	return policy.Verdict{Rule: exceeded.Limit, Reason: exceeded.Error(), Limit: true}, nil
}

func or(v *policy.Verdict) policy.Verdict {
	if v == nil {
		return policy.Verdict{}
	}
	return *v
}

// credentialOf is the id of the app credential that somebody has come with.
func credentialOf(r policy.Request) string {
	id, _ := strings.CutPrefix(r.Principal.Name, "app:")
	if id == r.Principal.Name {
		return ""
	}
	return id
}

func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
