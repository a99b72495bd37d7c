// SPDX-License-Identifier: Apache-2.0

package contract

import (
	"errors"
	"os"
	"strings"
	"testing"
)

func TestArtifactsOfAllCompilersAreRead(t *testing.T) {
	const list = `[{"type":"function","name":"get","inputs":[],"outputs":[{"type":"uint256","name":""}],"stateMutability":"view"}]`
	quoted := strings.ReplaceAll(list, `"`, `\"`)
	for name, c := range map[string]struct {
		text, title, compiler, code, docs string
	}{
		"bare ABI":   {list, "", "", "", ""},
		"minimal":    {`{"abi":` + list + `,"bytecode":"0x6001"}`, "", "", "\x60\x01", ""},
		"no 0x":      {`{"abi":` + list + `,"bin":"6001"}`, "", "", "\x60\x01", ""},
		"interface":  {`{"abi":` + list + `,"bytecode":"0x"}`, "", "", "", ""},
		"hardhat":    {`{"_format":"hh-sol-artifact-1","contractName":"Box","sourceName":"contracts/Box.sol","abi":` + list + `,"bytecode":"0x6001","deployedBytecode":"0x60","linkReferences":{},"deployedLinkReferences":{}}`, "Box", "", "\x60\x01", ""},
		"foundry":    {`{"abi":` + list + `,"bytecode":{"object":"0x6001","sourceMap":"","linkReferences":{}},"deployedBytecode":{"object":"0x60"},"methodIdentifiers":{},"metadata":{"compiler":{"version":"0.8.30+commit.1"},"language":"Solidity","output":{"abi":[],"devdoc":{"kind":"dev","title":"A box"},"userdoc":{"kind":"user"}},"settings":{"compilationTarget":{"src/Box.sol":"Box"}},"version":1},"id":0}`, "Box", "0.8.30+commit.1", "\x60\x01", `{"devdoc":{"kind":"dev","title":"A box"},"userdoc":{"kind":"user"}}`},
		"truffle":    {`{"contractName":"Box","abi":` + list + `,"bytecode":"0x6001","compiler":{"name":"solc","version":"0.5.16"},"devdoc":{"methods":{}},"userdoc":{"methods":{}}}`, "Box", "0.5.16", "\x60\x01", `{"devdoc":{"methods":{}},"userdoc":{"methods":{}}}`},
		"combined":   {`{"contracts":{"src/Box.sol:Box":{"abi":` + list + `,"bin":"6001"}},"version":"0.8.30"}`, "Box", "0.8.30", "\x60\x01", ""},
		"old":        {`{"contracts":{"Box.sol:Box":{"abi":"` + quoted + `","bin":"6001","devdoc":"{\"kind\":\"dev\"}"}},"version":"0.7.6"}`, "Box", "0.7.6", "\x60\x01", `{"devdoc":{"kind":"dev"}}`},
		"standard":   {`{"contracts":{"Box.sol":{"Box":{"abi":` + list + `,"evm":{"bytecode":{"object":"6001"}}}}}}`, "Box", "", "\x60\x01", ""},
		"whitespace": {"\n\t " + list + "\n", "", "", "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			u, err := ParseArtifact([]byte(c.text))
			if err != nil {
				t.Fatal(err)
			}
			if u.Name != c.title || u.Compiler != c.compiler || string(u.Bytecode) != c.code || string(u.Docs) != c.docs {
				t.Errorf("%+v", u)
			}
			if string(u.ABI) != list {
				t.Errorf("%s", u.ABI)
			}
		})
	}
}

func TestWhatIsNoArtifactIsRefusedWithAWord(t *testing.T) {
	const list = `[{"type":"function","name":"get","inputs":[],"outputs":[],"stateMutability":"view"}]`
	source, err := os.ReadFile("testdata/Box.sol")
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct{ text, field, want string }{
		"nothing":       {" \n", "artifact", "empty"},
		"Solidity":      {string(source), "artifact", "forge build"},
		"Vyper":         {"# @version 0.4.0\n@external\ndef get() -> uint256: return 1", "artifact", "source code is not compiled here"},
		"zip":           {"PK\x03\x04…", "artifact", "an archive"},
		"text":          {"hello", "artifact", "no JSON"},
		"broken":        {`{"abi":[}`, "artifact", "no JSON that can be read"},
		"two readings":  {`{"abi":[],"abi":[]}`, "artifact", "abi"},
		"no abi":        {`{"bytecode":"0x60"}`, "abi", "want the array"},
		"abi is text":   {`{"abi":"x"}`, "abi", "a string that is"},
		"unlinked":      {`{"abi":` + list + `,"bytecode":"0x6001__$0123456789abcdef0123456789abcdef01$__60"}`, "bytecode", "not linked"},
		"odd":           {`{"abi":` + list + `,"bytecode":{"object":"0x600"}}`, "bytecode.object", "hexadecimal digits"},
		"code no text":  {`{"abi":` + list + `,"bytecode":{"object":[1]}}`, "bytecode.object", "want a string"},
		"huge code":     {`{"abi":` + list + `,"bin":"` + strings.Repeat("00", maxCode+1) + `"}`, "bin", "no node takes"},
		"two contracts": {`{"contracts":{"a.sol:A":{"abi":[]},"b.sol:B":{"abi":[]}}}`, "artifact", "a.sol:A, b.sol:B"},
		"no contracts":  {`{"contracts":{}}`, "artifact", "no contract with an ABI"},
		"too long":      {strings.Repeat(" ", maxArtifact+1), "artifact", "longer than"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := ParseArtifact([]byte(c.text))
			var input *InputError
			if !errors.As(err, &input) || input.Field != c.field || !strings.Contains(input.Msg, c.want) {
				t.Errorf("%v", err)
			}
			if err != nil && len(err.Error()) > 600 {
				t.Errorf("%d bytes of message", len(err.Error()))
			}
		})
	}
}

func FuzzParseArtifact(f *testing.F) {
	text, err := os.ReadFile("testdata/box.json")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Add([]byte(`{"abi":[],"bytecode":{"object":"0x60"}}`))
	f.Add([]byte(`pragma solidity ^0.8.0;`))
	f.Fuzz(func(t *testing.T, data []byte) {
		u, err := ParseArtifact(data)
		var input *InputError
		if err != nil && !errors.As(err, &input) {
			t.Fatalf("%T: %v", err, err)
		}
		if err == nil && len(u.ABI) == 0 {
			t.Fatal("no ABI and no error")
		}
	})
}
