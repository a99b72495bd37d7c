// SPDX-License-Identifier: Apache-2.0

package fault

import (
	"bytes"
	"fmt"
	"sort"

	"github.com/ethereum/go-ethereum/common"
)

// Evidence is what the checker judges: what the callers know, what the chain has
// and what the database holds, each read from its own source.
type Evidence struct {
	Senders  []common.Address
	Requests []*Request
	Chain    []Mined
	Wire     []Wire // what the proxies saw on its way to the node
	Rows     []Row
	Attempts []Attempt
	Intents  map[string]bool      // ids
	Outcomes map[string][]Outcome // by intent
}

// Request is one transaction that a client wanted, and everything it was told.
type Request struct {
	Index    int
	From     common.Address
	Tag      []byte // its calldata, which no other request has
	Key      string // idempotency key; empty for none
	Hashes   []common.Hash
	Failures []string // definite refusals
	Unknown  string   // why its client ended without an answer; empty if it has one
	Asked    int
}

// Mined is one transaction of a sender in the chain.
type Mined struct {
	Hash  common.Hash
	From  common.Address
	Nonce uint64
	Input []byte
	Block uint64
}

// Row is one transaction in the database.
type Row struct {
	ID, Key, Kind, State, Intent, Error, Replaces string
	Sender                                        common.Address
	Nonce                                         *uint64
	Live, Final                                   bool
	Hash                                          common.Hash
}

// Attempt is one signed encoding in the database.
type Attempt struct {
	ID, Tx, Kind, Outcome string
	Sender                common.Address
	Nonce                 uint64
	Hash                  common.Hash // zero without bytes
}

// Outcome is one audit outcome in the database.
type Outcome struct {
	Hash  common.Hash
	Error string
}

// Violation is one broken promise.
type Violation struct {
	Rule string // which promise
	What string
}

func (v Violation) String() string { return v.Rule + ": " + v.What }

// The promises.
const (
	RuleSequence   = "nonces contiguous"
	RuleOnce       = "mined exactly once"
	RuleHash       = "every returned hash mined or replaced"
	RuleSame       = "one key, one answer"
	RuleRefused    = "what was refused is never mined"
	RuleAnswer     = "every caller with a key gets an answer"
	RuleUnfinished = "nothing is left unfinished"
	RuleStored     = "signed bytes are stored before they are sent"
	RuleSecond     = "a second signature for a nonce is a recorded replacement"
	RuleAudit      = "an intent and an outcome for each signature"
	RuleRows       = "the rows say what the chain says"
)

// Judge lists every broken promise.
func Judge(e Evidence) []Violation {
	j := &judge{e: e, mined: map[common.Hash]Mined{}, byTag: map[string][]Mined{}, attempts: map[common.Hash]Attempt{}, rows: map[string]Row{}}
	for _, m := range e.Chain {
		j.mined[m.Hash] = m
		j.byTag[string(m.Input)] = append(j.byTag[string(m.Input)], m)
	}
	for _, a := range e.Attempts {
		if a.Hash != (common.Hash{}) {
			j.attempts[a.Hash] = a
		}
	}
	for _, r := range e.Rows {
		j.rows[r.ID] = r
	}
	j.sequence()
	for _, r := range e.Requests {
		j.request(r)
	}
	j.chain()
	j.wire()
	j.database()
	j.audit()
	return j.found
}

type judge struct {
	e        Evidence
	mined    map[common.Hash]Mined
	byTag    map[string][]Mined
	attempts map[common.Hash]Attempt
	rows     map[string]Row
	found    []Violation
}

func (j *judge) violated(rule, format string, args ...any) {
	j.found = append(j.found, Violation{rule, fmt.Sprintf(format, args...)})
}

// sequence demands that the nonces of each sender run from 0.
func (j *judge) sequence() {
	for _, s := range j.e.Senders {
		var nonces []uint64
		for _, m := range j.e.Chain {
			if m.From == s {
				nonces = append(nonces, m.Nonce)
			}
		}
		sort.Slice(nonces, func(a, b int) bool { return nonces[a] < nonces[b] })
		for i, n := range nonces {
			if n != uint64(i) {
				j.violated(RuleSequence, "%s: transaction %d has nonce %d", s, i, n)
				break
			}
		}
	}
}

// request judges what one caller was told against the chain.
func (j *judge) request(r *Request) {
	name := fmt.Sprintf("request %d (key %q, asked %d times)", r.Index, r.Key, r.Asked)
	mined := j.byTag[string(r.Tag)]
	if len(mined) > 1 {
		j.violated(RuleOnce, "%s is mined %d times: %s and %s", name, len(mined), mined[0].Hash, mined[1].Hash)
	}
	for _, h := range r.Hashes {
		if h != r.Hashes[0] {
			j.violated(RuleSame, "%s was told %s and %s", name, r.Hashes[0], h)
		}
		if why := j.unaccounted(h, r); why != "" {
			j.violated(RuleHash, "%s was told %s, which %s", name, h, why)
		}
	}
	if len(r.Failures) > 0 {
		if len(mined) > 0 {
			j.violated(RuleRefused, "%s was refused (%s) and is mined as %s", name, r.Failures[0], mined[0].Hash)
		}
		if len(r.Hashes) > 0 {
			j.violated(RuleSame, "%s was told %s and refused: %s", name, r.Hashes[0], r.Failures[0])
		}
	}
	if r.Key != "" && r.Unknown != "" {
		j.violated(RuleAnswer, "%s ended without an answer: %s", name, r.Unknown)
	}
}

// unaccounted says why a returned hash is neither mined nor replaced by another
// attempt on record.
func (j *judge) unaccounted(h common.Hash, r *Request) string {
	if m, ok := j.mined[h]; ok {
		if !bytes.Equal(m.Input, r.Tag) {
			return "does something else"
		}
		return ""
	}
	a, ok := j.attempts[h]
	if !ok {
		return "is neither mined nor on record"
	}
	for _, m := range j.e.Chain {
		if m.From == a.Sender && m.Nonce == a.Nonce {
			if by, ours := j.attempts[m.Hash]; ours && (by.Tx == a.Tx || j.replaces(by.Tx, a.Tx)) {
				return ""
			}
			return fmt.Sprintf("lost its nonce %d to %s, which does not replace it", a.Nonce, m.Hash)
		}
	}
	return fmt.Sprintf("is on record for nonce %d and not mined", a.Nonce)
}

// replaces reports whether one row took another's nonce by a replacement.
func (j *judge) replaces(winner, loser string) bool {
	w, l := j.rows[winner], j.rows[loser]
	return l.State == "replaced" && w.Nonce != nil && l.Nonce != nil && *w.Nonce == *l.Nonce
}

// chain demands that whatever a sender has had mined is on record.
func (j *judge) chain() {
	for _, m := range j.e.Chain {
		if _, ok := j.attempts[m.Hash]; !ok {
			j.violated(RuleStored, "%s, nonce %d of %s, is mined and its bytes are not on record", m.Hash, m.Nonce, m.From)
		}
	}
}

// wire demands that whatever was shown to the node is on record, and that two
// transactions with one nonce are there for a reason that is on record.
func (j *judge) wire() {
	type place struct {
		from  common.Address
		nonce uint64
	}
	first := map[place]Wire{}
	for _, w := range j.e.Wire {
		if _, ok := j.attempts[w.Hash]; !ok {
			j.violated(RuleStored, "%s, nonce %d of %s, was shown to the node and its bytes are not on record", w.Hash, w.Nonce, w.From)
			continue
		}
		at := place{w.From, w.Nonce}
		other, taken := first[at]
		if !taken || other.Hash == w.Hash { // two proxies saw it
			first[at] = w
			continue
		}
		if !j.replacement(j.attempts[w.Hash]) && !j.replacement(j.attempts[other.Hash]) {
			j.violated(RuleSecond, "%s and %s were shown to the node for nonce %d of %s", other.Hash, w.Hash, w.Nonce, w.From)
		}
	}
}

// replacement reports whether an attempt is one on purpose: a bump, a cancel, or
// of a transaction that replaces, or was replaced by, another.
func (j *judge) replacement(a Attempt) bool {
	r := j.rows[a.Tx]
	return a.Kind != "first" || r.Kind == "fill" || r.Replaces != "" || r.State == "replaced"
}

// database demands that every row is final, and says what the chain says.
func (j *judge) database() {
	for _, r := range j.e.Rows {
		if !r.Final {
			j.violated(RuleUnfinished, "transaction %s is still %s", r.ID, r.State)
		}
	}
	for _, a := range j.e.Attempts {
		if _, isMined := j.mined[a.Hash]; !isMined || a.Hash == (common.Hash{}) {
			continue
		}
		switch r := j.rows[a.Tx]; {
		case r.State == "confirmed" && r.Hash != a.Hash:
			j.violated(RuleRows, "transaction %s is confirmed as %s and mined as %s", r.ID, r.Hash, a.Hash)
		case r.State != "confirmed" && r.Final && a.Kind != "cancel":
			j.violated(RuleRows, "transaction %s is %s (%s) and mined as %s", r.ID, r.State, r.Error, a.Hash)
		}
	}
	for _, r := range j.e.Rows {
		if _, isMined := j.mined[r.Hash]; r.State == "confirmed" && !isMined {
			j.violated(RuleRows, "transaction %s is confirmed as %s, which is not mined", r.ID, r.Hash)
		}
	}
}

// audit demands an intent and an outcome for each signature that was stored.
func (j *judge) audit() {
	for _, a := range j.e.Attempts {
		r, ok := j.rows[a.Tx]
		if a.Hash == (common.Hash{}) || !ok || r.Kind == "raw" {
			continue
		}
		if !j.e.Intents[r.Intent] {
			j.violated(RuleAudit, "transaction %s has no intent", r.ID)
			continue
		}
		found := false
		for _, o := range j.e.Outcomes[r.Intent] {
			found = found || o.Hash == a.Hash && o.Error == ""
		}
		if !found {
			j.violated(RuleAudit, "%s, signed for transaction %s, has no outcome", a.Hash, r.ID)
		}
	}
}
