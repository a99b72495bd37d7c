// SPDX-License-Identifier: Apache-2.0

package judge

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"log/slog"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/hsmsigner/hsmsigner/internal/policy"
	"github.com/hsmsigner/hsmsigner/internal/store"
)

// Scopes of what is not in table policy.
const declaredScope = "declared"

// Declared is rules of the config file. [Declare] makes it.
type Declared struct {
	Scope string // "declared", or "declared:<wallet>"
	Rules *policy.Rules
	hash  [sha256.Size]byte
}

// Declare reads rules of the config file: for the declared wallet of that name, or
// for everything if wallet is empty. file is for the errors, of which there may be
// several in one policy.Errors.
func Declare(wallet, file string, text []byte) (Declared, error) {
	scope := declaredScope
	if wallet != "" {
		scope += ":" + wallet
	}
	rules, err := compile(scope, file, text)
	return Declared{Scope: scope, Rules: rules, hash: sha256.Sum256(text)}, err
}

// compile reads a document; nil if it has neither rules nor limits.
func compile(scope, file string, text []byte) (*policy.Rules, error) {
	doc, err := policy.Parse(file, text)
	if err != nil {
		return nil, err
	}
	if doc.Rules()+doc.Limits() == 0 {
		return nil, nil // it says nothing
	}
	rules, err := policy.Compile(doc)
	if err != nil {
		return nil, err
	}
	return rules.In(scope), nil
}

// one is the policy of a scope.
type one struct {
	scope   string
	version int64         // 0: declared
	rules   *policy.Rules // nil: it says nothing, or there is a problem
	problem string        // why everything of its scope is refused
	mac     []byte
}

// problem is why everything of a scope is refused.
type problem struct{ scope, text string }

// set is all rules at one time. It never changes.
type set struct {
	revision string // the same on every replica that has the same rules
	quiet    bool   // there never was a document while this process runs, nor a request for approval
	count    int64
	byScope  map[string]one
}

// applying are the policies that a request is judged by, the widest scope first;
// or why it is refused.
func (s *set) applying(r policy.Request) ([]*policy.Rules, *problem) {
	var rules []*policy.Rules
	for _, p := range s.policies(r) {
		if p.problem != "" {
			return nil, &problem{scope: p.scope, text: p.problem}
		}
		rules = append(rules, p.rules)
	}
	return rules, nil
}

func (s *set) policies(r policy.Request) []one {
	if len(s.byScope) == 0 {
		return nil // nobody has set a rule: nothing is to be looked for
	}
	var all []one
	for _, scope := range scopesOf(r) {
		if p := s.byScope[scope]; p.rules != nil || p.problem != "" {
			all = append(all, p)
		}
	}
	return all
}

// scopesOf are the scopes that a request stands in, the widest first.
func scopesOf(r policy.Request) []string {
	scopes := []string{declaredScope, "deployment"}
	for _, in := range [][2]string{
		{"consortium:", r.Owner.Consortium},
		{"membership:", r.Owner.Membership},
		{declaredScope + ":", r.Owner.Wallet},
		{"service:", r.Owner.Service},
		{"credential:", credentialOf(r)},
	} {
		if in[1] != "" {
			scopes = append(scopes, in[0]+in[1])
		}
	}
	return scopes
}

// rules keeps up with what counts.
type rules struct {
	rows     Rows
	mac      func([]byte) []byte
	log      *slog.Logger
	declared map[string]one
	prefix   string // of revisions
	start    time.Time

	seen   atomic.Pointer[set]
	looked atomic.Int64  // when somebody looked last, since start
	turn   chan struct{} // one element for who looks
}

func newRules(cfg Config) rules {
	all := sha256.New()
	declared := map[string]one{}
	for _, d := range cfg.Declared {
		declared[d.Scope] = one{scope: d.Scope, rules: d.Rules}
		fmt.Fprintf(all, "%s\x00%x", d.Scope, d.hash)
	}
	return rules{
		rows: cfg.Rows, mac: cfg.MAC, log: cfg.Logger, declared: declared, start: time.Now(),
		prefix: hex.EncodeToString(all.Sum(nil)[:6]) + ".", turn: make(chan struct{}, 1),
	}
}

// current is what counts, as it was a second ago at most.
func (r *rules) current(ctx context.Context) (*set, error) {
	for {
		began := time.Since(r.start)
		s := r.seen.Load()
		if s != nil && began-time.Duration(r.looked.Load()) < fresh {
			return s, nil
		}
		err := r.look(ctx)
		if err == nil {
			continue
		}
		if !sleep(ctx, pause) {
			return nil, fmt.Errorf("judge: the policies could not be read: %w", err)
		}
	}
}

// look takes over what has changed.
func (r *rules) look(ctx context.Context) error {
	select {
	case r.turn <- struct{}{}:
		defer func() { <-r.turn }()
	case <-ctx.Done():
		return ctx.Err()
	}
	// A database that hangs must not keep the turn: everybody waits for it.
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	began := time.Since(r.start)
	old := r.seen.Load()
	if r.rows == nil {
		if old == nil {
			r.seen.Store(&set{revision: r.prefix, byScope: r.declared}) // quiet is not known
		}
		r.looked.Store(int64(began))
		return nil
	}
	counts, err := r.rows.Changes(ctx)
	if err != nil {
		return err
	}
	count, asked := counts[store.ChangePolicy], counts[store.ChangeApproval] > 0
	if old == nil || count != old.count || old.quiet && asked {
		rows, err := r.rows.ActivePolicies(ctx)
		if err != nil {
			return err
		}
		s := r.take(old, rows, count)
		s.quiet = len(s.byScope) == 0 && !asked && (old == nil || old.quiet)
		r.seen.Store(s)
	}
	r.looked.Store(int64(began))
	return nil
}

// take makes a set of rows.
func (r *rules) take(old *set, rows []store.Policy, count int64) *set {
	s := &set{revision: r.prefix + strconv.FormatInt(count, 10), count: count, byScope: map[string]one{}}
	for scope, p := range r.declared {
		s.byScope[scope] = p
	}
	for _, row := range rows {
		p := r.read(old, row)
		if _, twice := s.byScope[row.Scope]; twice {
			p.problem = "several versions of its policy count at once: rows were changed outside of the API"
		}
		s.byScope[row.Scope] = p
	}
	if old != nil {
		for scope, was := range old.byScope {
			// Rows are never deleted, and a version only gives way to a higher one.
			if is, there := s.byScope[scope]; !there || is.version < was.version {
				is = was
				is.problem = fmt.Sprintf("version %d of its policy is gone, and no later one counts: rows were changed outside of the API", was.version)
				s.byScope[scope] = is
			}
		}
	}
	for scope, p := range s.byScope {
		if p.problem != "" {
			r.log.Error("a policy cannot be used; everything of its scope is refused", "scope", scope, "version", p.version, "why", p.problem)
		}
	}
	return s
}

// read makes one policy of its row.
func (r *rules) read(old *set, row store.Policy) one {
	p := one{scope: row.Scope, version: row.Version, mac: row.MAC}
	if !hmac.Equal(r.mac(row.Bytes()), row.MAC) {
		p.problem = fmt.Sprintf("version %d of its policy was changed outside of the API", row.Version)
		return p
	}
	if old != nil {
		if was := old.byScope[row.Scope]; was.problem == "" && was.mac != nil && hmac.Equal(was.mac, row.MAC) {
			return was
		}
	}
	if row.Document == "" { // which ends the rules
		return p
	}
	rules, err := compile(row.Scope, row.Scope, []byte(row.Document))
	if err != nil {
		p.problem = fmt.Sprintf("version %d of its policy cannot be read by this version of the program", row.Version)
		r.log.Error("a policy cannot be read", "scope", row.Scope, "version", row.Version, "err", err)
		return p
	}
	p.rules = rules
	return p
}
