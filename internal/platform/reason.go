// SPDX-License-Identifier: Apache-2.0

package platform

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/hsmsigner/hsmsigner/internal/key"
	"github.com/hsmsigner/hsmsigner/internal/node"
	"github.com/hsmsigner/hsmsigner/internal/wallet"
)

// reasonOf words for a tenant why his backend or node does not work. Nothing
// that a provider or a node wrote is in it. lasting says that it will not pass
// by itself.
func reasonOf(err error) (text string, lasting bool) {
	var (
		call     *key.CallError
		backend  *wallet.BackendError
		mismatch *node.ChainMismatchError
		refused  *node.Error
	)
	switch {
	case err == nil:
		return "", false
	case errors.As(err, &mismatch):
		return mismatch.Error(), true
	case errors.As(err, &call):
		text = call.Kind.Error()
		if call.Why != "" {
			text += ": " + call.Why
		}
		return text, !key.Transient(err)
	case errors.As(err, &backend):
		return backend.Error(), !backend.Transient()
	case errors.As(err, &refused):
		return fmt.Sprintf("node refused the request (code %d)", refused.Code), false
	case errors.Is(err, node.ErrTimeout), errors.Is(err, context.DeadlineExceeded):
		return "no answer in time", false
	}
	for _, known := range []error{node.ErrUnavailable, node.ErrBadResponse, node.ErrTooLarge} {
		if errors.Is(err, known) {
			// Package node has words of its own for what went wrong.
			return nodePhrase(err, known), false
		}
	}
	return "not reachable", false
}

// nodePhrase is the error of package node without what it was wrapped in: it
// begins with its kind, and has a phrase of that package's own behind it.
func nodePhrase(err, kind error) string {
	for ; err != nil; err = errors.Unwrap(err) {
		if strings.HasPrefix(err.Error(), kind.Error()) {
			return err.Error()
		}
	}
	return kind.Error()
}

// settledState is the state that a service's doings amount to. late says that
// it had its time to get ready.
func settledState(run RunStatus, late bool) (state, reason string) {
	if run.Listed && run.Verified {
		return Started, ""
	}
	lasting := late
	if !run.Listed {
		text, ends := reasonOf(run.Backend.Err)
		reason, lasting = text, lasting || ends
	}
	if !run.Verified {
		text, ends := reasonOf(run.Node.Err)
		if reason != "" && text != "" {
			reason += "; "
		}
		reason, lasting = reason+text, lasting || ends
	}
	switch {
	case reason == "" && !late:
		return Provisioning, ""
	case reason == "" && !run.Listed:
		return Failed, "the key backend has not answered yet"
	case reason == "":
		return Failed, "the node has not answered yet"
	case lasting:
		return Failed, reason
	}
	return Provisioning, reason
}
