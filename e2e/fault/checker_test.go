// SPDX-License-Identifier: Apache-2.0

package fault

import (
	"slices"
	"testing"

	"github.com/ethereum/go-ethereum/common"
)

// sound is the evidence of a run in which nothing went wrong: three transfers, the
// second signed twice since it was bumped.
func sound() Evidence {
	sender := common.Address{1}
	hash := func(b byte) common.Hash { return common.Hash{b} }
	e := Evidence{Senders: []common.Address{sender}, Intents: map[string]bool{}, Outcomes: map[string][]Outcome{}}
	for i := range 3 {
		n, id, intent := uint64(i), string(rune('a'+i)), string(rune('A'+i))
		e.Requests = append(e.Requests, &Request{Index: i, From: sender, Tag: []byte{byte(i)}, Key: id, Hashes: []common.Hash{hash(byte(10 + i))}, Asked: 1})
		e.Chain = append(e.Chain, Mined{Hash: hash(byte(10 + i)), From: sender, Nonce: n, Input: []byte{byte(i)}, Block: n + 1})
		e.Rows = append(e.Rows, Row{ID: id, Key: id, Kind: "user", State: "confirmed", Intent: intent, Sender: sender, Nonce: &n, Live: true, Final: true, Hash: hash(byte(10 + i))})
		e.Attempts = append(e.Attempts, Attempt{ID: id, Tx: id, Kind: "first", Outcome: "won", Sender: sender, Nonce: n, Hash: hash(byte(10 + i))})
		e.Intents[intent] = true
		e.Outcomes[intent] = []Outcome{{Hash: hash(byte(10 + i))}}
	}
	bumped := hash(20)
	e.Chain[1].Hash, e.Rows[1].Hash = bumped, bumped
	e.Attempts = append(e.Attempts, Attempt{ID: "bump", Tx: "b", Kind: "bump", Outcome: "won", Sender: sender, Nonce: 1, Hash: bumped})
	e.Outcomes["B"] = append(e.Outcomes["B"], Outcome{Hash: bumped})
	e.Wire = []Wire{{Hash: hash(11), From: sender, Nonce: 1}, {Hash: bumped, From: sender, Nonce: 1}}
	return e
}

func TestCheckerIsContentWithASoundRun(t *testing.T) {
	if v := Judge(sound()); len(v) > 0 {
		t.Error(v)
	}
}

func TestCheckerFindsWhatIsPlanted(t *testing.T) {
	stranger := common.Hash{99}
	plants := map[string]struct {
		plant func(e *Evidence)
		want  string
	}{
		"the same transfer mined twice": {func(e *Evidence) {
			e.Chain = append(e.Chain, Mined{Hash: stranger, From: e.Senders[0], Nonce: 3, Input: e.Requests[2].Tag})
		}, RuleOnce},
		"a double send without a key": {func(e *Evidence) {
			e.Requests[0].Key, e.Requests[0].Hashes, e.Requests[0].Unknown = "", nil, "connection reset"
			e.Chain = append(e.Chain, Mined{Hash: stranger, From: e.Senders[0], Nonce: 3, Input: e.Requests[0].Tag})
		}, RuleOnce},
		"a nonce left out": {func(e *Evidence) {
			e.Chain[2].Nonce = 3
		}, RuleSequence},
		"a returned hash that is nowhere": {func(e *Evidence) {
			e.Requests[2].Hashes = []common.Hash{stranger}
		}, RuleHash},
		"a returned hash that is on record and not mined": {func(e *Evidence) {
			e.Chain = e.Chain[:2]
		}, RuleHash},
		"a returned hash that lost its nonce to something else": {func(e *Evidence) {
			e.Attempts[3].Tx = "c"
		}, RuleHash},
		"a returned hash that does something else": {func(e *Evidence) {
			e.Chain[0].Input = []byte{77}
		}, RuleHash},
		"refused and mined": {func(e *Evidence) {
			e.Requests[0].Hashes, e.Requests[0].Failures = nil, []string{"-32010 key backend failed"}
		}, RuleRefused},
		"two answers under one key": {func(e *Evidence) {
			e.Requests[1].Hashes = []common.Hash{{11}, {12}}
		}, RuleSame},
		"a hash, and then a refusal": {func(e *Evidence) {
			e.Requests[1].Failures = []string{"-32000 expired"}
		}, RuleSame},
		"a key without an answer": {func(e *Evidence) {
			e.Requests[1].Hashes, e.Requests[1].Unknown = nil, "connection refused"
		}, RuleAnswer},
		"an open row": {func(e *Evidence) {
			e.Rows = append(e.Rows, Row{ID: "d", State: "signed"})
		}, RuleUnfinished},
		"mined without stored bytes": {func(e *Evidence) {
			e.Attempts = e.Attempts[1:]
		}, RuleStored},
		"shown to the node without stored bytes": {func(e *Evidence) {
			e.Wire = append(e.Wire, Wire{Hash: stranger, From: e.Senders[0], Nonce: 7})
		}, RuleStored},
		"two signatures for one nonce": {func(e *Evidence) {
			e.Attempts = append(e.Attempts, Attempt{ID: "x", Tx: "c", Kind: "first", Sender: e.Senders[0], Nonce: 2, Hash: stranger})
			e.Wire = append(e.Wire, Wire{Hash: common.Hash{12}, From: e.Senders[0], Nonce: 2}, Wire{Hash: stranger, From: e.Senders[0], Nonce: 2})
		}, RuleSecond},
		"a signature without intent": {func(e *Evidence) {
			delete(e.Intents, "A")
		}, RuleAudit},
		"a signature without outcome": {func(e *Evidence) {
			e.Outcomes["C"] = nil
		}, RuleAudit},
		"an outcome of another hash": {func(e *Evidence) {
			e.Outcomes["C"][0].Hash = stranger
		}, RuleAudit},
		"a row that failed and is mined": {func(e *Evidence) {
			e.Rows[2].State = "failed"
		}, RuleRows},
		"a row that is confirmed and not mined": {func(e *Evidence) {
			e.Rows[2].Hash = stranger
		}, RuleRows},
	}
	for name, p := range plants {
		e := sound()
		p.plant(&e)
		found := Judge(e)
		if !slices.ContainsFunc(found, func(v Violation) bool { return v.Rule == p.want }) {
			t.Errorf("%s: found %v, want %q", name, found, p.want)
		}
	}
}
