// SPDX-License-Identifier: Apache-2.0

// Package token has the tokens that can be deployed: ERC-20 and ERC-721 contracts
// out of OpenZeppelin's library, compiled, and what is to be known to work with
// them. From options it chooses the contract and the arguments of its constructor
// ([Options.Plan]); from the interface of any contract it tells whether that is a
// token ([KindOf]), and which of its methods does what ([Operation.Of]).
//
// It guarantees that a contract has what was asked for and no more: what a token
// cannot do, its bytecode does not hold, and cannot be turned on. Amounts are exact:
// what cannot be written in a token's smallest unit is refused, never rounded.
//
// It deploys nothing, asks no node and keeps nothing. The artifacts are made by
// tools/tokens, and a check shows that its sources give the same bytes.
package token

import (
	"embed"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
)

//go:embed artifacts/*.json
var artifacts embed.FS

// Kind is a standard that a token follows.
type Kind string

// The kinds.
const (
	ERC20  Kind = "erc20"  // fungible: amounts of one thing
	ERC721 Kind = "erc721" // non-fungible: single things, each with an id
)

// Artifact is one compiled contract. It is shared: it is not changed.
type Artifact struct {
	Name     string   // of the contract in its source, such as Token20MintableCapped
	Kind     Kind     // the standard it follows
	Features []string // of mintable, capped, burnable, pausable, in this order
	Compiler string   // version of solc
	Library  string   // package and version of OpenZeppelin's library
	ABI      json.RawMessage
	Docs     json.RawMessage // NatSpec as {"devdoc": …, "userdoc": …}
	Bytecode []byte          // creation code; the constructor's arguments follow it
}

// id is the name of the artifact's file, without its ending.
func id(kind Kind, features []string) string {
	return strings.Join(append([]string{string(kind)}, features...), "-")
}

// Artifacts returns every contract there is, by the name of its file. It is read
// once; the error can be no other than that the program is not as it was built.
var Artifacts = sync.OnceValues(readArtifacts)

func readArtifacts() (map[string]*Artifact, error) {
	entries, err := artifacts.ReadDir("artifacts")
	if err != nil {
		return nil, fmt.Errorf("token: read artifacts: %w", err)
	}
	all := map[string]*Artifact{}
	for _, e := range entries {
		data, err := artifacts.ReadFile("artifacts/" + e.Name())
		if err != nil {
			return nil, fmt.Errorf("token: read artifacts: %w", err)
		}
		a, err := readArtifact(data)
		if err != nil {
			return nil, fmt.Errorf("token: artifact %s: %w", e.Name(), err)
		}
		if name := id(a.Kind, a.Features) + ".json"; name != e.Name() {
			return nil, fmt.Errorf("token: artifact %s is that of %s", e.Name(), name)
		}
		all[id(a.Kind, a.Features)] = a
	}
	return all, nil
}

func readArtifact(data []byte) (*Artifact, error) {
	var file struct {
		ContractName, Compiler, Library, Bytecode string
		Kind                                      Kind
		Features                                  []string
		ABI, DevDoc, UserDoc                      json.RawMessage
	}
	if err := json.Unmarshal(data, &file); err != nil {
		return nil, err
	}
	code, err := hex.DecodeString(strings.TrimPrefix(file.Bytecode, "0x"))
	if err != nil {
		return nil, fmt.Errorf("bytecode: %w", err)
	}
	docs, err := json.Marshal(map[string]json.RawMessage{"devdoc": file.DevDoc, "userdoc": file.UserDoc})
	if err != nil {
		return nil, err
	}
	return &Artifact{
		Name: file.ContractName, Kind: file.Kind, Features: file.Features, Compiler: file.Compiler, Library: file.Library,
		ABI: file.ABI, Docs: docs, Bytecode: code,
	}, nil
}
