// SPDX-License-Identifier: Apache-2.0

package policy_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/hsmsigner/hsmsigner/internal/policy"
)

// everyKey is a policy that uses every key there is.
const everyKey = `
version: hsmsigner-policy-v1
note: |
  all that
  there is
rules:
  - name: one
    note: a rule
    effect: ask
    actions: [transaction, sign-transaction, raw-transaction]
    accounts: ["0x00000000000000000000000000000000000000a1"]
    principals: {in: ["app:*"], not_in: ["app:7"]}
    wallets: [treasury]
    chains: {in: [1], not_in: ["5"]}
    to: {in: ["0x6B175474E89094C44Da98b954EedeAC495271d0F"], not_in: ["0x00000000000000000000000000000000000000a1"]}
    transaction_types: [legacy, dynamic-fee]
    data: some
    value: {min: 0, max: 1.5 ether}
    gas: {max: 100000}
    max_fee_per_gas: {max: 30 gwei}
    max_priority_fee_per_gas: {max: 2 gwei}
    total_fee: {max: 0.01 ether}
    times: [{days: [mon, fri], from: "08:00", to: "17:30", zone: Europe/Zurich}]
    methods:
      - approve(address,uint256)
      - signature: pay((address to, uint256 amount)[] payments, bool last, string memo)
        args:
          "payments[].to": {in: ["0x6B175474E89094C44Da98b954EedeAC495271d0F"]}
          "payments[].amount": {min: 1, max: 5 ether}
          last: true
          memo: {pattern: "[a-z]+", not_in: [x]}
    approval: {needed: 2, names: ["person:ann", "key:1"], roles: [admin], addresses: ["0x00000000000000000000000000000000000000a1"], expires: 2h}
  - {name: two, effect: allow, actions: message, messages: {pattern: a, contains: b, max_bytes: 1KiB}}
  - {name: three, effect: allow, actions: document, documents: {media_types: [text/*], max_size: 1GiB}}
  - name: four
    effect: deny
    typed_data:
      names: [Coin]
      versions: ["1"]
      verifying_contracts: ["0x6B175474E89094C44Da98b954EedeAC495271d0F"]
      chains: [1]
      primary_types: [Permit]
      members: {spender: ["0x00000000000000000000000000000000000000a1"], value: {max: 5}}
limits:
  - {name: daily, note: x, asset: native, per: account, max: 10 ether, window: 24h}
  - {name: tokens, asset: any-token, count: pieces, per: nothing, max: 5, window: total, actions: [transaction]}
`

// tree reads YAML as JSON would have it.
func tree(t testing.TB, text string) any {
	t.Helper()
	var v any
	if err := yaml.Unmarshal([]byte(text), &v); err != nil {
		t.Fatal(err)
	}
	return v
}

func asJSON(t testing.TB, v any) []byte {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestSchemaAndParseKnowTheSameKeys(t *testing.T) {
	doc := tree(t, everyKey)
	if _, err := policy.Parse("policy.yaml", []byte(everyKey)); err != nil {
		t.Fatalf("Parse: %v", err)
	}
	if _, err := policy.Parse("policy.json", asJSON(t, doc)); err != nil {
		t.Fatalf("Parse of the same as JSON: %v", err)
	}
	s := loadSchema(t)
	if why := s.refuses(s.root, doc); why != "" {
		t.Fatalf("schema: %s", why)
	}
	// Every key of the schema stands in the document, which Parse accepts.
	for key := range s.keys {
		if !strings.Contains(everyKey, key+":") {
			t.Errorf("the document has no %s", key)
		}
	}
	// No other key is known to Parse, nor to the schema.
	objects := 0
	eachObject(doc, "", func(path string, o map[string]any) {
		if strings.HasSuffix(path, "args") || strings.HasSuffix(path, "members") {
			return
		}
		objects++
		o["other"] = "x"
		defer delete(o, "other")
		if _, err := policy.Parse("", asJSON(t, doc)); err == nil || !strings.Contains(err.Error(), "unknown key") {
			t.Errorf("Parse takes another key at %s: %v", path, err)
		}
		if s.refuses(s.root, doc) == "" {
			t.Errorf("the schema takes another key at %s", path)
		}
	})
	if objects < 25 {
		t.Errorf("only %d mappings were tried", objects)
	}
}

// TestWhatTheSchemaRefusesParseRefuses changes a valid policy at random places.
func TestWhatTheSchemaRefusesParseRefuses(t *testing.T) {
	s := loadSchema(t)
	random := rand.New(rand.NewPCG(1, 2))
	values := []any{nil, "x", "", 5, -1, true, []any{}, map[string]any{}, []any{map[string]any{"a": 1}}, "native", "allow", map[string]any{"min": 1}}
	refused, both := 0, 0
	source := asJSON(t, tree(t, everyKey))
	for range 200 {
		var doc any
		if err := yaml.Unmarshal(source, &doc); err != nil {
			t.Fatal(err)
		}
		var places []func()
		eachObject(doc, "", func(_ string, o map[string]any) {
			for key := range o {
				places = append(places, func() { delete(o, key) }, func() { o[key] = values[random.IntN(len(values))] })
			}
		})
		places[random.IntN(len(places))]()
		text := asJSON(t, doc)
		_, err := policy.Parse("", text)
		why := s.refuses(s.root, doc)
		if why != "" {
			refused++
		}
		switch {
		case why != "" && err == nil:
			t.Fatalf("the schema says %s, and Parse takes it:\n%s", why, text)
		case why == "" && err == nil:
			both++
		}
	}
	if refused < 40 || both < 7 {
		t.Errorf("%d refused by the schema, %d taken by both: the test shows little", refused, both)
	}
}

func eachObject(v any, path string, do func(path string, o map[string]any)) {
	switch v := v.(type) {
	case map[string]any:
		do(path, v)
		for key, item := range v {
			eachObject(item, path+"."+key, do)
		}
	case []any:
		for i, item := range v {
			eachObject(item, fmt.Sprintf("%s[%d]", path, i), do)
		}
	}
}

// checker is the part of JSON Schema that the policy's schema uses.
type checker struct {
	root map[string]any
	keys map[string]bool // every property that is described

	patterns map[string]*regexp.Regexp
}

func loadSchema(t testing.TB) *checker {
	t.Helper()
	s := &checker{keys: map[string]bool{}, patterns: map[string]*regexp.Regexp{}}
	if err := json.Unmarshal(policy.Schema(), &s.root); err != nil {
		t.Fatal(err)
	}
	known := strings.Fields("$schema $defs title description type properties additionalProperties required enum const pattern " +
		"items minItems maxItems minimum maximum anyOf allOf if then else minProperties propertyNames $ref")
	var look func(m map[string]any)
	each := func(v any) {
		if m, ok := v.(map[string]any); ok {
			look(m)
		}
	}
	look = func(m map[string]any) {
		for key, v := range m {
			if !slices.Contains(known, key) {
				t.Fatalf("the schema uses %s, which this test does not check", key)
			}
			switch key {
			case "properties", "$defs":
				for name, p := range v.(map[string]any) {
					if key == "properties" {
						s.keys[name] = true
					}
					each(p)
				}
			default:
				each(v)
				if list, ok := v.([]any); ok {
					for _, item := range list {
						each(item)
					}
				}
			}
		}
	}
	look(s.root)
	return s
}

// refuses says why v is not as described, or nothing.
func (c *checker) refuses(described, v any) string {
	if described == false {
		return "it must not be there"
	}
	s := described.(map[string]any)
	if ref, ok := s["$ref"].(string); ok {
		return c.refuses(c.root["$defs"].(map[string]any)[strings.TrimPrefix(ref, "#/$defs/")], v)
	}
	if want, ok := s["type"]; ok && !isOfType(want, v) {
		return fmt.Sprintf("%v is not %v", v, want)
	}
	if want, ok := s["const"]; ok && v != want {
		return fmt.Sprintf("%v is not %v", v, want)
	}
	if list, ok := s["enum"].([]any); ok && (!single(v) || !slices.Contains(list, v)) {
		return fmt.Sprintf("%v is not one of %v", v, list)
	}
	if p, ok := s["pattern"].(string); ok {
		if c.patterns[p] == nil {
			c.patterns[p] = regexp.MustCompile(p)
		}
		if text, ok := v.(string); ok && !c.patterns[p].MatchString(text) {
			return fmt.Sprintf("%q does not match %s", text, p)
		}
	}
	if n, ok := v.(int); ok {
		if least, ok := s["minimum"].(float64); ok && float64(n) < least {
			return fmt.Sprintf("%d is too small", n)
		}
		if most, ok := s["maximum"].(float64); ok && float64(n) > most {
			return fmt.Sprintf("%d is too large", n)
		}
	}
	if why := c.combined(s, v); why != "" {
		return why
	}
	switch v := v.(type) {
	case []any:
		return c.list(s, v)
	case map[string]any:
		return c.object(s, v)
	}
	return ""
}

func (c *checker) combined(s map[string]any, v any) string {
	if options, ok := s["anyOf"].([]any); ok {
		var all []string
		for _, o := range options {
			why := c.refuses(o, v)
			if why == "" {
				all = nil
				break
			}
			all = append(all, why)
		}
		if all != nil {
			return strings.Join(all, ", and ")
		}
	}
	if parts, ok := s["allOf"].([]any); ok {
		for _, p := range parts {
			if why := c.refuses(p, v); why != "" {
				return why
			}
		}
	}
	if condition, ok := s["if"]; ok {
		branch := s["else"]
		if c.refuses(condition, v) == "" {
			branch = s["then"]
		}
		if branch != nil {
			return c.refuses(branch, v)
		}
	}
	return ""
}

func (c *checker) list(s map[string]any, v []any) string {
	if least, ok := s["minItems"].(float64); ok && float64(len(v)) < least {
		return "too few items"
	}
	if most, ok := s["maxItems"].(float64); ok && float64(len(v)) > most {
		return "too many items"
	}
	if items, ok := s["items"]; ok {
		for _, item := range v {
			if why := c.refuses(items, item); why != "" {
				return why
			}
		}
	}
	return ""
}

func (c *checker) object(s, v map[string]any) string {
	if required, ok := s["required"].([]any); ok {
		for _, key := range required {
			if _, ok := v[key.(string)]; !ok {
				return fmt.Sprintf("%s is missing", key)
			}
		}
	}
	if least, ok := s["minProperties"].(float64); ok && float64(len(v)) < least {
		return "is empty"
	}
	properties, _ := s["properties"].(map[string]any)
	for key, item := range v {
		if names, ok := s["propertyNames"]; ok {
			if why := c.refuses(names, key); why != "" {
				return why
			}
		}
		described, ok := properties[key]
		if !ok {
			if described, ok = s["additionalProperties"]; !ok {
				continue
			}
		}
		if why := c.refuses(described, item); why != "" {
			return key + ": " + why
		}
	}
	return ""
}

func single(v any) bool {
	switch v.(type) {
	case map[string]any, []any:
		return false
	}
	return true
}

func isOfType(want, v any) bool {
	if list, ok := want.([]any); ok {
		return slices.ContainsFunc(list, func(w any) bool { return isOfType(w, v) })
	}
	switch v.(type) {
	case string:
		return want == "string"
	case bool:
		return want == "boolean"
	case int:
		return want == "integer" || want == "number"
	case uint64, float64:
		return want == "number"
	case []any:
		return want == "array"
	case map[string]any:
		return want == "object"
	}
	return want == "null"
}
