// SPDX-License-Identifier: Apache-2.0

package console

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/hsmsigner/hsmsigner/internal/auth"
	"github.com/hsmsigner/hsmsigner/internal/platform"
)

// configurationForm is the data of the page with the fields of a configuration.
type configurationForm struct {
	form
	Providers   []provider
	Chosen      *provider // nil: none yet
	Sections    []shownSection
	Memberships []*platform.Membership
	FiguresOf   string
	Was         *platform.Configuration // nil: it is a new one
	Users       []*platform.Service
	MayChange   bool
}

// shownSection is a section of the form on a page.
type shownSection struct {
	section
	Open bool // something is in it, or wrong with it
}

func (v *visit) configurationForm(ctx context.Context, f form, was *platform.Configuration) (view, error) {
	data := configurationForm{form: f, Providers: providers(), FiguresOf: figuresOf, Was: was}
	is := view{page: "configuration-new", title: "New configuration", section: "configurations"}
	name := v.form.Get("provider")
	var stored map[string]any
	if was != nil {
		name, stored = textIn(was.Details, "provider"), was.Details
		users, err := v.users(ctx)
		if err != nil {
			return view{}, err
		}
		data.Users = users[was.ID]
		data.MayChange = v.can(auth.Admin, was.MembershipID) && !was.ReadOnly
		is.page, is.title = "configuration", was.Name
	}
	if p, ok := providerNamed(name); ok {
		data.Chosen = &p
		data.Sections = shownSections(p, f, stored)
	}
	var err error
	if data.Memberships, err = v.ownable(ctx); err != nil {
		return view{}, err
	}
	if len(f.Problems) > 0 || f.Problem != "" {
		is.status = http.StatusUnprocessableEntity
	}
	is.data = data
	return is, nil
}

// shownSections are the sections of a form, of which those are open that a person
// has to see. stored is what the configuration has; nil of a new one.
func shownSections(p provider, f form, stored map[string]any) []shownSection {
	var all []shownSection
	for _, s := range p.Sections {
		shown := shownSection{section: s, Open: s.Title == "" || f.Wrong(s.About) != ""}
		shown.Fields = nil
		for _, field := range s.Fields {
			if field.Kind == kindRemove && (stored == nil || field.Removes[0] == "admin" && stored["admin"] == nil) {
				continue // nothing is stored
			}
			shown.Fields = append(shown.Fields, field)
			shown.Open = shown.Open || f.Wrong(field.Name) != "" || !field.Secret && f.Has(field.Name)
		}
		if s.About == "details.admin" && stored["admin"] != nil {
			shown.Open = true
		}
		all = append(all, shown)
	}
	return all
}

// written puts what a configuration has where a form finds it.
func written(into url.Values, prefix string, details map[string]any) {
	for name, value := range details {
		name = prefix + name
		switch value := value.(type) {
		case string:
			into.Set(name, value)
		case json.Number:
			into.Set(name, value.String())
		case float64:
			into.Set(name, strconv.FormatFloat(value, 'f', -1, 64))
		case bool:
			if value {
				into.Set(name, "true")
			}
		case []any:
			var lines []string
			for _, one := range value {
				if text, ok := one.(string); ok {
					lines = append(lines, text)
				}
			}
			into.Set(name, strings.Join(lines, "\n"))
		case map[string]any:
			written(into, name+".", value)
		}
	}
}

// details are the typed fields of a provider, as a patch of what there was (nil: a
// new configuration). An empty field of a secret keeps the secret, unless another
// way to prove who one is was typed instead; an empty other field takes it away.
func (v *visit) details(p provider, was map[string]any) map[string]any {
	d := map[string]any{}
	if was == nil {
		d["provider"] = string(p.Name)
	}
	for _, f := range p.fields() {
		if f.Kind == kindRemove {
			continue
		}
		into, had, name := d, was, strings.TrimPrefix(f.Name, "details.")
		outer, inner, nested := strings.Cut(name, ".")
		if nested {
			had, _ = was[outer].(map[string]any)
			into, _ = d[outer].(map[string]any)
			if into == nil {
				into = map[string]any{}
			}
			name = inner
		}
		switch typed := v.typed(f); {
		case typed != nil:
			into[name] = typed
		case !f.Secret && had[name] != nil:
			into[name] = nil
		}
		if nested && len(into) > 0 {
			d[outer] = into
		}
	}
	if was == nil {
		return d
	}
	instead(p, d, was)
	if inner, ok := d["admin"].(map[string]any); ok {
		had, _ := was["admin"].(map[string]any)
		instead(p, inner, had)
	}
	for _, f := range p.fields() {
		if f.Kind == kindRemove && v.form.Get(f.Name) != "" {
			for _, name := range f.Removes {
				d[name] = nil
			}
		}
	}
	return d
}

// typed is what stands in a field, as the API takes it; nil if nothing does.
func (v *visit) typed(f field) any {
	text := v.text(f.Name)
	switch {
	case text == "":
		return nil
	case f.Kind == kindTick:
		return true
	case f.Kind == kindList:
		var all []string
		for line := range strings.Lines(text) {
			if line = strings.TrimSpace(line); line != "" {
				all = append(all, line)
			}
		}
		return all
	case f.Kind == kindNumber:
		if _, err := strconv.ParseFloat(text, 64); err == nil && json.Valid([]byte(text)) {
			return json.Number(text)
		}
	}
	return text // which the API refuses, if it is not what it wants
}

// instead has what was typed to prove who one is take the place of what is stored
// for another way: that is not shown, so that nobody could take it away.
func instead(p provider, d, was map[string]any) {
	secrets := func(names []string) []string {
		return slices.DeleteFunc(slices.Clone(names), func(name string) bool { return name == "identity" })
	}
	for _, chosen := range p.Instead {
		if d[chosen[0]] == nil || d[chosen[0]] == was[chosen[0]] {
			continue
		}
		for _, way := range p.Instead {
			for _, name := range secrets(way) {
				if d[name] == nil {
					d[name] = nil
				}
			}
		}
	}
}

// refusedDetails is refused for the form of a provider.
func (v *visit) refusedDetails(err error, p provider) (form, bool) {
	names := []string{"name", "membership_id", "details", "details.admin"}
	for _, f := range p.fields() {
		names = append(names, f.Name)
	}
	f, ok := v.refused(err, names...)
	// What is wrong with all of it stands above the form.
	f.Problem = strings.TrimSpace(f.Problem + " " + f.Problems["details"])
	delete(f.Problems, "details")
	return f, ok
}
