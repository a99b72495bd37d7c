// SPDX-License-Identifier: Apache-2.0

package platform_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/hsmsigner/hsmsigner/internal/key"
	"github.com/hsmsigner/hsmsigner/internal/node"
	"github.com/hsmsigner/hsmsigner/internal/platform"
)

func TestStateFollowsFromBackendAndNode(t *testing.T) {
	denied := &key.CallError{Op: "list", Kind: key.ErrDenied, Why: "the client secret has expired"}
	away := &key.CallError{Op: "list", Kind: key.ErrUnavailable, Why: "no such host: check vault_name"}
	well := platform.Dependency{OK: true}
	ill := func(err error) platform.Dependency { return platform.Dependency{Err: err} }
	for _, c := range []struct {
		name          string
		run           platform.RunStatus
		late          bool
		state, reason string
	}{
		{"both well", platform.RunStatus{Listed: true, Verified: true, Backend: well, Node: well}, false, platform.Started, ""},
		{"was ready once", platform.RunStatus{Listed: true, Verified: true, Backend: ill(denied), Node: ill(node.ErrTimeout)}, true, platform.Started, ""},
		{"nothing known yet", platform.RunStatus{}, false, platform.Provisioning, ""},
		{"nothing known for long", platform.RunStatus{}, true, platform.Failed, "the key backend has not answered yet"},
		{"no node for long", platform.RunStatus{Listed: true}, true, platform.Failed, "the node has not answered yet"},
		{"wrong secret", platform.RunStatus{Verified: true, Backend: ill(denied)}, false, platform.Failed, "key backend denied access: the client secret has expired"},
		{"vault away", platform.RunStatus{Verified: true, Backend: ill(away)}, false, platform.Provisioning, "key backend unavailable: no such host: check vault_name"},
		{"vault away for long", platform.RunStatus{Verified: true, Backend: ill(away)}, true, platform.Failed, "key backend unavailable: no such host: check vault_name"},
		{"both ill", platform.RunStatus{Backend: ill(away), Node: ill(&node.ChainMismatchError{Want: 2, Got: 3})}, false, platform.Failed, "key backend unavailable: no such host: check vault_name; node serves chain id 3, not 2"},
	} {
		if state, reason := platform.SettledState(c.run, c.late); state != c.state || reason != c.reason {
			t.Errorf("%s: %s, %q", c.name, state, reason)
		}
	}
}

func TestReasonsShowNothingThatOthersWrote(t *testing.T) {
	const foreign = "CANARY"
	for _, err := range []error{
		errors.New(foreign), fmt.Errorf(foreign+": %w", node.ErrUnavailable), fmt.Errorf(foreign+": %w", context.DeadlineExceeded),
		&node.Error{Code: -32000, Message: foreign}, &key.CallError{Op: foreign, Ref: foreign, Kind: key.ErrBadResponse, RequestID: foreign},
		fmt.Errorf(foreign+": %w", &key.ThrottledError{}),
	} {
		if text, _ := platform.ReasonOf(err); strings.Contains(text, foreign) || text == "" {
			t.Errorf("%v gives %q", err, text)
		}
	}
}
