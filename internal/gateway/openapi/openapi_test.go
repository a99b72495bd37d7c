// SPDX-License-Identifier: Apache-2.0

package openapi_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/ethereum/go-ethereum/common"

	"github.com/hsmsigner/hsmsigner/internal/abi"
	"github.com/hsmsigner/hsmsigner/internal/gateway/openapi"
	"github.com/hsmsigner/hsmsigner/internal/strictjson"
	"github.com/hsmsigner/hsmsigner/internal/token"
)

type obj = map[string]any

// market has what is hard: overloads, tuples in tuples, tuples of one name and
// different members, parameters without names, indexed values of which only a hash
// is left.
const market = `[
 {"type":"constructor","stateMutability":"payable","inputs":[{"name":"owner","type":"address"}]},
 {"type":"function","name":"place","stateMutability":"payable","inputs":[
  {"name":"order","type":"tuple","internalType":"struct Market.Order","components":[
   {"name":"maker","type":"address"},
   {"name":"items","type":"tuple[]","internalType":"struct Market.Item[]","components":[{"name":"id","type":"uint256"},{"name":"sizes","type":"int64[2]"}]},
   {"name":"salt","type":"bytes32"}]},
  {"name":"","type":"bytes"}],"outputs":[{"name":"","type":"uint256"},{"name":"ok","type":"bool"}]},
 {"type":"function","name":"orders","stateMutability":"view","inputs":[{"name":"id","type":"uint256"},{"name":"flags","type":"bool[]"}],"outputs":[
  {"name":"","type":"tuple","internalType":"struct Market.Order","components":[
   {"name":"maker","type":"address"},
   {"name":"items","type":"tuple[]","internalType":"struct Market.Item[]","components":[{"name":"id","type":"uint256"},{"name":"sizes","type":"int64[2]"}]},
   {"name":"salt","type":"bytes32"}]}]},
 {"type":"function","name":"set","stateMutability":"nonpayable","inputs":[{"name":"a","type":"uint256"}],"outputs":[]},
 {"type":"function","name":"set","stateMutability":"nonpayable","inputs":[{"name":"a","type":"uint256[]"},{"name":"b","type":"tuple","internalType":"struct Other.Order","components":[{"name":"x","type":"string"}]}],"outputs":[]},
 {"type":"function","name":"odd","stateMutability":"pure","inputs":[{"name":"o","type":"tuple","components":[{"name":"","type":"uint8"}]}],"outputs":[{"name":"o","type":"tuple","components":[{"name":"","type":"int8"}]}]},
 {"type":"event","name":"Placed","inputs":[{"name":"note","type":"string","indexed":true},{"name":"id","type":"uint256","indexed":true},{"name":"data","type":"bytes"}]},
 {"type":"event","name":"Gone","inputs":[]},
 {"type":"event","name":"Gone","inputs":[{"name":"id","type":"uint256"}]},
 {"type":"error","name":"TooLate","inputs":[{"name":"by","type":"uint256"}]}
]`

const marketDocs = `{"devdoc":{"title":"The market","details":"Sells things.","methods":{
  "place((address,(uint256,int64[2])[],bytes32),bytes)":{"details":"Costs ether.","params":{"order":"What is wanted."},"returns":{"_0":"Its number.","ok":"Whether it is new."}},
  "constructor":{"params":{"owner":"Who runs it."}}},
 "errors":{"TooLate(uint256)":[{"params":{"by":"Seconds."}}]},"events":{"Placed(string,uint256,bytes)":{"params":{"note":"A word."}}}},
 "userdoc":{"notice":"A market.","methods":{"place((address,(uint256,int64[2])[],bytes32),bytes)":{"notice":"Places an order."}},
 "errors":{"TooLate(uint256)":[{"notice":"It is over."}]}}}`

func parsed(t testing.TB, text string) *abi.Contract {
	t.Helper()
	c, err := abi.Parse([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func service() openapi.Service {
	return openapi.Service{Name: "pay", Chain: "1337", Base: "/pay/gateway", Release: "1.2.3"}
}

func subject(t testing.TB) openapi.Subject {
	address := common.HexToAddress("0xAbCdef0000000000000000000000000000000001")
	return openapi.Subject{
		ABI: "u0abiabiab", Name: "Market", Contract: parsed(t, market), Docs: json.RawMessage(marketDocs), Deployable: true,
		Address: &address, Registered: "fair", Path: "/contracts/0xabcdef0000000000000000000000000000000001",
	}
}

func read(t testing.TB, text []byte, err error) obj {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	var d obj
	if err := json.Unmarshal(text, &d); err != nil {
		t.Fatal(err)
	}
	return d
}

// at follows member names.
func at(t testing.TB, v any, path ...string) any {
	t.Helper()
	for i, name := range path {
		o, is := v.(obj)
		if !is || o[name] == nil {
			t.Fatalf("there is no %s", strings.Join(path[:i+1], " → "))
		}
		v = o[name]
	}
	return v
}

var methods = []string{"get", "post", "delete", "put", "patch"}

// valid checks what every OpenAPI document has to be: references lead somewhere, ids
// are unique, the parameters of a path are those in it, patterns can be compiled.
func valid(t testing.TB, d obj) {
	t.Helper()
	if d["openapi"] != openapi.Version {
		t.Errorf("it is of OpenAPI %v", d["openapi"])
	}
	at(t, d, "info", "title")
	at(t, d, "info", "version")
	references(t, d, d)
	ids := map[string]bool{}
	for path, p := range at(t, d, "paths").(obj) {
		if !strings.HasPrefix(path, "/") || strings.ContainsAny(path, " <>[]\"") {
			t.Errorf("path %q", path)
		}
		for method, op := range p.(obj) {
			if !slices.Contains(methods, method) {
				t.Errorf("%s has %s", path, method)
			}
			id := at(t, op, "operationId").(string)
			if ids[id] || !regexp.MustCompile(`^[A-Za-z0-9_]+$`).MatchString(id) {
				t.Errorf("operationId %q of %s is not unique, or no name", id, path)
			}
			ids[id] = true
			placed(t, d, path, op.(obj))
			at(t, op, "responses")
			if method == "get" && op.(obj)["requestBody"] != nil {
				t.Errorf("GET %s has a body", path)
			}
		}
	}
	for name := range at(t, d, "components", "schemas").(obj) {
		if !regexp.MustCompile(`^[A-Za-z0-9_]+$`).MatchString(name) {
			t.Errorf("component %q", name)
		}
	}
}

// references checks references and patterns wherever they are.
func references(t testing.TB, d, v any) {
	t.Helper()
	switch v := v.(type) {
	case []any:
		for _, e := range v {
			references(t, d, e)
		}
	case obj:
		if r, is := v["$ref"].(string); is {
			at(t, d, strings.Split(strings.TrimPrefix(r, "#/"), "/")...)
			if len(v) != 1 {
				t.Errorf("%s has something beside it", r)
			}
		}
		if p, is := v["pattern"].(string); is {
			if _, err := regexp.Compile(p); err != nil {
				t.Error(err)
			}
		}
		for _, e := range v {
			references(t, d, e)
		}
	}
}

func placed(t testing.TB, d obj, path string, op obj) {
	t.Helper()
	var want, got []string
	for _, m := range regexp.MustCompile(`\{(\w+)\}`).FindAllStringSubmatch(path, -1) {
		want = append(want, m[1])
	}
	seen := map[string]bool{}
	parameters, _ := op["parameters"].([]any)
	for _, p := range parameters {
		if r, is := p.(obj)["$ref"].(string); is {
			p = at(t, d, strings.Split(strings.TrimPrefix(r, "#/"), "/")...)
		}
		name, in := at(t, p, "name").(string), at(t, p, "in").(string)
		if seen[in+name] {
			t.Errorf("%s has %s twice", path, name)
		}
		seen[in+name] = true
		if (p.(obj)["schema"] == nil) == (p.(obj)["content"] == nil) {
			t.Errorf("%s of %s has neither schema nor content, or both", name, path)
		}
		if in == "path" {
			got = append(got, name)
		}
	}
	slices.Sort(want)
	slices.Sort(got)
	if !slices.Equal(want, got) {
		t.Errorf("%s has the parameters %v", path, got)
	}
}

func documents(t testing.TB) map[string]obj {
	s, of := service(), subject(t)
	contract, err1 := openapi.Contract(s, of)
	itself, err2 := openapi.Interface(s, of)
	all, err3 := openapi.Gateway(s)
	docs := map[string]obj{"contract": read(t, contract, err1), "interface": read(t, itself, err2), "gateway": read(t, all, err3)}
	artifacts, err := token.Artifacts()
	if err != nil {
		t.Fatal(err)
	}
	for name, a := range artifacts {
		text, err := openapi.Interface(s, openapi.Subject{ABI: "u0", Name: a.Name, Contract: parsed(t, string(a.ABI)), Docs: a.Docs, Deployable: true})
		docs[name] = read(t, text, err)
	}
	return docs
}

func TestDocumentsAreValid(t *testing.T) {
	for name, d := range documents(t) {
		t.Run(name, func(t *testing.T) { valid(t, d) })
	}
}

func TestEveryMethodHasAPathOfItsOwn(t *testing.T) {
	d := documents(t)["contract"]
	if s := at(t, d, "servers").([]any)[0].(obj)["url"]; s != "/pay/gateway/contracts/0xabcdef0000000000000000000000000000000001" {
		t.Errorf("server %v", s)
	}
	var got []string
	for path, p := range at(t, d, "paths").(obj) {
		for method, op := range p.(obj) {
			got = append(got, fmt.Sprintf("%s %s %s %s", method, path, op.(obj)["operationId"], op.(obj)["tags"]))
		}
	}
	slices.Sort(got)
	want := strings.Split(`get /odd odd_get [Read]
get /orders orders_get [Read]
get /place place_get [Write]
get /set(uint256%5B%5D,(string)) set_uint256____string_get [Write]
get /set(uint256) set_uint256_get [Write]
post /Gone()/subscribe Gone_subscribe [Events]
post /Gone(uint256)/subscribe Gone_uint256_subscribe [Events]
post /Placed/subscribe Placed_subscribe [Events]
post /odd odd_post [Read]
post /orders orders_post [Read]
post /place place_post [Write]
post /set(uint256%5B%5D,(string)) set_uint256____string_post [Write]
post /set(uint256) set_uint256_post [Write]`, "\n")
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s", strings.Join(got, "\n"))
	}
	if name := at(t, d, "info", "x-firefly-registered-name"); name != "fair" {
		t.Error(name)
	}
}

func TestTuplesAreDescribedToTheirLastMember(t *testing.T) {
	d := documents(t)["contract"]
	schemas := at(t, d, "components", "schemas")
	order := at(t, schemas, "Market_Order", "properties")
	if r := at(t, order, "items", "items", "$ref"); r != "#/components/schemas/Market_Item" {
		t.Error(r)
	}
	sizes := at(t, schemas, "Market_Item", "properties", "sizes").(obj)
	if sizes["minItems"] != 2.0 || sizes["maxItems"] != 2.0 || at(t, sizes, "items", "pattern") != `^(-?[0-9]+|0x[0-9a-fA-F]+)$` {
		t.Error(sizes)
	}
	at(t, schemas, "Other_Order", "properties", "x") // another of the same name in another contract
	one, two := at(t, schemas, "odd_o", "properties"), at(t, schemas, "odd_o_2", "properties")
	if a, b := at(t, one, "field", "description"), at(t, two, "field", "description"); a == b {
		t.Errorf("tuples without a name are both of %v", a)
	}
	inputs := at(t, schemas, "place_inputs").(obj)
	if fmt.Sprint(inputs["required"]) != "[order input1]" || inputs["additionalProperties"] != false {
		t.Error(inputs)
	}
	if r := at(t, schemas, "orders_outputs", "properties", "output", "$ref"); r != "#/components/schemas/Market_Order" {
		t.Error(r)
	}
	event := at(t, schemas, "Placed_event", "properties")
	at(t, event, "note", "properties", "hash")
	at(t, event, "data", "pattern")
	for _, p := range at(t, d, "paths", "/orders", "get", "parameters").([]any) {
		if p.(obj)["name"] == "flags" {
			at(t, p, "content", "application/json", "schema", "items")
			return
		}
	}
	t.Error("the list is no parameter of the query")
}

func TestWordsOfTheAuthorAreInTheDocument(t *testing.T) {
	d := documents(t)["interface"]
	info := at(t, d, "info", "description").(string)
	for _, want := range []string{"A market.", "Sells things.", "`TooLate(uint256)`: It is over.", "service pay", "Chain 1337"} {
		if !strings.Contains(info, want) {
			t.Errorf("%q is not in %q", want, info)
		}
	}
	op := at(t, d, "paths", "/abis/u0abiabiab/{address}/place", "post")
	if text := at(t, op, "description"); text != "Places an order.\n\nCosts ether." {
		t.Error(text)
	}
	schemas := at(t, d, "components", "schemas")
	if text := at(t, schemas, "place_inputs", "properties", "order", "description"); text != "What is wanted." {
		t.Error(text)
	}
	if text := at(t, schemas, "place_outputs", "properties", "output", "description"); text != "Its number. (uint256)" {
		t.Error(text)
	}
	if text := at(t, schemas, "constructor_inputs", "properties", "owner", "description"); text != "Who runs it. (address)" {
		t.Error(text)
	}
	if text := at(t, schemas, "Placed_event", "properties", "note", "description"); text != "A word." {
		t.Error(text)
	}
}

func TestEtherIsOfferedOnlyWhereItIsTaken(t *testing.T) {
	d := documents(t)["interface"]
	for path, takes := range map[string]bool{
		"/abis/u0abiabiab": true, "/abis/u0abiabiab/{address}/place": true, "/abis/u0abiabiab/{address}/set(uint256)": false,
	} {
		text, err := json.Marshal(at(t, d, "paths", path, "post", "parameters"))
		if err != nil || bytes.Contains(text, []byte("parameters/ethvalue")) != takes {
			t.Errorf("%s: %s %v", path, text, err)
		}
	}
}

// The examples are what people begin with, so the codec has to take them.
func TestExamplesCanBeSent(t *testing.T) {
	artifacts, err := token.Artifacts()
	if err != nil {
		t.Fatal(err)
	}
	texts := []string{market}
	for _, a := range artifacts {
		texts = append(texts, string(a.ABI))
	}
	n := 0
	for _, text := range texts {
		c := parsed(t, text)
		made, err := openapi.Contract(service(), openapi.Subject{Contract: c})
		d := read(t, made, err)
		for path, p := range at(t, d, "paths").(obj) {
			body, has := p.(obj)["post"].(obj)["requestBody"]
			name := strings.NewReplacer("%5B", "[", "%5D", "]").Replace(path[1:])
			m, err := c.Method(name)
			if !has || err != nil {
				continue
			}
			example, err := json.Marshal(at(t, body, "content", "application/json", "example"))
			if err != nil {
				t.Fatal(err)
			}
			v, err := strictjson.Parse(example)
			if err != nil {
				t.Fatal(err)
			}
			args, err := abi.ArgsOf(v)
			if err == nil {
				_, err = m.Encode(args)
			}
			if err != nil {
				t.Errorf("%s: %s: %v", path, example, err)
			}
			n++
		}
	}
	if n < 100 {
		t.Errorf("%d examples", n)
	}
}

func TestSameInputGivesTheSameBytes(t *testing.T) {
	one, err := openapi.Interface(service(), subject(t))
	if err != nil {
		t.Fatal(err)
	}
	for range 5 {
		if two, err := openapi.Interface(service(), subject(t)); err != nil || !bytes.Equal(one, two) {
			t.Fatal("it is another one now", err)
		}
	}
}

func TestHostileWordsStayWords(t *testing.T) {
	text := `<script>alert(1)</script>` + "\x00\u202e\\u0000" + strings.Repeat("x", 1<<20)
	quoted, err := json.Marshal(text)
	if err != nil {
		t.Fatal(err)
	}
	for _, docs := range []string{
		`{"devdoc":{"title":` + string(quoted) + `,"methods":{"set(uint256)":{"details":` + string(quoted) + `,"params":{"a":` + string(quoted) + `}}}}}`,
		`{"devdoc":[],"userdoc":7}`, `{"devdoc":{"methods":[1],"errors":{"TooLate(uint256)":[]},"events":null}}`, `{`, `[]`, `null`, ``,
	} {
		of := subject(t)
		of.Docs, of.Name, of.Registered = json.RawMessage(docs), "", ""
		made, err := openapi.Contract(service(), of)
		valid(t, read(t, made, err))
		if len(made) > 100_000 || bytes.ContainsAny(made, "<>\x00") || bytes.Contains(made, []byte("\u202e")) {
			t.Errorf("%.40s: %d bytes", docs, len(made))
		}
	}
}

func TestInterfaceThatIsTooLargeIsRefused(t *testing.T) {
	var b strings.Builder
	b.WriteString("[")
	for i := range 4000 {
		if i > 0 {
			b.WriteString(",")
		}
		fmt.Fprintf(&b, `{"type":"function","name":"f%d","stateMutability":"view","inputs":[`, i)
		for k := range 12 {
			if k > 0 {
				b.WriteString(",")
			}
			fmt.Fprintf(&b, `{"name":"a%d","type":"uint256"}`, k)
		}
		b.WriteString(`],"outputs":[]}`)
	}
	b.WriteString("]")
	_, err := openapi.Contract(service(), openapi.Subject{Contract: parsed(t, b.String())})
	if !errors.Is(err, openapi.ErrTooLarge) {
		t.Error(err)
	}
}

func TestCallersMayBeLeftOutAndFromGivenBeforehand(t *testing.T) {
	s := service()
	s.NoAuth, s.From = true, "0xabcdef0000000000000000000000000000000001"
	made, err := openapi.Contract(s, subject(t))
	d := read(t, made, err)
	if d["security"] != nil || d["components"].(obj)["securitySchemes"] != nil {
		t.Error("there are credentials in it")
	}
	if from := at(t, d, "components", "parameters", "from", "schema", "default"); from != s.From {
		t.Error(from)
	}
	valid(t, d)
}
