// SPDX-License-Identifier: Apache-2.0

// Command hsmsigner is the signing daemon and its command line.
//
// This package only puts things together: it reads the command line and the
// config, builds the pieces of internal/ in order, and turns errors into exit
// codes. It decides nothing about transactions or keys.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/hsmsigner/hsmsigner/internal/key/pkcs11"
)

func main() {
	// A PKCS#11 library runs in a process of its own: this one again.
	if len(os.Args) == 2 && os.Args[1] == pkcs11.ChildArgument {
		os.Exit(pkcs11.Child(os.Stdin, os.Stdout))
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second Ctrl-C ends the process at once
	os.Exit(run(ctx, os.Args, os.Stdout, os.Stderr))
}
