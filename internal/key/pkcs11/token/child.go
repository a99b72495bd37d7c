// SPDX-License-Identifier: Apache-2.0

//go:build cgo

package token

import (
	"os"
	"os/signal"
	"syscall"
)

// Child is all that the child process does: it reads requests from stdin and
// writes replies to stdout until stdin ends. It gives the exit status.
//
// What the module prints on standard output goes to standard error, since it
// would garble the replies, and it finds no standard input. Signals that end the
// daemon do not end the child, which the daemon still needs to sign what it has
// accepted. A core dump would hold the PIN: there is none.
func Child(stdin, stdout *os.File) int {
	signal.Ignore(os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	noCoreDump()
	in, out, err := setAside(stdin, stdout)
	if err != nil {
		return exitRequest
	}
	return serve(in, out)
}
