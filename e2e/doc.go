// SPDX-License-Identifier: Apache-2.0

// Package e2e holds the end-to-end tests: real client programs on one side, a real
// node on the other, and between them the daemon as a process of its own, as it is
// shipped. What the tests claim is read from the chain, never from the daemon.
//
// They need `npm ci` in e2e/clients once (`make test` does it) and Node.js 18.
//
//	go test ./e2e/                     all
//	E2E_KILL_ROUNDS=3 go test ./e2e/   fewer rounds of kill -9
//	E2E_BIN=bin go test ./e2e/         with the hsmsigner and devnet of this folder
//	E2E_RACE=1 go test ./e2e/          the daemon with the race detector
package e2e
