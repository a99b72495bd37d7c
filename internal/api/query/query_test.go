// SPDX-License-Identifier: Apache-2.0

package query_test

import (
	"encoding/json"
	"errors"
	"net/url"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/hsmsigner/hsmsigner/internal/api/query"
	"github.com/hsmsigner/hsmsigner/internal/api/schema"
	"github.com/hsmsigner/hsmsigner/internal/strictjson"
)

type thing struct {
	ID      string         `json:"_id"`
	Name    string         `json:"name,omitempty"`
	Count   uint64         `json:"count,omitempty"`
	On      bool           `json:"on"`
	Made    time.Time      `json:"created_at"`
	Details map[string]any `json:"details,omitempty"`
}

func at(text string) time.Time {
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		panic(err)
	}
	return t
}

var things = []any{
	&thing{ID: "a", Name: "Treasury", Count: 9, Made: at("2026-01-01T00:00:00Z"), On: true, Details: map[string]any{"provider": "azure", "n": 2}},
	&thing{ID: "b", Name: "payroll", Count: 10, Made: at("2026-01-01T00:00:00.5Z"), Details: map[string]any{"provider": "aws_kms", "deep": map[string]any{"er": "x"}}},
	&thing{ID: "c", Name: "treats", Count: 100, Made: at("2026-02-01T00:00:00Z")},
	&thing{ID: "d", Made: at("2025-02-01T00:00:00Z")},
}

var item = schema.Of(reflect.TypeFor[thing](), schema.Words{"_id": "", "name": "", "count": "", "on": "", "created_at": "", "details": ""})

func ask(t *testing.T, raw string) ([]json.RawMessage, error) {
	t.Helper()
	values, err := url.ParseQuery(raw)
	if err != nil {
		t.Fatal(err)
	}
	q, err := query.Parse(values, item)
	if err != nil {
		return nil, err
	}
	got, err := q.Apply(things)
	if err != nil {
		t.Fatal(err)
	}
	return got, nil
}

func TestEveryOperatorSelectsWhatItSays(t *testing.T) {
	for raw, want := range map[string]string{
		"":                                 "abcd",
		"name=payroll":                     "b",
		"name=Payroll":                     "", // equal is exact
		"name=!payroll":                    "acd",
		"name=":                            "abc",
		"name=!":                           "d",
		"name=^TREA":                       "ac",
		"name=$ROLL":                       "b",
		"name=~rea":                        "ac",
		"name[]=payroll&name[]=treats":     "bc",
		"name[]=!payroll&name[]=!treats":   "ad",
		"count=10":                         "b",
		"count=10.0":                       "b",
		"count=<10":                        "a", // 9 < 10 as numbers; not there: no
		"count=>9":                         "bc",
		"count=>=10":                       "bc",
		"count=<=10":                       "ab",
		"count=>9&count=<100":              "b",
		"count[]=9&count[]=100":            "ac",
		"on=true":                          "a",
		"on=!true":                         "bcd",
		"created_at=>2026-01-01T00:00:00Z": "bc",
		"created_at=>=2026-01-01":          "abc",
		"created_at=<2026-01-01T01:00:00%2B01:00": "d",
		"created_at=2026-01-01T00:00:00.500Z":     "b",
		"created_at=>1767225600000":               "bc", // 2026-01-01
		"details=":                                "ab",
		"details=!":                               "cd",
		"details.provider=azure":                  "a",
		"details.provider=!azure":                 "bcd",
		"details.n=>1":                            "a",
		"details.deep.er=x":                       "b",
		"sort=name":                               "bacd", // without regard to capitals; what has none last
		"sort=-name":                              "cabd",
		"sort=-count,name":                        "cbad",
		"sort=created_at":                         "dabc",
		"sort=-details.provider,-_id":             "abdc",
		"limit=2":                                 "ab",
		"limit=2&skip=1":                          "bc",
		"skip=9":                                  "",
		"sort=-_id&limit=1&skip=1&name=":          "b",
	} {
		got, err := ask(t, raw)
		if err != nil {
			t.Errorf("%s: %v", raw, err)
			continue
		}
		ids := ""
		for _, text := range got {
			var o thing
			if err := json.Unmarshal(text, &o); err != nil {
				t.Fatal(err)
			}
			ids += o.ID
		}
		if ids != want {
			t.Errorf("%s: %q, want %q", raw, ids, want)
		}
	}
}

func TestOnlyTheChosenFieldsComeAndAlwaysTheID(t *testing.T) {
	got, err := ask(t, "fields=name,details&limit=1")
	if err != nil {
		t.Fatal(err)
	}
	if text := string(got[0]); text != `{"_id":"a","details":{"n":2,"provider":"azure"},"name":"Treasury"}` {
		t.Error(text)
	}
}

func TestAnEmptyListIsAnArray(t *testing.T) {
	var q query.Query
	got, err := q.Apply(nil)
	if text, _ := json.Marshal(got); err != nil || string(text) != "[]" {
		t.Errorf("%s %v", text, err)
	}
}

func TestWhatMeansNothingIsRefused(t *testing.T) {
	for raw, parameter := range map[string]string{
		"naming=x":                     "naming",
		"details.a.b.c.d.e.f=x":        "details.a.b.c.d.e.f",
		"details..x=1":                 "details..x",
		"name.first=x":                 "name.first",
		"limit=0":                      "limit",
		"limit=1001":                   "limit",
		"limit=-1":                     "limit",
		"limit=%2B1":                   "limit",
		"limit=1&limit=2":              "limit",
		"limit=":                       "limit",
		"skip=-1":                      "skip",
		"skip=99999999999":             "skip",
		"fields=":                      "fields",
		"fields=name,nope":             "fields",
		"sort=nope":                    "sort",
		"sort=--name":                  "sort",
		"count=ten":                    "count",
		"count=1e9":                    "count",
		"count=^1":                     "count",
		"count=<":                      "count",
		"on=yes":                       "on",
		"on=<true":                     "on",
		"created_at=yesterday":         "created_at",
		"created_at=~2026":             "created_at",
		"details={}":                   "details",
		"details[]=a":                  "details[]",
		"name[]=a&name[]=!b":           "name[]",
		strings.Repeat("name=a&", 101): "name",
		"%00=1":                        "a parameter",
	} {
		_, err := ask(t, raw)
		var problem *query.Error
		if !errors.As(err, &problem) || problem.Parameter != parameter {
			t.Errorf("%.60s: %v", raw, err)
		}
	}
}

// What Filter says is taken is what Parse takes.
func TestTheDescriptionOfAFilterIsTrue(t *testing.T) {
	for _, name := range item.Names() {
		described := query.Filter(item.Properties[name])
		for _, v := range []string{"", "!", "x", "!x", "^x", "$x", "~x", "<x", ">=x", "5", "!5", "<=5", "<", "5.5", "-5", "5.", "1e5", "true", "!false", "<true", "2026-01-01", ">2026-01-01T00:00:00Z", "~5"} {
			_, err := query.Parse(url.Values{name: {v}}, item)
			if allowed := described.Check(text(v)) == nil; allowed != (err == nil) {
				t.Errorf("%s=%s: described as %v, yet %v", name, v, allowed, err)
			}
		}
	}
}

func FuzzNoQueryIsTooMuch(f *testing.F) {
	for _, seed := range []string{"name=^x&count=>1", "sort=-name&fields=_id", "details.x[]=!1", "created_at=<1", "%zz"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		values, err := url.ParseQuery(raw)
		if err != nil {
			return
		}
		q, err := query.Parse(values, item)
		if err != nil {
			return
		}
		if got, err := q.Apply(things); err != nil || len(got) > len(things) {
			t.Errorf("%d %v", len(got), err)
		}
	})
}

func text(s string) strictjson.Value { return strictjson.StringValue(s) }
