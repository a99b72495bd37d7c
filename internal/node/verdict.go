// SPDX-License-Identifier: Apache-2.0

package node

import (
	"errors"
	"strings"

	"github.com/ethereum/go-ethereum/common"
)

// SendVerdict is what the outcome of sending signed bytes means for them.
type SendVerdict uint8

// The verdicts. Only Impossible says that these bytes can never be mined
// through any node; everything that is not known to be so is less.
const (
	Accepted    SendVerdict = iota // the node has answered with the hash; it may still not keep it
	Known                          // the node has these very bytes already: as good as Accepted
	Unknown                        // no answer, or one that says nothing: the bytes may have been taken
	NonceTooLow                    // something was mined at this nonce, perhaps these very bytes
	Impossible                     // closed list: these bytes can never become valid
	Rejected                       // not now; may become valid later
)

// String names the verdict as it stands in logs.
func (v SendVerdict) String() string {
	switch v {
	case Accepted:
		return "accepted"
	case Known:
		return "known"
	case NonceTooLow:
		return "nonce too low"
	case Impossible:
		return "impossible"
	case Rejected:
		return "rejected"
	default:
		return "unknown"
	}
}

// Classify judges an error of SendRaw, or of another call of
// eth_sendRawTransaction, for the transaction with this hash. It knows the
// words of geth, Besu, Nethermind, Erigon, Reth, anvil and Hardhat (see
// sendRules). An error that is not the node's own is Unknown. So is a refusal
// in which the node speaks of itself rather than of the transaction (internal
// error, timeout, rate limit): it may come from a gateway after the node has
// taken the bytes. Any other refusal with unknown words is Rejected.
func Classify(err error, hash common.Hash) SendVerdict {
	if err == nil {
		return Accepted
	}
	var e *Error
	if !errors.As(err, &e) {
		return Unknown
	}
	message := unwrapMessage(strings.ToLower(e.Message))
	for _, rule := range sendRules {
		if !rule.matches(message) {
			continue
		}
		if rule.verdict == Known && namesOther(message, hash) {
			return Rejected // "already known" about another transaction
		}
		return rule.verdict
	}
	switch e.Code {
	case codeInternal, codeTimeout, codeLimit:
		return Unknown
	}
	return Rejected
}

const (
	codeTimeout = -32002 // geth: request timed out (rpc/errors.go); EIP-1474: resource unavailable
	codeLimit   = -32005 // EIP-1474: limit exceeded; gateways use it for rate limits
)

func unwrapMessage(message string) string {
	for _, w := range wrappers {
		if rest, ok := strings.CutPrefix(message, w); ok {
			return rest
		}
	}
	return message
}

// namesOther says whether a message names a 32-byte hash that is not ours.
func namesOther(message string, hash common.Hash) bool {
	ours := hash.Hex()[2:]
	for i := 0; i < len(message); {
		end := i
		for end < len(message) && isHex(message[end]) {
			end++
		}
		if end-i == len(ours) && message[i:end] != ours {
			return true
		}
		i = end + 1
	}
	return false
}

// DependsOnNode reports whether an Impossible answer speaks of the node as
// much as of the bytes: its chain, the forks that it knows, its own fee cap. A
// node that lags behind, is configured otherwise or serves another chain says
// so of bytes that another node may have taken; intrinsic gas or a wrong
// signature are the same everywhere.
func DependsOnNode(err error) bool {
	var e *Error
	if !errors.As(err, &e) {
		return false
	}
	m := strings.ToLower(e.Message)
	for _, words := range []string{"type", "fork", "chain id", "chainid", "eip-155", "configured cap", "fee cap exceeded"} {
		if strings.Contains(m, words) {
			return true
		}
	}
	return false
}
