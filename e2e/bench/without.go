// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"slices"

	"github.com/hsmsigner/hsmsigner/e2e/harness"
)

// What a daemon of the bench can be built without. The sources of the product have
// no switch for it, not even a build tag: the bench compiles other texts of them.
const (
	withoutLog   = "without-audit-log"   // the rows of transactions are written, and do not get into the log
	withoutAudit = "without-audit-trail" // neither row nor log of a transaction
)

// silenced is what functions begin with, by file, without a part of the audit
// trail. Events stay: there is none per transaction, and the start waits for its own.
func silenced(part string) map[string]map[string]string {
	begin := map[string]string{"stamp": "if kind != audit.EventKind {\n\t\treturn nil\n\t}"}
	if part == withoutAudit {
		begin = map[string]string{"AuditIntent": "return nil", "AuditOutcome": "return nil"}
	}
	return map[string]map[string]string{"internal/store/auditlog.go": begin}
}

// without is the path of a daemon without a part of the audit trail, built once.
func (b *bench) without(part string) string {
	path := filepath.Join(b.h.base, part, "hsmsigner")
	if _, err := os.Stat(path); err == nil {
		return path
	}
	root, err := harness.Root()
	if err != nil {
		b.h.Fatalf("%v", err)
	}
	changed := map[string][]byte{}
	for name, bodies := range silenced(part) {
		if changed[name], err = silence(filepath.Join(root, filepath.FromSlash(name)), bodies); err != nil {
			b.h.Fatalf("%v", err)
		}
	}
	b.compile(part, path, changed)
	return path
}

// silence returns a source in which functions begin with other statements, by name.
// One that it cannot find is an error: a bench that compares a daemon with itself
// would find that all is well.
func silence(path string, begin map[string]string) ([]byte, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	set := token.NewFileSet()
	file, err := parser.ParseFile(set, path, text, parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	type place struct {
		offset    int
		statement string
	}
	var places []place
	for _, d := range file.Decls {
		if f, ok := d.(*ast.FuncDecl); ok && begin[f.Name.Name] != "" {
			places = append(places, place{set.Position(f.Body.Lbrace).Offset + 1, begin[f.Name.Name]})
		}
	}
	if len(places) != len(begin) {
		return nil, fmt.Errorf("bench: %s has %d of the functions %v: the bench no longer knows how to leave out the audit trail", path, len(places), begin)
	}
	for _, p := range slices.Backward(places) {
		text = slices.Concat(text[:p.offset], []byte("\n\t"+p.statement+"\n"), text[p.offset:])
	}
	return text, nil
}
