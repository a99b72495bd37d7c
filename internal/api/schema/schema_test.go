// SPDX-License-Identifier: Apache-2.0

package schema_test

import (
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/hsmsigner/hsmsigner/internal/api/schema"
	"github.com/hsmsigner/hsmsigner/internal/strictjson"
)

func whole(n int64) *int64 { return &n }

func described() *schema.Schema {
	return &schema.Schema{
		Type: schema.Object, Required: []string{"name"},
		Properties: map[string]*schema.Schema{
			"name":  {Type: schema.String, MinLength: 1, MaxLength: 3, Pattern: `^[a-zü]*$`},
			"kind":  {Type: schema.String, Enum: []string{"a", "b"}},
			"n":     {Type: schema.Integer, Minimum: whole(1), Maximum: whole(9)},
			"large": {Type: schema.Integer, Minimum: whole(0)},
			"chain": {Type: schema.Integer, Or: []string{schema.String}, Minimum: whole(1), Pattern: `^[0-9]+$`},
			"on":    {Type: schema.Boolean},
			"none":  {Type: schema.Object, Or: []string{schema.Null}},
			"list":  {Type: schema.Array, MinItems: 1, MaxItems: 2, Items: &schema.Schema{Type: schema.Object, Closed: true, Properties: map[string]*schema.Schema{"x": {Type: schema.String}}}},
			"tags":  {Type: schema.Object, Values: &schema.Schema{Type: schema.String}},
			"any":   {},
		},
	}
}

func TestWhatIsAsDescribedPasses(t *testing.T) {
	s := described()
	for _, text := range []string{
		`{"name":"x"}`, `{"name":"üüü"}`, `{"name":"x","more":[1,{"a":null}]}`, `{"name":"x","kind":"b"}`, `{"name":"x","n":9}`,
		`{"name":"x","large":18446744073709551615}`, `{"name":"x","chain":1}`, `{"name":"x","chain":"1"}`, `{"name":"x","on":false}`,
		`{"name":"x","none":null}`, `{"name":"x","none":{}}`, `{"name":"x","list":[{"x":"y"},{}]}`, `{"name":"x","tags":{"a":"b"}}`,
		`{"name":"x","any":null}`, `{"name":"x","any":[1]}`,
	} {
		v, err := strictjson.Parse([]byte(text))
		if err == nil {
			err = s.Check(v)
		}
		if err != nil {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func TestWhatIsNotNamesTheFieldAndNothingOfTheValue(t *testing.T) {
	s := described()
	for text, field := range map[string]string{
		`[]`: "", `"canary"`: "", `null`: "",
		`{}`: "name", `{"Name":"x"}`: "name", `{"name":null}`: "name", `{"name":""}`: "name", `{"name":"canary"}`: "name", `{"name":"X"}`: "name", `{"name":1}`: "name",
		`{"name":"x","kind":"canary"}`: "kind", `{"name":"x","n":0}`: "n", `{"name":"x","n":10}`: "n", `{"name":"x","n":1.0}`: "n", `{"name":"x","n":1e0}`: "n",
		`{"name":"x","n":99999999999999999999}`: "n", `{"name":"x","n":-99999999999999999999}`: "n", `{"name":"x","large":18446744073709551616}`: "large", `{"name":"x","large":-1}`: "large",
		`{"name":"x","large":1e999999999}`: "large", `{"name":"x","n":"1"}`: "n",
		`{"name":"x","chain":"canary"}`: "chain", `{"name":"x","chain":0}`: "chain", `{"name":"x","chain":null}`: "chain", `{"name":"x","on":"true"}`: "on", `{"name":"x","none":[]}`: "none",
		`{"name":"x","list":[]}`: "list", `{"name":"x","list":[{},{},{}]}`: "list", `{"name":"x","list":[{},1]}`: "list[1]", `{"name":"x","list":[{"canary":1}]}`: "list[0]", `{"name":"x","list":[{"x":1}]}`: "list[0].x",
		`{"name":"x","tags":{"a":1}}`: "tags.a",
	} {
		v, err := strictjson.Parse([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		var p *schema.Problem
		if err = s.Check(v); !errors.As(err, &p) || p.Field != field || strings.Contains(err.Error(), "canary") {
			t.Errorf("%s: %v", text, err)
		}
	}
}

type inner struct {
	When time.Time `json:"when,omitzero"`
}

type outer struct {
	inner
	Name   string            `json:"name"`
	N      *uint64           `json:"n,omitempty"`
	Tags   map[string]string `json:"tags"`
	Any    map[string]any    `json:"any"`
	List   []inner           `json:"list"`
	Hidden string            `json:"-"`
}

func TestATypeIsDescribedAsEncodingJSONWritesIt(t *testing.T) {
	words := schema.Words{"when": "w", "outer.name": "o", "name": "other", "n": "n", "tags": "t", "any": "a", "list": "l"}
	s := schema.Of(reflect.TypeFor[outer](), words)
	if got := strings.Join(s.Names(), " "); got != "any list n name tags when" {
		t.Error(got)
	}
	if got := strings.Join(s.Required, " "); got != "any list name tags" {
		t.Error(got)
	}
	if s.Properties["name"].Description != "o" || s.Properties["when"].Format != "date-time" || s.Properties["n"].Type != schema.Integer {
		t.Errorf("%+v", s.Properties)
	}
	text, err := json.Marshal(outer{Name: "x", Tags: map[string]string{"a": "b"}, Any: map[string]any{"a": 1}, List: []inner{{When: time.Now()}}})
	if err != nil {
		t.Fatal(err)
	}
	v, err := strictjson.Parse(text)
	if err == nil {
		err = s.Check(v)
	}
	if err != nil {
		t.Errorf("%s: %v", text, err)
	}
	components := map[string]*schema.Schema{}
	s.Components(components)
	if len(components) != 2 || components["inner"] == nil {
		t.Error(components)
	}
	if ref, err := json.Marshal(s); string(ref) != `{"$ref":"#/components/schemas/outer"}` || err != nil {
		t.Error(string(ref), err)
	}
}

func TestAFieldWithoutWordsIsAMistake(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("nothing says what it means, and nobody minds")
		}
	}()
	schema.Of(reflect.TypeFor[inner](), schema.Words{})
}
