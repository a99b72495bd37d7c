// SPDX-License-Identifier: Apache-2.0

package apply_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/hsmsigner/hsmsigner/internal/apply"
)

func TestExampleOfTheDocsCanBeApplied(t *testing.T) {
	text, err := os.ReadFile("../../docs/examples/platform.yaml")
	if err != nil {
		t.Fatal(err)
	}
	r := newRig(t)
	if err := os.Mkdir(filepath.Join(r.dir, "secrets"), 0o700); err != nil {
		t.Fatal(err)
	}
	r.write(t, "secrets/node-url", "https://node.example.org/v3/key\n")
	t.Setenv("AWS_SECRET", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")
	done, _ := r.apply(t, string(text), false)
	for _, kind := range apply.Kinds() {
		if !slices.ContainsFunc(done, func(l string) bool { return strings.HasPrefix(l, "create "+string(kind)) }) {
			t.Errorf("the example makes no %s", kind)
		}
	}
	again, _ := r.apply(t, string(text), false)
	for _, line := range again {
		if !strings.HasPrefix(line, "unchanged") {
			t.Errorf("the second time: %s", line)
		}
	}
}
