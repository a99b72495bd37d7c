// SPDX-License-Identifier: Apache-2.0

package console

import (
	"context"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/ethereum/go-ethereum/common"

	"github.com/hsmsigner/hsmsigner/internal/auth"
	"github.com/hsmsigner/hsmsigner/internal/platform"
)

// policyKind is a kind of scope that has rules, with where its page is.
type policyKind struct {
	kind platform.Kind // empty: the deployment
	path string
}

func policyKinds() []policyKind {
	return []policyKind{
		{"", "/policy/deployment"},
		{platform.Consortia, "/policy/consortium"},
		{platform.Memberships, "/policy/memberships/{id}"},
		{platform.AppCreds, "/policy/credentials/{id}"},
		{platform.Services, "/wallets/{id}/policy"},
	}
}

func policyRoutes(get, post func(path string, serve handler)) {
	get("/policy", listPolicies)
	for _, k := range policyKinds() {
		get(k.path, func(ctx context.Context, v *visit) (view, error) { return v.policy(ctx, k.kind, form{Values: v.form}) })
		post(k.path, func(ctx context.Context, v *visit) (view, error) { return v.setPolicy(ctx, k.kind) })
		post(k.path+"/end", func(ctx context.Context, v *visit) (view, error) { return v.endPolicy(ctx, k.kind) })
		post(k.path+"/approve", func(ctx context.Context, v *visit) (view, error) {
			return v.decidePolicy(ctx, k.kind, v.c.cfg.Platform.ApprovePolicy, "policy-approved")
		})
		post(k.path+"/reject", func(ctx context.Context, v *visit) (view, error) {
			return v.decidePolicy(ctx, k.kind, v.c.cfg.Platform.RejectPolicy, "policy-rejected")
		})
	}
	post("/wallets/{id}/policy/test", testPolicy)
}

// policyScope is where rules hold, for people.
type policyScope struct {
	Kind  platform.Kind
	At    platform.Path
	Parts []string // of the path of its page
	What  string   // "membership", …
	Name  string
	May   bool // the person is an admin of it
}

// policyScope is the scope of a kind that the URL names.
func (v *visit) policyScope(ctx context.Context, kind platform.Kind) (policyScope, error) {
	s := policyScope{Kind: kind}
	id := v.r.PathValue("id")
	switch kind {
	case "":
		s.What, s.Name, s.Parts, s.May = "the whole deployment", "The whole deployment", []string{"policy", "deployment"}, v.who.Can(auth.Admin, "", "")
	case platform.Consortia:
		s.At, s.What, s.Name = platform.Path{ID: v.at.Consortium}, "consortium", v.consortium.Name
		s.Parts, s.May = []string{"policy", "consortium"}, v.who.Can(auth.Admin, v.at.Consortium, "")
	case platform.Memberships:
		s.At = platform.Path{Consortium: v.at.Consortium, ID: id}
		m, err := get[platform.Membership](ctx, v, kind, s.At)
		if err != nil {
			return s, err
		}
		s.What, s.Name, s.Parts, s.May = "membership", m.OrgName, []string{"policy", "memberships", id}, v.can(auth.Admin, id)
	case platform.AppCreds:
		s.At = v.here()
		c, err := get[platform.AppCred](ctx, v, kind, s.At)
		if err != nil {
			return s, err
		}
		s.What, s.Name, s.Parts, s.May = "app credential", c.Name, []string{"policy", "credentials", id}, v.can(auth.Admin, c.MembershipID)
	case platform.Services:
		s.At, s.What, s.Parts = v.here(), "wallet", []string{"wallets", id, "policy"}
	}
	return s, nil
}

// policyPage is the data of the page of one scope.
type policyPage struct {
	form
	Scope    policyScope
	To       string // URL of the page
	Rules    platform.Policy
	Versions []platform.PolicyVersion
	Earlier  *platform.PolicyVersion // that the person looks at
	Lines    []wrongLine
	Usage    []usageRow
	NoUsage  string // why none is known
	Outer    []outerPolicy
	Names    map[string]string
	Test     *policyTrial // of wallets
}

// wrongLine is one thing that is wrong with a document.
type wrongLine struct {
	Line int    // from 1; 0: none is to blame
	Text string // of that line
	What string
}

// usageRow is how much of a limit is used.
type usageRow struct {
	platform.LimitUsage
	Name  string // without its scope
	Gauge gauge
}

// outerPolicy is the rules of a scope around the one that is shown.
type outerPolicy struct {
	Scope    string
	Name     string
	To       string // URL of its page; empty: the person may not see it
	Document string // empty: likewise
	Declared string // the config file's for that scope
}

func (v *visit) policy(ctx context.Context, kind platform.Kind, f form) (view, error) {
	s, err := v.policyScope(ctx, kind)
	if err != nil {
		return view{}, err
	}
	var w walletPage
	if kind == platform.Services {
		if w, err = v.wallet(ctx, "policy"); err != nil {
			return view{}, err
		}
		s.Name, s.May = w.Name, w.MayAdmin
	}
	data, err := v.policyPage(ctx, s, f)
	if err != nil {
		return view{}, err
	}
	if kind != platform.Services {
		return formView(view{page: "policy-scope", title: "Policy of " + s.Name, section: "policy", data: data}, f), nil
	}
	if data.Test, err = v.policyTrial(ctx, w); err != nil {
		return view{}, err
	}
	w.form, w.Content = f, data
	return v.inside(w, "wallet-policy", "policy"), nil
}

func (v *visit) policyPage(ctx context.Context, s policyScope, f form) (policyPage, error) {
	data := policyPage{form: f, Scope: s, To: v.path(s.Parts...), Names: v.people(ctx), Lines: wrongLines(f)}
	var err error
	if data.Rules, err = v.c.cfg.Platform.Policy(ctx, v.who, s.Kind, s.At); err != nil {
		return data, err
	}
	if data.Versions, err = v.c.cfg.Platform.PolicyVersions(ctx, v.who, s.Kind, s.At); err != nil {
		return data, err
	}
	if n, failed := strconv.ParseInt(v.r.URL.Query().Get("version"), 10, 64); failed == nil {
		earlier, err := v.c.cfg.Platform.PolicyVersion(ctx, v.who, s.Kind, s.At, n)
		if err != nil {
			return data, err
		}
		data.Earlier = &earlier
	}
	if !data.Values.Has("document") {
		data.Values = map[string][]string{"document": {data.start()}}
	}
	used, err := v.c.cfg.Platform.PolicyUsage(ctx, v.who, s.Kind, s.At)
	if err != nil {
		data.NoUsage = sentence(err.Error())
	}
	for _, u := range used {
		_, name, _ := strings.Cut(u.Limit, "/")
		data.Usage = append(data.Usage, usageRow{u, name, gaugeOf(u.Asset, u.Used, u.Max)})
	}
	for _, scope := range data.Rules.Outer {
		data.Outer = append(data.Outer, v.outerPolicy(ctx, scope))
	}
	return data, nil
}

// start is what the editor begins with: an earlier version that somebody looks
// at, else what counts.
func (p policyPage) start() string {
	switch {
	case p.Earlier != nil:
		return p.Earlier.Document
	case p.Rules.Active != nil:
		return p.Rules.Active.Document
	}
	return ""
}

// Replaces is the version that the editor began with.
func (p policyPage) Replaces() int64 {
	if p.Rules.Active == nil {
		return 0
	}
	return p.Rules.Active.Version
}

// Counts reports whether there are rules of this scope that count.
func (p policyPage) Counts() bool { return p.Rules.Active != nil && p.Rules.Active.Document != "" }

// outerPolicy reads the rules of a scope around, as far as the person may.
func (v *visit) outerPolicy(ctx context.Context, scope string) outerPolicy {
	o := outerPolicy{Scope: scope}
	kind, id, _ := strings.Cut(scope, ":")
	var (
		of    platform.Kind
		at    platform.Path
		parts []string
	)
	switch kind {
	case "deployment":
		o.Name, parts = "The whole deployment", []string{"policy", "deployment"}
	case "consortium":
		o.Name, of, at, parts = "Consortium "+v.consortium.Name, platform.Consortia, platform.Path{ID: id}, []string{"policy", "consortium"}
	case freezeMembership:
		o.Name, of, at, parts = "Membership", platform.Memberships, platform.Path{Consortium: v.at.Consortium, ID: id}, []string{"policy", "memberships", id}
		if m, err := get[platform.Membership](ctx, v, platform.Memberships, at); err == nil {
			o.Name += " " + m.OrgName
		}
	}
	rules, err := v.c.cfg.Platform.Policy(ctx, v.who, of, at)
	if err != nil {
		return o
	}
	o.To = v.path(parts...)
	if rules.Active != nil {
		o.Document = rules.Active.Document
	}
	if rules.Declared != nil {
		o.Declared = rules.Declared.Document
	}
	return o
}

// wrong is how a problem with a document begins, as package policy writes it.
var wrong = regexp.MustCompile(`^policy(?::(\d+))?: (.*)$`)

// wrongLines are the problems with a document, with their lines.
func wrongLines(f form) []wrongLine {
	text := strings.Split(f.Values.Get("document"), "\n")
	var out []wrongLine
	for _, one := range strings.Split(f.Problems["document"], "\n") {
		if strings.TrimSpace(one) == "" {
			continue
		}
		w := wrongLine{What: sentence(one)}
		if found := wrong.FindStringSubmatch(one); found != nil {
			w.What = found[2]
			w.Line, _ = strconv.Atoi(found[1]) // 0 without
			if w.Line > 0 && w.Line <= len(text) {
				w.Text = strings.TrimSpace(text[w.Line-1])
			}
		}
		out = append(out, w)
	}
	return out
}

// refusedPolicy is refused, with the problems of a document kept line by line.
func (v *visit) refusedPolicy(err error) (form, bool) {
	f, ok := v.refused(err, "comment")
	if field, text, found := fieldOf(err); ok && found && field == "document" {
		f.Problem, f.Problems = "", map[string]string{"document": text}
	}
	return f, ok
}

// document is the document that was typed, with the ends of lines that files have.
func (v *visit) document() string { return strings.ReplaceAll(v.form.Get("document"), "\r\n", "\n") }

func (v *visit) setPolicy(ctx context.Context, kind platform.Kind) (view, error) {
	s, err := v.policyScope(ctx, kind)
	if err != nil {
		return view{}, err
	}
	n := platform.NewPolicy{Document: v.document(), Comment: v.text("comment")}
	if replaces, failed := strconv.ParseInt(v.form.Get("replaces"), 10, 64); failed == nil {
		n.Replaces = &replaces
	}
	if strings.TrimSpace(n.Document) == "" {
		n.Document = " " // is refused, and does not end the rules by mistake
	}
	made, err := v.c.cfg.Platform.SetPolicy(ctx, v.who, s.Kind, s.At, n)
	if f, ok := v.refusedPolicy(err); ok {
		return v.policy(ctx, kind, f)
	}
	if err != nil {
		return view{}, err
	}
	if made.State == platform.PolicyProposed {
		return v.done("policy-proposed", s.Parts...), nil
	}
	return v.done("policy-set", s.Parts...), nil
}

func (v *visit) endPolicy(ctx context.Context, kind platform.Kind) (view, error) {
	s, err := v.policyScope(ctx, kind)
	if err != nil {
		return view{}, err
	}
	made, err := v.c.cfg.Platform.SetPolicy(ctx, v.who, s.Kind, s.At, platform.NewPolicy{Comment: v.text("comment")})
	if f, ok := v.refused(err); ok {
		return v.policy(ctx, kind, f)
	}
	if err != nil {
		return view{}, err
	}
	if made.State == platform.PolicyProposed {
		return v.done("policy-proposed", s.Parts...), nil
	}
	return v.done("policy-ended", s.Parts...), nil
}

func (v *visit) decidePolicy(
	ctx context.Context, kind platform.Kind,
	act func(context.Context, auth.Access, platform.Kind, platform.Path, int64) (platform.PolicyVersion, error), done string,
) (view, error) {
	s, err := v.policyScope(ctx, kind)
	if err != nil {
		return view{}, err
	}
	version, err := strconv.ParseInt(v.form.Get("version"), 10, 64)
	if err != nil {
		version = 0 // there is none of that number
	}
	_, err = act(ctx, v.who, s.Kind, s.At, version)
	if f, ok := v.refused(err); ok {
		return v.policy(ctx, kind, f)
	}
	if err != nil {
		return view{}, err
	}
	return v.done(done, s.Parts...), nil
}

// policyRow is a scope in the list of scopes.
type policyRow struct {
	What, Name, To string
	Rules          platform.Policy
}

// Counting says in a word what counts there.
func (r policyRow) Counting() string {
	switch {
	case r.Rules.Active != nil && r.Rules.Active.Problem != "":
		return "denied"
	case r.Rules.Active != nil && r.Rules.Active.Document != "", r.Rules.Declared != nil:
		return "active"
	}
	return "no rules"
}

func listPolicies(ctx context.Context, v *visit) (view, error) {
	var rows []policyRow
	add := func(what, name string, kind platform.Kind, at platform.Path, parts ...string) error {
		rules, err := v.c.cfg.Platform.Policy(ctx, v.who, kind, at)
		if _, mendable := v.refused(err); err != nil && !mendable && isRefusal(err) {
			return nil // not theirs to see
		}
		rows = append(rows, policyRow{what, name, v.path(parts...), rules})
		return err
	}
	if err := add("deployment", "The whole deployment", "", platform.Path{}, "policy", "deployment"); err != nil {
		return view{}, err
	}
	if err := add("consortium", v.consortium.Name, platform.Consortia, platform.Path{ID: v.at.Consortium}, "policy", "consortium"); err != nil {
		return view{}, err
	}
	memberships, err := listAt[platform.Membership](ctx, v, platform.Memberships, platform.Path{Consortium: v.at.Consortium})
	if err != nil {
		return view{}, err
	}
	for _, m := range memberships {
		if err := add("membership", m.OrgName, platform.Memberships, platform.Path{Consortium: v.at.Consortium, ID: m.ID}, "policy", "memberships", m.ID); err != nil {
			return view{}, err
		}
	}
	services, err := list[platform.Service](ctx, v, platform.Services)
	if err != nil {
		return view{}, err
	}
	at := v.at
	for _, s := range services {
		at.ID = s.ID
		if err := add("wallet", s.Name, platform.Services, at, "wallets", s.ID, "policy"); err != nil {
			return view{}, err
		}
	}
	credentials, err := list[platform.AppCred](ctx, v, platform.AppCreds)
	if err != nil {
		return view{}, err
	}
	for _, c := range credentials {
		at.ID = c.ID
		if err := add("app credential", c.Name, platform.AppCreds, at, "policy", "credentials", c.ID); err != nil {
			return view{}, err
		}
	}
	// What waits for somebody stands first; the order is kept otherwise.
	slices.SortStableFunc(rows, func(a, b policyRow) int {
		return map[bool]int{true: 0, false: 1}[a.Rules.Proposed != nil] - map[bool]int{true: 0, false: 1}[b.Rules.Proposed != nil]
	})
	return view{page: "policy", title: "Policy", section: "policy", data: rows}, nil
}

// Example is what somebody without rules may begin with.
func (policyPage) Example() string {
	return `version: hsmsigner-policy-v1
rules:
  - name: pay-suppliers
    effect: allow
    actions: [transaction]
    to: ["0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed"]
    data: none
    value: {max: 2 ether}
  - name: large
    effect: ask
    actions: [transaction]
    value: {min: 2 ether}
    approval: {needed: 2, roles: [admin], expires: 4h}
limits:
  - {name: daily, asset: native, per: account, max: 10 ether, window: 24h}
`
}

// counted is what a limit is counted for: an account, another name, or nothing.
type counted struct{ Address, Text string }

// perOf reads what the API says of it, which begins with the limit's name, chain
// and asset.
var perOf = regexp.MustCompile(`(account|wallet|credential) "([^"]*)"$`)

// Counted is what the limit is counted for.
func (u usageRow) Counted() counted {
	found := perOf.FindStringSubmatch(u.Per)
	switch {
	case found == nil:
		return counted{}
	case found[1] == freezeAccount && common.IsHexAddress(found[2]):
		return counted{Address: common.HexToAddress(found[2]).Hex()}
	}
	return counted{Text: found[2]}
}

// windowText is a duration without the units that are zero: 24h, not 24h0m0s.
func windowText(s string) string {
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}
