// SPDX-License-Identifier: Apache-2.0

package platform

import "time"

// Policy is the rules of one scope, for who may see that scope.
type Policy struct {
	// Scope is deployment, consortium:<id>, membership:<id>, service:<id> or
	// credential:<id>.
	Scope string `json:"scope"`
	// Active is what counts; nil: nothing does.
	Active *PolicyVersion `json:"active,omitempty"`
	// Proposed waits for another admin; nil: nothing does.
	Proposed *PolicyVersion `json:"proposed,omitempty"`
	// Declared is what the operator's config file says for this scope beside what is
	// set here: both have to allow.
	Declared *DeclaredPolicy `json:"declared,omitempty"`
	// Outer are the scopes around this one that have rules: all of them have to
	// allow, too. Their rules are shown only to who may see those scopes.
	Outer []string `json:"outer"`
	// Approvals is how many other admins a new version needs: 0 or 1.
	Approvals int `json:"policy_approvals"`
}

// DeclaredPolicy is rules of the config file, which nothing changes but an edit
// of that file.
type DeclaredPolicy struct {
	Document string `json:"document"`
	SHA256   string `json:"document_sha256"` // hex
}

// PolicyVersion is one version of the rules of a scope. Lists are without the
// documents.
type PolicyVersion struct {
	Scope    string `json:"scope"`
	Version  int64  `json:"version"` // from 1
	State    string `json:"state"`   // proposed, active, past, rejected
	SHA256   string `json:"document_sha256"`
	Document string `json:"document,omitempty"`
	Author   string `json:"author"` // principal
	Approver string `json:"approver,omitempty"`
	// What people call the two.
	AuthorName   string     `json:"author_name,omitempty"`
	ApproverName string     `json:"approver_name,omitempty"`
	Comment      string     `json:"comment,omitempty"`
	Created      time.Time  `json:"created_at"`
	Decided      *time.Time `json:"decided_at,omitempty"`
	// Problem is why nothing of the scope is signed although there are rules.
	Problem string `json:"problem,omitempty"`
}

// The states of a version.
const (
	PolicyProposed = "proposed"
	PolicyActive   = "active"
	PolicyPast     = "past"
	PolicyRejected = "rejected"
)

// NewPolicy is what becomes the next version of the rules of a scope.
type NewPolicy struct {
	Document string // YAML or JSON, in the language of package policy; empty: to end the rules
	Comment  string
	// Replaces is the version that counts now, to the knowledge of the caller; 0 if
	// none does, nil if he does not care.
	Replaces *int64
}

// PolicyTest is a JSON-RPC request that is not carried out.
type PolicyTest struct {
	Principal string // whose request it would be: app:<id>, cert:<identity>, …; empty: the caller's
	Method    string // eth_sendTransaction, personal_sign, …
	Params    []byte // JSON, as the method takes them
	// Document is rules to put in the place of the service's own, to see what they
	// would do; empty: those that count.
	Document string
}

// PolicyVerdict is what would become of a request.
type PolicyVerdict struct {
	Effect   string          `json:"effect"` // allow, deny or ask
	Rule     string          `json:"rule"`   // that decides: scope and name of a rule or a limit
	Reason   string          `json:"reason,omitempty"`
	Policies []PolicyOpinion `json:"policies"` // each that applies, the widest scope first
	Limits   []LimitTake     `json:"limits"`   // each that the request would count for
}

// PolicyOpinion is what one policy says to a request.
type PolicyOpinion struct {
	Scope   string       `json:"scope"`   // declared, and declared:<wallet>, for the config file's
	Version int64        `json:"version"` // 0 for the config file's
	Effect  string       `json:"effect"`
	Rule    string       `json:"rule"`
	Reason  string       `json:"reason,omitempty"`
	Steps   []PolicyStep `json:"steps"` // every rule of it; empty if the caller may not read them
}

// PolicyStep is what became of one rule or limit.
type PolicyStep struct {
	Rule    string `json:"rule"`
	Effect  string `json:"effect,omitempty"` // of the rule; empty for a limit
	Matched bool   `json:"matched"`
	Why     string `json:"why"`
}

// LimitTake is what a request would take off a limit. Amounts are in decimal; used
// and max are empty if the caller may not read the limit.
type LimitTake struct {
	Limit  string `json:"limit"` // with its scope
	Asset  string `json:"asset"`
	Amount string `json:"amount"` // or unlimited
	Used   string `json:"used,omitempty"`
	Max    string `json:"max,omitempty"`
	Window string `json:"window,omitempty"` // empty: in total
	Holds  bool   `json:"holds"`
}

// LimitUsage is how much of a limit is used. Amounts are in decimal: wei, or the
// token's smallest unit.
type LimitUsage struct {
	Limit  string `json:"limit"`         // with its scope
	Per    string `json:"per,omitempty"` // what it is counted for
	Asset  string `json:"asset"`         // native, or the token's address
	Max    string `json:"max"`
	Used   string `json:"used"`
	Left   string `json:"left"`
	Window string `json:"window,omitempty"` // empty: in total
}
