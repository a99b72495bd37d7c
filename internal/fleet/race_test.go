// SPDX-License-Identifier: Apache-2.0

//go:build race

package fleet_test

// slower is how much more time the race detector takes.
const slower = 10
