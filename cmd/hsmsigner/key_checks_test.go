// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"reflect"
	"strings"
	"testing"

	"github.com/hsmsigner/hsmsigner/internal/key/keycheck"
)

func TestChecksRunOutsideOfGoTest(t *testing.T) {
	var out strings.Builder
	var order []string
	report := runChecks(t.Context(), &out, func(t keycheck.T) {
		t.Run("Group", func(t keycheck.T) {
			t.Cleanup(func() { order = append(order, "first cleanup") })
			t.Cleanup(func() { order = append(order, "second cleanup") })
			t.Run("Good", func(t keycheck.T) { t.Logf("seen") })
			t.Run("Fatal", func(t keycheck.T) {
				t.Cleanup(func() { order = append(order, "cleanup of fatal") })
				t.Fatalf("wrong")
				order = append(order, "unreachable")
			})
			t.Run("Panics", func(keycheck.T) { panic("oops") })
			t.Run("Partly", func(t keycheck.T) { t.NotTested("the rest") })
			if t.Run("Error", func(t keycheck.T) { t.Errorf("also wrong") }) {
				order = append(order, "Run says that a failed check passed")
			}
		})
	})
	outcomes := map[string]string{}
	for _, c := range report.checks {
		outcomes[c.Name] = c.Outcome
	}
	want := map[string]string{
		"Group/Good": "passed", "Group/Fatal": "failed", "Group/Panics": "failed", "Group/Partly": "not tested", "Group/Error": "failed",
	}
	if !reflect.DeepEqual(outcomes, want) || report.failed != 3 || report.passed != 1 {
		t.Errorf("got %v, %d failed, %d passed", outcomes, report.failed, report.passed)
	}
	if got := strings.Join(order, ", "); got != "cleanup of fatal, second cleanup, first cleanup" {
		t.Errorf("order: %s", got)
	}
	for _, line := range []string{"pass  Group/Good", "      seen", "FAIL  Group/Fatal", "      wrong", "      panic: oops", "none  Group/Partly"} {
		if !strings.Contains(out.String(), line) {
			t.Errorf("%q is missing in\n%s", line, out.String())
		}
	}
}

func TestInterruptedChecksFail(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	var out strings.Builder
	report := runChecks(ctx, &out, func(t keycheck.T) {
		t.Run("Group", func(t keycheck.T) {
			t.Run("First", func(keycheck.T) { cancel() })
			t.Run("Second", func(t keycheck.T) { t.Logf("ran") })
		})
	})
	if report.failed == 0 || strings.Contains(out.String(), "Second") {
		t.Errorf("%d failed:\n%s", report.failed, out.String())
	}
}
