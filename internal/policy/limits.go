// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"math/big"
	"strconv"
	"strings"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/common/hexutil"
)

// sum is what a request moves of one asset.
type sum struct {
	asset  string
	amount *big.Int // nil: unlimited
}

// limits applies the limits of one policy.
func (j *judgement) limits(r *Rules) {
	for i := range r.limits {
		l := &r.limits[i]
		if !l.match.matches(j.facts).possibly {
			if j.explain {
				j.steps = append(j.steps, Step{Rule: l.name, Why: l.match.why(j.facts, false)})
			}
			continue
		}
		sums := l.sums(j.facts.movements())
		if j.explain {
			j.steps = append(j.steps, Step{Rule: l.name, Matched: len(sums) > 0, Why: l.explain(sums)})
		}
		for _, s := range sums {
			j.limit(l, s)
		}
	}
}

func (j *judgement) limit(l *limit, s sum) {
	stored := j.facts.req.Presigned && !l.each
	switch {
	case stored: // it is signed: what it moves was, or was not, counted then
	case s.amount == nil:
		j.deny(l.name, fmt.Sprintf("the limit counts it as unlimited, and allows %s %s", l.text(l.max), l.span()))
	case s.amount.Cmp(l.max) > 0:
		j.deny(l.name, fmt.Sprintf("it moves %s, and the limit allows %s %s", l.text(s.amount), l.text(l.max), l.span()))
	case !l.each:
		j.takes = append(j.takes, Take{
			Limit: l.name, Key: l.key(s.asset, &j.facts.req), Asset: s.asset,
			Amount: s.amount, Max: l.max, Window: l.window,
		})
	}
}

// sums adds up what the limit counts, for each asset. Nothing moved is not listed.
func (l *limit) sums(moves []movement) []sum {
	var sums []sum
	for i := range moves {
		m := &moves[i]
		if !l.counts(m) {
			continue
		}
		n := m.amount
		if l.pieces {
			n = m.pieces
		}
		if n != nil && n.Sign() == 0 {
			continue
		}
		sums = add(sums, l.assetOf(m), n)
	}
	return sums
}

func add(sums []sum, asset string, n *big.Int) []sum {
	for i := range sums {
		if sums[i].asset != asset {
			continue
		}
		if n == nil || sums[i].amount == nil {
			sums[i].amount = nil
		} else {
			sums[i].amount = new(big.Int).Add(sums[i].amount, n)
		}
		return sums
	}
	return append(sums, sum{asset, n})
}

func (l *limit) counts(m *movement) bool {
	switch m.scope {
	case native:
		return l.asset == assetNative
	case oneToken:
		return l.asset == assetAny || l.asset == assetToken && l.token == m.token
	case someToken:
		return l.asset != assetNative
	}
	return true
}

func (l *limit) assetOf(m *movement) string {
	switch {
	case l.asset == assetNative:
		return Native
	case l.asset == assetToken:
		return lower(l.token)
	case m.scope == oneToken:
		return lower(m.token)
	}
	return "a token that cannot be told"
}

// lower writes an address without a checksum, which would have to be computed.
func lower(a common.Address) string { return hexutil.Encode(a[:]) }

// key says what is summed up together: assets of two chains never are. It has no maximum and no window in it: who
// changes a limit keeps what was used of it. Its parts are quoted, since names of
// principals may hold anything.
func (l *limit) key(asset string, req *Request) string {
	var of string
	switch l.per {
	case "account":
		of = lower(req.Account)
	case "wallet":
		of = req.Owner.Wallet
	case "credential":
		of = req.Principal.Name
	}
	unit := "amount"
	if l.pieces {
		unit = "pieces"
	}
	b := make([]byte, 0, 160)
	b = strconv.AppendQuote(b, l.name)
	b = append(b, " chain "...)
	if req.ChainID != nil {
		b = req.ChainID.Append(b, 10)
	}
	for _, part := range []string{asset, unit, l.per} {
		b = append(append(b, ' '), part...)
	}
	return string(strconv.AppendQuote(append(b, ' '), of))
}

func (l *limit) span() string {
	switch {
	case l.each:
		return "per transaction"
	case l.window == 0:
		return "in total"
	}
	return "per " + l.window.String()
}

// text is an amount for people.
func (l *limit) text(n *big.Int) string {
	if l.asset == assetNative {
		return ether(n)
	}
	if l.pieces {
		return n.String() + " pieces"
	}
	return n.String() + " of the token's smallest unit"
}

// ether writes wei exactly.
func ether(n *big.Int) string {
	whole, rest := new(big.Int).QuoRem(n, big.NewInt(1e18), new(big.Int))
	if rest.Sign() == 0 {
		return whole.String() + " ether"
	}
	fraction := fmt.Sprintf("%018s", rest.String())
	return whole.String() + "." + strings.TrimRight(fraction, "0") + " ether"
}

func (l *limit) explain(sums []sum) string {
	if len(sums) == 0 {
		return "it moves nothing that the limit counts"
	}
	parts := make([]string, len(sums))
	for i, s := range sums {
		what := "without limit"
		if s.amount != nil {
			what = l.text(s.amount)
		}
		parts[i] = "counts " + what + " of " + s.asset
	}
	return strings.Join(parts, "; ") + "; at most " + l.text(l.max) + " " + l.span()
}

// describe says what a request is, for who must read why it was refused.
func (f *facts) describe() string {
	switch {
	case f.is&createContract != 0:
		return fmt.Sprintf("%s with %s", f.is&ways|createContract, ether(f.value))
	case f.is&ways != 0:
		s := fmt.Sprintf("%s to %s with %s", f.is, f.to.Hex(), ether(f.value))
		if selector, ok := f.selector(); ok {
			s += fmt.Sprintf(", calling 0x%x", selector)
		}
		return s
	case f.is == signTypedData:
		return fmt.Sprintf("typed-data of type %s", short(f.req.TypedData.PrimaryType))
	}
	return "a " + f.is.String()
}
