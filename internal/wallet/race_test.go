// SPDX-License-Identifier: Apache-2.0

//go:build race

package wallet

// slower is how much more time the race detector takes.
const slower = 10
