// SPDX-License-Identifier: Apache-2.0

//go:build race

package gcpkms

// manyKeys is a fifth of what the test without the race detector discovers:
// under it each of the forty thousand messages costs ten times as much.
const manyKeys = 2_000
