// SPDX-License-Identifier: Apache-2.0

// Package faultpoint names the places where the daemon is most worth killing,
// and lets the fault harness (e2e/fault) strike there.
//
// It guarantees that a daemon built without the build tag `faultpoints` has none
// of it: [At] and [Error] are then empty functions that the compiler removes, no
// environment variable is read and nothing can be made to fail from outside. With
// the tag, a schedule in the environment, and optionally a file that is read
// again whenever it changes, says what happens at which hit of which point.
//
// It never decides anything by itself: without a schedule a daemon built with the
// tag behaves like one without.
package faultpoint

// The points, in the order in which one transaction passes them.
const (
	// Accept is just before the commit of a round that accepts a request.
	Accept = "accept"
	// Nonce is right after the commit that assigned a nonce: row, intent and
	// attempt are stored, and nothing has been asked of the backend.
	Nonce = "nonce"
	// Intent is where an audit intent is known to be committed, before the key
	// backend is asked.
	Intent = "intent"
	// Sign is the call of the key backend itself. An error here is the
	// backend's, a delay its latency.
	Sign = "sign"
	// Signed is where the backend has answered and nothing of it is stored.
	Signed = "signed"
	// Store is right after the commit that stored signed bytes, before any of
	// them is sent.
	Store = "store"
	// Send is just before bytes go to the node.
	Send = "send"
	// Sent is where the node has answered and nobody has heard of it yet.
	Sent = "sent"
	// Reply is just before an answer goes to a caller.
	Reply = "reply"
	// Receipt is where a receipt has been read and is not committed.
	Receipt = "receipt"
	// CommitBefore is just before the store's COMMIT. An error here is a COMMIT
	// that failed and did nothing.
	CommitBefore = "commit-before"
	// CommitAfter is right after a COMMIT that succeeded. An error here is a
	// COMMIT whose reply was lost.
	CommitAfter = "commit-after"
)

// Points lists all points.
func Points() []string {
	return []string{Accept, Nonce, Intent, Sign, Signed, Store, Send, Sent, Reply, Receipt, CommitBefore, CommitAfter}
}

// The environment variables that a daemon built with the tag reads.
const (
	// EnvRules holds rules; see [ParseRules].
	EnvRules = "HSMSIGNER_FAULTPOINTS"
	// EnvFile names a file with rules beside those of EnvRules. It is read again
	// within 20 ms of a change, and need not exist.
	EnvFile = "HSMSIGNER_FAULTPOINTS_FILE"
	// EnvHits names a file to which each hit appends a line with the point's name
	// before anything else happens there, and each action a line with the point's
	// name, a space and the action. What was appended survives the process.
	EnvHits = "HSMSIGNER_FAULTPOINTS_HITS"
)

// InjectedError is what [Error] returns where a rule says so.
type InjectedError struct {
	Point string
	Kind  string // the rule's word, such as "unavailable"; may be empty
}

func (e *InjectedError) Error() string {
	if e.Kind == "" {
		return "injected at " + e.Point
	}
	return "injected at " + e.Point + ": " + e.Kind
}
