// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/hsmsigner/hsmsigner/internal/config"
	"github.com/hsmsigner/hsmsigner/internal/control"
	"github.com/hsmsigner/hsmsigner/internal/key"
	"github.com/hsmsigner/hsmsigner/internal/store"
)

// The exit codes; the help of the root command explains them.
const (
	exitOK          = 0
	exitError       = 1
	exitUsage       = 2
	exitConfig      = 3
	exitNotFound    = 4
	exitUnavailable = 5
)

// usageError is a command line that could not be understood.
type usageError struct {
	err     error
	command string
}

func (e *usageError) Error() string { return e.err.Error() }
func (e *usageError) Unwrap() error { return e.err }

// configError is a config file that could not be read or is not valid.
type configError struct{ err error }

func (e *configError) Error() string { return e.err.Error() }
func (e *configError) Unwrap() error { return e.err }

var errNotFound = errors.New("not found")

// notFound words an error that ends with exitNotFound.
func notFound(format string, args ...any) error {
	return &notFoundError{fmt.Sprintf(format, args...)}
}

type notFoundError struct{ message string }

func (e *notFoundError) Error() string        { return e.message }
func (e *notFoundError) Is(target error) bool { return target == errNotFound }

// exitCode is the one table from errors to exit codes.
func exitCode(err error) int {
	switch {
	case err == nil:
		return exitOK
	case is[*usageError](err):
		return exitUsage
	case is[*configError](err):
		return exitConfig
	case errors.Is(err, errNotFound), errors.Is(err, control.ErrNotFound), errors.Is(err, store.ErrNotFound), errors.Is(err, key.ErrNotFound):
		return exitNotFound
	case errors.Is(err, control.ErrNotRunning), errors.Is(err, store.ErrInUse):
		return exitUnavailable
	}
	return exitError
}

func is[T error](err error) bool {
	var target T
	return errors.As(err, &target)
}

// printError says what went wrong and, where that is known, what to do.
func printError(w io.Writer, err error) {
	var problems config.Errors
	var usage *usageError
	switch {
	case errors.As(err, &problems):
		// File and line first, so that editors can jump there.
		fmt.Fprintln(w, problems)
		fmt.Fprintf(w, "hsmsigner: the config has %s\n", count(len(problems), "problem"))
	case errors.As(err, &usage):
		fmt.Fprintf(w, "hsmsigner: %s\nTry: %s --help\n", strings.TrimSpace(err.Error()), usage.command)
	case errors.Is(err, control.ErrNotRunning):
		fmt.Fprintf(w, "hsmsigner: %s\nStart it with: hsmsigner serve --config …\n", err)
	default:
		fmt.Fprintf(w, "hsmsigner: %s\n", err)
	}
}

func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
