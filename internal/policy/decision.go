// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"math/big"
	"time"

	"github.com/ethereum/go-ethereum/common"

	"github.com/hsmsigner/hsmsigner/internal/auth"
)

// Effect is what a rule does with a request that it matches, and what rules
// together decide.
type Effect string

// The effects: deny wins over ask, ask over allow, and the order of rules never
// matters.
const (
	EffectAllow Effect = "allow"
	EffectDeny  Effect = "deny"
	EffectAsk   Effect = "ask" // allow once people have approved
)

// Native is the asset of a [Take] that counts the chain's own currency, in wei.
const Native = "native"

// Decision is what rules say to a request, before anything is reserved.
type Decision struct {
	Effect Effect
	Rule   string // the deciding rule or limit, with the scope of its policy: "service:1/payments"
	Reason string // for a person; empty when allowed

	// Asks has one entry for each ask rule that matched, and all of them must be
	// satisfied; empty unless Effect is EffectAsk.
	Asks []Ask
	// Takes is what must be reserved before the request may go on, whichever rule
	// allowed it; empty if Effect is EffectDeny, or the request is Presigned.
	Takes []Take
	// Steps explains every rule and limit; only Explain and ExplainAll fill it.
	Steps []Step
}

// Ask wants people's approval.
type Ask struct {
	Rule      string // as in Decision.Rule
	Needed    int    // of how many different approvers, 1 or more
	Approvers Approvers
	Expires   time.Duration // how long the request may wait
}

// Approvers says who may approve: whoever is in any of the lists.
type Approvers struct {
	Names     []string         // of principals: key:…, person:…
	Roles     []auth.Role      // whoever has one of these where the request belongs
	Addresses []common.Address // who sign the approval
}

// Take is an amount that counts against a limit over time.
type Take struct {
	Limit  string        // name of the limit, with the scope of its policy
	Key    string        // what is summed up together: scope, limit, chain, asset, and what it is counted per
	Asset  string        // Native, or the token's address in lower case
	Amount *big.Int      // wei, or the token's smallest unit; never nil or zero in a Decision, more than zero
	Max    *big.Int      // of the sum
	Window time.Duration // 0: in total, for ever
}

// Step explains what became of one rule or limit.
type Step struct {
	Rule    string // or limit, as in Decision.Rule
	Effect  Effect // of the rule; empty for a limit
	Matched bool
	Why     string
}
