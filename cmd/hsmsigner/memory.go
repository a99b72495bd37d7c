// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"runtime"
)

// ballastSize is the size of an allocation that is never touched, in bytes.
const ballastSize = 8 << 20

// ballast makes the heap grow to twice its size before it is collected. What is
// live is a few MiB in a small daemon; it would be collected ten times a second
// under load, a tenth of the work. The memory is never touched, so it is none of
// the machine's; and unlike a higher GOGC it does not multiply a moment in which
// much is live. GOGC in the environment switches it off. Call release at the end.
func ballast() (release func()) {
	if os.Getenv("GOGC") != "" {
		return func() {}
	}
	weight := make([]byte, ballastSize)
	return func() { runtime.KeepAlive(weight) }
}
