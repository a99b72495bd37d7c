// SPDX-License-Identifier: Apache-2.0

// Package openapi describes the gateway's routes as OpenAPI 3.1 documents: those of
// one contract ([Contract]), those of an interface, by which it is deployed and any
// contract of it is called ([Interface]), and those that are the same for all
// ([Gateway]). It has the page on which people read such a document and make calls
// ([Page]).
//
// It guarantees that every method of an ABI has a path of its own, overloads too,
// that tuples are described to their last member, and that the same input gives the
// same bytes. What the ABI's author wrote (names, NatSpec) is bounded and is nowhere
// taken for part of a document's structure.
//
// Schemas keep to what OpenAPI 3.0 and 3.1 have in common, which generators of
// clients understand. So they say less than is accepted in two places: an integer
// may be a JSON number as well as text, and a string that is not UTF-8 is answered as
// an object with the member hex.
//
// The package asks nobody anything and keeps nothing.
package openapi

import (
	"encoding/json"
	"errors"
	"strconv"
	"strings"

	"github.com/ethereum/go-ethereum/common"

	"github.com/hsmsigner/hsmsigner/internal/abi"
)

// ErrTooLarge says that an interface has so many types that a document of it would
// be of no use to anybody.
var ErrTooLarge = errors.New("the interface is too large for an OpenAPI document: its ABI has it all")

// Version is that of the OpenAPI specification that the documents follow.
const Version = "3.1.0"

// Service is the service by which the contracts are reached.
type Service struct {
	Name    string // for people
	Chain   string // chain id, decimal
	Base    string // URL of its gateway, or its path, without a slash at the end
	Release string // of this program
	// From is what the parameter fly-from is if it is not given; empty for nothing.
	// The gateway does not know of it: clients made of the document send it.
	From string
	// NoAuth leaves out how a caller says who it is.
	NoAuth bool
}

// Subject is what a document is about.
type Subject struct {
	ABI         string          // id of the interface; empty if it is not kept
	Name        string          // of the interface, for people; may be empty
	Description string          // may be empty
	Contract    *abi.Contract   // the interface
	Docs        json.RawMessage // NatSpec, {"devdoc": {…}, "userdoc": {…}}; nil for none
	Deployable  bool            // it has bytecode

	// Of a contract only.
	Address    *common.Address
	Registered string // the name that it has; may be empty
	Path       string // under the service's Base: /contracts/0x… or /abis/ID/0x…
}

// obj is an object of a document. encoding/json writes its members in order.
type obj = map[string]any

// document is one that is being written.
type document struct {
	s          Service
	docs       *natspec
	types      *types
	paths      obj
	operations map[string]bool // ids that are taken
	components obj             // schemas that are the same for every document, by name, as they are used
}

func newDocument(s Service, docs json.RawMessage) *document {
	d := &document{s: s, docs: readNatspec(docs), paths: obj{}, operations: map[string]bool{}, components: obj{}}
	d.types = newTypes(d.components)
	return d
}

// Contract describes one contract: its methods and events. Paths are relative to
// the contract's own. The error is [ErrTooLarge].
func Contract(s Service, of Subject) ([]byte, error) {
	d := newDocument(s, of.Docs)
	d.methods("", of.Contract)
	d.events("", of.Contract, "subscribe")
	title := of.Name
	if of.Registered != "" {
		title = of.Registered
	}
	info := d.info(title, of)
	if of.Registered != "" {
		info["x-firefly-registered-name"], info["x-kaleido-registered-name"] = of.Registered, of.Registered
	}
	return d.write(info, s.Base+of.Path)
}

// Interface describes what can be done with an interface: a contract of it is
// deployed, one that is there is registered, and each is called by its address.
// Paths are relative to the gateway's. The error is [ErrTooLarge].
func Interface(s Service, of Subject) ([]byte, error) {
	d := newDocument(s, of.Docs)
	path := "/abis/" + of.ABI
	if of.Deployable {
		d.deployment(path, of.Contract)
	}
	d.registration(path + "/{address}")
	d.methods(path+"/{address}", of.Contract)
	d.events(path, of.Contract, "subscribe_all")
	return d.write(d.info(of.Name, of), s.Base)
}

// info is the head of a document.
func (d *document) info(title string, of Subject) obj {
	if title == "" {
		title = d.docs.title
	}
	if title == "" {
		title = "Contract"
	}
	var parts []string
	for _, text := range []string{of.Description, d.docs.about.text(), d.errors(of.Contract)} {
		if text != "" {
			parts = append(parts, text)
		}
	}
	info := obj{"title": plain(title), "version": d.s.version(), "description": strings.Join(append(parts, d.callers()), "\n\n")}
	if of.ABI != "" {
		info["x-firefly-deployment-id"], info["x-kaleido-deployment-id"] = of.ABI, of.ABI
	}
	if of.Address != nil {
		info["x-address"] = strings.ToLower(of.Address.Hex())
	}
	return info
}

func (s Service) version() string {
	if s.Release == "" {
		return "0"
	}
	return s.Release
}

// callers says what is the same for every call.
func (d *document) callers() string {
	return "Chain " + d.s.Chain + ", service " + plain(d.s.Name) + ". Parameters that begin with fly- may also be written kld-…, or stand in headers X-Firefly-… and X-Kaleido-…; " +
		"capitals do not count, and the query goes before the headers. Integers are decimal text, or 0x and hex digits; what is answered is decimal. " +
		"Answers are JSON; what is sent may be YAML too (application/x-yaml)."
}

// errors lists the errors of the contract's own, with which a call may revert.
func (d *document) errors(c *abi.Contract) string {
	if c == nil || len(c.Errors) == 0 {
		return ""
	}
	const most = 64
	var lines []string
	for i, e := range c.Errors {
		if i == most {
			lines = append(lines, "- …")
			break
		}
		line := "- `" + e.Signature() + "`"
		if text := d.docs.errors[e.Signature()].line(); text != "" {
			line += ": " + text
		}
		lines = append(lines, line)
	}
	return "Errors with which calls of this contract may revert:\n\n" + strings.Join(lines, "\n")
}

// write finishes a document, whose paths are relative to server.
func (d *document) write(info obj, server string) ([]byte, error) {
	if d.types.nodes > maxNodes {
		return nil, ErrTooLarge
	}
	components := obj{"schemas": d.components, "parameters": parameters(d.s.From), "responses": failures()}
	d.use("Error")
	all := obj{"openapi": Version, "info": info, "servers": []any{obj{"url": server}}, "paths": d.paths, "components": components}
	if !d.s.NoAuth {
		components["securitySchemes"] = obj{
			"app": obj{"type": "http", "scheme": "basic", "description": "Id and password of an app credential."},
			"key": obj{"type": "http", "scheme": "bearer", "description": "An API key, at the management API."},
		}
		all["security"] = []any{obj{"app": []any{}}, obj{"key": []any{}}}
	}
	d.tags(all)
	return json.Marshal(all)
}

// tags lists those that operations have, in the order in which they are shown.
func (d *document) tags(all obj) {
	used := map[string]bool{}
	for _, p := range d.paths {
		for _, op := range p.(obj) {
			if o, is := op.(obj); is {
				for _, t := range o["tags"].([]string) {
					used[t] = true
				}
			}
		}
	}
	var list []any
	for _, t := range []string{tagDeploy, tagRead, tagWrite, tagEvents, tagGateway, tagABIs, tagContracts, tagTokens, tagReplies, tagStreams} {
		if used[t] {
			list = append(list, obj{"name": t})
		}
	}
	if len(list) > 0 {
		all["tags"] = list
	}
}

// The groups of operations.
const (
	tagDeploy    = "Deploy"
	tagRead      = "Read"
	tagWrite     = "Write"
	tagEvents    = "Events"
	tagGateway   = "Gateway"
	tagABIs      = "ABIs"
	tagContracts = "Contracts"
	tagTokens    = "Tokens"
	tagReplies   = "Replies"
	tagStreams   = "Event streams"
)

// put adds an operation at a path. Its id is made unique, in the order of calls.
func (d *document) put(path, method, wanted string, op obj) {
	id := wanted
	for n := 2; d.operations[id]; n++ {
		id = wanted + "_" + strconv.Itoa(n)
	}
	d.operations[id] = true
	op["operationId"] = id
	if d.paths[path] == nil {
		d.paths[path] = obj{}
	}
	d.paths[path].(obj)[method] = op
}

// use makes sure that a fixed schema and all that it refers to are in the document,
// and refers to it.
func (d *document) use(name string) obj { return d.types.use(name) }

// identifier makes of a text what is a name in most programming languages.
func identifier(text string) string {
	clean := strings.Map(func(r rune) rune {
		if r == '_' || r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' {
			return r
		}
		return '_'
	}, text)
	return strings.Trim(clean, "_")
}

// segment makes a name or a signature a segment of a path. Parentheses and commas
// may stand there as they are (RFC 3986, section 3.3), brackets may not.
func segment(name string) string {
	return strings.NewReplacer("[", "%5B", "]", "%5D").Replace(name)
}

// content is a body that is JSON.
func content(schema any) obj { return obj{"application/json": obj{"schema": schema}} }

func response(text string, schema any) obj {
	return obj{"description": text, "content": content(schema)}
}

func parameter(name string) obj { return obj{"$ref": "#/components/parameters/" + name} }

// failing adds the errors that an operation may answer with.
func failing(responses obj, codes ...string) obj {
	for _, code := range append([]string{"400", "401", "403", "404", "429", "500", "502", "503", "504"}, codes...) {
		if _, there := responses[code]; !there {
			responses[code] = obj{"$ref": "#/components/responses/" + failureName(code)}
		}
	}
	return responses
}

func parametersOf(names ...string) []any {
	list := make([]any, 0, len(names))
	for _, n := range names {
		list = append(list, parameter(n))
	}
	return list
}
