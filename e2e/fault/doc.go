// SPDX-License-Identifier: Apache-2.0

// Package fault is the fault harness: it runs the real daemon, built with the tag
// faultpoints, as one process on SQLite or as several on one PostgreSQL, in front
// of a real chain; puts proxies that drop, delay, cut, duplicate and lie between
// them; kills, stops and starves them by a schedule that a seed decides; and lets
// many clients send meanwhile.
//
// Afterwards a checker, which believes nobody but the chain's blocks and the
// database's rows, judges: nonces of each address contiguous, each idempotency
// key's transaction mined exactly once, each returned hash mined or explicitly
// replaced, nothing both refused and mined, nothing left unfinished, and an audit
// intent and outcome for each signature.
//
// It guarantees that a run ends, that no process of it is left, and that a run
// with a violation keeps its folder. The same seed gives the same schedule, though
// not the same interleaving: the machine takes part in that.
//
//	go test ./e2e/fault                         the short version
//	FAULT_RUNS=50 go test ./e2e/fault           more runs
//	go run ./e2e/fault/soak                     500 runs on SQLite, 300 on PostgreSQL
//	go run ./e2e/fault/soak -seed 17 -store sqlite   one run again
//	go run ./e2e/fault/soak -steady 20m         full rate, and does it level off
package fault
