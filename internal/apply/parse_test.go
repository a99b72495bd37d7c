// SPDX-License-Identifier: Apache-2.0

package apply_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/hsmsigner/hsmsigner/internal/apply"
)

func TestMistakesAreReportedWithTheirLines(t *testing.T) {
	for text, want := range map[string]string{
		"":                               "declares nothing",
		"---\n---\n":                     "declares nothing",
		"{kind: wallet, name: x}":        "a.yaml:1: kind: want one of",
		"hunter2":                        "a.yaml:1: want a resource",
		"- kind: node\n  nam: x":         "a.yaml:2: nam: a node has no such field",
		"kind: node":                     "name: is missing",
		"{kind: node, name: 1}":          "name: want text, in quotes",
		"{kind: node, name: x, name: y}": "name: is given twice",
		"{kind: node, name: [x}":         "not valid YAML",
		"- {kind: consortium, name: x}\n- {kind: consortium, name: x}":                          "a.yaml:2: consortium x is declared at a.yaml:1 already",
		"{kind: configuration, name: x}":                                                        "details: is missing",
		"{kind: configuration, name: x, details: {provider: azure, user_secret: hunter2}}":      "details.user_secret: must not stand in this file",
		"{kind: configuration, name: x, details: {deep: {api_token: hunter2}}}":                 "details.deep.api_token: must not stand in this file",
		"{kind: configuration, name: x, details: {user_secret: {file: ./missing}}}":             "missing: no such file",
		"{kind: configuration, name: x, details: {user_secret: {env: HSMSIGNER_TEST_NO_SUCH}}}": "is not set",
		"{kind: node, name: x, urls: {rpc: 'https://u:hunter2@h'}}":                             "urls.rpc: holds a password",
		"{kind: service, name: x}":                                                              "configuration: is missing",
		"{kind: service, name: x, configuration: y, details: {node_id: z}}":                     "write configuration and node instead",
		"{kind: appcred, name: x}":                                                              "secret_to: is missing",
		"{kind: appcred, name: x, auth_type: mtls, username: y, secret_to: z}":                  "has no password",
		"{kind: apikey, name: x, grants: [{role: admin}]}":                                      "secret_to: is missing",
		"{kind: node, name: x, urls: &a {b: *a}}":                                               "nested too deeply",
		"a: &a {kind: node}\n<<: *a":                                                            "merge keys",
	} {
		_, err := apply.Parse("a.yaml", strings.NewReader(text))
		var errs apply.Errors
		if !errors.As(err, &errs) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v; want %q", text, err, want)
		}
		if err != nil && strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: the mistake shows the value: %v", text, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(whole)
	f.Add("- {kind: node, name: x, urls: {rpc: {env: PATH}}}")
	f.Add("{kind: node, name: x, urls: &a {b: *a, c: [*a]}}")
	f.Fuzz(func(_ *testing.T, text string) {
		_, _ = apply.Parse("a.yaml", strings.NewReader(text)) // neither panics nor hangs
	})
}
