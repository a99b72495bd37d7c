// SPDX-License-Identifier: Apache-2.0

// Package oversight shows, on real processes and over the doors that strangers use,
// that rules, limits, people and the stop switch hold: for every method and every
// type of transaction, on several replicas at once, and across a kill -9. What was
// let through is read from the chain and from the audit log, not from answers alone.
package oversight
