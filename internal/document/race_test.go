// SPDX-License-Identifier: Apache-2.0

//go:build race

package document

// bitStep makes the tests that flip every bit flip one of so many: the race
// detector, which has nothing to find there, would take a minute over them.
const bitStep = 11
