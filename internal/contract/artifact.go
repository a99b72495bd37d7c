// SPDX-License-Identifier: Apache-2.0

package contract

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"regexp"
	"sort"
	"strings"

	"github.com/hsmsigner/hsmsigner/internal/strictjson"
	"github.com/hsmsigner/hsmsigner/internal/tx"
)

const (
	// maxArtifact bounds what a compiler has written, in bytes.
	maxArtifact = 8 << 20
	// maxDocs bounds the NatSpec of a contract, in bytes.
	maxDocs = 1 << 20
	// maxCode bounds creation code: no node takes a larger transaction.
	maxCode = tx.MaxSize
)

const howToCompile = "compile it (solc --combined-json abi,bin,devdoc,userdoc; npx hardhat compile; forge build) and upload the artifact"

// ParseArtifact reads what a compiler has written: a Hardhat, Foundry or Truffle
// artifact, {"abi", "bytecode"}, a bare ABI array, or solc's output (combined or
// standard JSON) of one contract. Solidity source is refused with a word on how to
// compile it. The error is an *InputError. What the ABI holds is looked at by
// Upload.
func ParseArtifact(data []byte) (Upload, error) {
	if len(data) > maxArtifact {
		return Upload{}, inputErr("artifact", "longer than %d bytes", maxArtifact)
	}
	text := bytes.TrimSpace(data)
	switch {
	case len(text) == 0:
		return Upload{}, inputErr("artifact", "empty; want what a compiler has written, as JSON")
	case bytes.HasPrefix(text, []byte("PK\x03\x04")), bytes.HasPrefix(text, []byte("\x1f\x8b")):
		return Upload{}, inputErr("artifact", "an archive; nothing is compiled here: %s", howToCompile)
	case text[0] != '{' && text[0] != '[':
		if isSource(text) {
			return Upload{}, inputErr("artifact", "source code is not compiled here: %s", howToCompile)
		}
		return Upload{}, inputErr("artifact", "no JSON; want what a compiler has written: an object with abi and bytecode, or an ABI array")
	}
	v, err := strictjson.Parse(text)
	if err != nil {
		msg := strings.TrimPrefix(err.Error(), strictjson.ErrSyntax.Error()+": ")
		return Upload{}, inputErr("artifact", "no JSON that can be read: %s; of a large artifact its members abi and bytecode are enough", excerpt(msg))
	}
	if v.Kind == strictjson.Array {
		return Upload{ABI: v.AppendTo(nil)}, nil
	}
	if all := v.Get("contracts"); all.Kind == strictjson.Object {
		return solcOutput(v, all)
	}
	return artifactOf(v)
}

// source are the ways in which a Solidity or Vyper file begins.
var source = regexp.MustCompile(`(?m)^\s*(pragma\s+(solidity|vyper|experimental)|// SPDX-License-Identifier|#\s*(pragma|@version)|import\s+["'{*]|(abstract\s+)?contract\s+\w+|library\s+\w+|interface\s+\w+)`)

func isSource(text []byte) bool { return source.Match(text[:min(len(text), 64<<10)]) }

// solcOutput reads {"contracts": …}: of the combined output by "file:Name", of the
// standard one by file and name.
func solcOutput(v, all strictjson.Value) (Upload, error) {
	var names []string
	var found []strictjson.Value
	for _, m := range all.Members {
		if m.Value.Get("abi").Present() {
			names, found = append(names, m.Name), append(found, m.Value)
			continue
		}
		for _, inner := range m.Value.Members {
			if inner.Value.Get("abi").Present() {
				names, found = append(names, m.Name+":"+inner.Name), append(found, inner.Value)
			}
		}
	}
	switch len(found) {
	case 0:
		return Upload{}, inputErr("artifact", "solc's output has no contract with an ABI: ask it for abi and bin")
	case 1:
	default:
		sort.Strings(names)
		const most = 8
		if len(names) > most {
			names = append(names[:most], "…")
		}
		return Upload{}, inputErr("artifact", "solc's output has %d contracts (%s); upload one: {\"contracts\": {\"file:Name\": {…}}}", len(found), excerpt(strings.Join(names, ", ")))
	}
	u, err := artifactOf(found[0])
	if err != nil {
		return Upload{}, err
	}
	if u.Name == "" {
		u.Name = names[0][strings.LastIndexByte(names[0], ':')+1:]
	}
	if version := v.Get("version"); u.Compiler == "" && version.Kind == strictjson.String {
		u.Compiler = version.Text
	}
	return u, nil
}

// artifactOf reads one contract, whoever has written it.
func artifactOf(v strictjson.Value) (Upload, error) {
	list := v.Get("abi")
	if list.Kind == strictjson.String { // solc before 0.8 writes it so
		parsed, err := strictjson.Parse([]byte(list.Text))
		if err != nil {
			return Upload{}, inputErr("abi", "a string that is %s", excerpt(err.Error()))
		}
		list = parsed
	}
	if list.Kind != strictjson.Array {
		return Upload{}, inputErr("abi", "want the array of the contract's interface, got %s", list.Kind)
	}
	u := Upload{ABI: list.AppendTo(nil)}
	code, where := codeOf(v)
	if code.Present() && code.Kind != strictjson.String {
		return Upload{}, inputErr(where, "want a string of hexadecimal digits, got %s", code.Kind)
	}
	parsed, wrong := parseCode(code.Text, where)
	if wrong != nil {
		return Upload{}, wrong
	}
	u.Bytecode = parsed
	meta := metadataOf(v)
	u.Name = textOf(v.Get("contractName"))
	if target := meta.Get("settings").Get("compilationTarget"); u.Name == "" && len(target.Members) == 1 {
		u.Name = textOf(target.Members[0].Value)
	}
	if u.Compiler = textOf(v.Get("compiler").Get("version")); u.Compiler == "" {
		u.Compiler = textOf(meta.Get("compiler").Get("version"))
	}
	u.Docs = docsOf(v, meta.Get("output"))
	return u, nil
}

// codeOf finds the creation code, and says under which name.
func codeOf(v strictjson.Value) (code strictjson.Value, where string) {
	if b := v.Get("bytecode"); b.Present() {
		if o := b.Get("object"); b.Kind == strictjson.Object {
			return o, "bytecode.object"
		}
		return b, "bytecode"
	}
	if b := v.Get("bin"); b.Present() {
		return b, "bin"
	}
	return v.Get("evm").Get("bytecode").Get("object"), "evm.bytecode.object"
}

// parseCode reads creation code: hexadecimal digits, with 0x or without; nil if
// there are none. The error is an *InputError about the field.
func parseCode(text, field string) ([]byte, error) {
	digits := strings.TrimPrefix(strings.TrimSpace(text), "0x")
	if digits == "" {
		return nil, nil
	}
	if at := strings.Index(digits, "__"); at >= 0 {
		return nil, inputErr(field, "it is not linked: there is the place of a library, %s, in it; link it when you compile", excerpt(digits[at:min(len(digits), at+40)]))
	}
	if len(digits) > 2*maxCode {
		return nil, inputErr(field, "%d bytes, and no node takes a transaction of more than %d", len(digits)/2, maxCode)
	}
	code, err := hex.DecodeString(digits)
	if err != nil {
		return nil, inputErr(field, "want an even number of hexadecimal digits: %s", strings.TrimPrefix(err.Error(), "encoding/hex: "))
	}
	return code, nil
}

// metadataOf is the compiler's metadata, as an object or as a string of one.
func metadataOf(v strictjson.Value) strictjson.Value {
	for _, name := range []string{"metadata", "rawMetadata"} {
		m := v.Get(name)
		if m.Kind == strictjson.Object {
			return m
		}
		if m.Kind == strictjson.String && len(m.Text) <= maxDocs {
			if parsed, err := strictjson.Parse([]byte(m.Text)); err == nil {
				return parsed
			}
		}
	}
	return strictjson.Value{}
}

// docsOf gathers NatSpec from the first place that has it; nil if none has.
func docsOf(places ...strictjson.Value) json.RawMessage {
	var b []byte
	for _, name := range []string{"devdoc", "userdoc"} {
		for _, place := range places {
			doc := place.Get(name)
			if doc.Kind == strictjson.String {
				if parsed, err := strictjson.Parse([]byte(doc.Text)); err == nil {
					doc = parsed
				}
			}
			if doc.Kind != strictjson.Object || len(doc.Members) == 0 {
				continue
			}
			if b == nil {
				b = append(b, '{')
			} else {
				b = append(b, ',')
			}
			b = append(strictjson.AppendString(b, name), ':')
			b = doc.AppendTo(b)
			break
		}
	}
	if b == nil {
		return nil
	}
	return append(b, '}')
}

func textOf(v strictjson.Value) string {
	if v.Kind != strictjson.String {
		return ""
	}
	return v.Text
}

// excerpt shortens what a caller sent, so that an error message stays one.
func excerpt(s string) string {
	const most = 160
	cut := ""
	if len(s) > most {
		s, cut = s[:most], "…"
	}
	s = strings.ToValidUTF8(s, "?")
	if strings.ContainsFunc(s, func(r rune) bool { return r < 0x20 || r == 0x7f }) {
		s = fmt.Sprintf("%q", s)
	}
	return s + cut
}
