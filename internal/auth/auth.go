// SPDX-License-Identifier: Apache-2.0

// Package auth says who is asking. A [Principal] is handed from the front
// door to the work as a parameter, never hidden in a context, so that every
// signature can be traced to somebody.
package auth

// Principal is an authenticated caller.
type Principal struct {
	// Name is stable and unique within the deployment. It scopes idempotency
	// keys and replacement of transactions, and stands in every audit row:
	// "anonymous" with auth none, "app:<username>" for an app credential,
	// "cert:<identity>" for mutual TLS, "operator" for the CLI, "system" for
	// repairs that the transaction manager makes itself.
	Name string
}

// Principals that are not credentials.
var (
	Anonymous = Principal{Name: "anonymous"}
	Operator  = Principal{Name: "operator"}
	System    = Principal{Name: "system"}
)
