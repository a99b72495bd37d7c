// SPDX-License-Identifier: Apache-2.0

package main

import (
	"strings"
	"testing"
)

func TestTotalsAndExitCode(t *testing.T) {
	for _, c := range []struct {
		name, in string
		code     int
		want     []string // all in the output, the last one as its last line
	}{
		{"all pass", `
{"Action":"run","Package":"p","Test":"TestA"}
{"Action":"output","Package":"p","Test":"TestA","Output":"chatter\n"}
{"Action":"pass","Package":"p","Test":"TestA/sub"}
{"Action":"pass","Package":"p","Test":"TestA"}
{"Action":"pass","Package":"p","Elapsed":1.25}
{"Action":"skip","Package":"none"}
`, 0, []string{"ok    p  1.2s", "none  no tests", "2 passed, 0 failed"}},
		{"a failure shows its output", `
{"Action":"output","Package":"p","Test":"TestA","Output":"boom\n"}
{"Action":"fail","Package":"p","Test":"TestA"}
{"Action":"pass","Package":"p","Test":"TestB"}
{"Action":"fail","Package":"p"}
`, 1, []string{"--- FAIL p TestA\nboom", "FAIL  p", "1 passed, 1 failed"}},
		{"a package that does not build is a failure", `
{"Action":"build-output","ImportPath":"p","Output":"p.go:1: syntax error\n"}
{"Action":"build-fail","ImportPath":"p"}
{"Action":"fail","Package":"p","Elapsed":0}
{"Action":"pass","Package":"q","Test":"TestB"}
`, 1, []string{"p.go:1: syntax error", "1 passed, 1 failed"}},
		{"a panic names the test that did not end", `
{"Action":"output","Package":"p","Test":"TestA","Output":"panic: boom\n"}
{"Action":"fail","Package":"p"}
`, 1, []string{"did not end: p TestA\npanic: boom", "0 passed, 1 failed"}},
		{"a skip is a failure of the run", `
{"Action":"pass","Package":"p","Test":"TestA"}
{"Action":"skip","Package":"p","Test":"TestB"}
`, 1, []string{"SKIP  p TestB", "1 passed, 0 failed, 1 skipped"}},
		{"nothing at all", "", 1, []string{"0 passed, 0 failed"}},
		{"words of the go command are kept", "go: updates to go.mod needed\n", 1, []string{"go: updates to go.mod needed", "0 passed, 0 failed"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var out strings.Builder
			if code := run(strings.NewReader(strings.TrimPrefix(c.in, "\n")), &out); code != c.code {
				t.Errorf("exit code %d, want %d", code, c.code)
			}
			for _, want := range c.want {
				if !strings.Contains(out.String(), want) {
					t.Errorf("no %q in:\n%s", want, out.String())
				}
			}
			if last := c.want[len(c.want)-1]; !strings.HasSuffix(out.String(), "\n"+last+"\n") {
				t.Errorf("the last line is not %q:\n%s", last, out.String())
			}
		})
	}
}
