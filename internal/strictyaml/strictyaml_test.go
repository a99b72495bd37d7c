// SPDX-License-Identifier: Apache-2.0

package strictyaml

import "testing"

func TestTextThatIsNoOneDocumentIsNamedWithItsLine(t *testing.T) {
	for text, want := range map[string]string{
		"":                 "f: is empty: want something",
		"# nothing\n":      "f: is empty: want something",
		"a: 1\n---\nb: 2":  "f:2: holds a second YAML document: want one",
		"a: 1\n b: 2\n":    "f:2: not valid YAML: mapping values are not allowed in this context",
		"\xff\xfe\x00\xd8": "f: not valid YAML: incomplete UTF-16 surrogate pair",
	} {
		_, p := Root([]byte(text), "something")
		if p == nil {
			t.Errorf("%q: no problem", text)
			continue
		}
		p.File = "f"
		if p.String() != want {
			t.Errorf("%q: %s", text, p)
		}
	}
	if root, p := Root([]byte(`{"a": 1}`), "something"); p != nil || len(root.Content) != 2 {
		t.Errorf("%v %v", root, p)
	}
}

func TestProblemsComeInTheOrderOfTheirLines(t *testing.T) {
	e := Errors{{File: "f", Line: 3, Path: "c", Message: "x"}, {File: "f", Line: 1, Path: "b", Message: "y"}, {File: "f", Line: 1, Path: "a", Message: "z"}}
	if got, want := e.Sorted().Error(), "f:1: a: z\nf:1: b: y\nf:3: c: x"; got != want {
		t.Errorf("%s", got)
	}
}
