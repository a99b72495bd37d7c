// SPDX-License-Identifier: Apache-2.0

package console

import (
	"context"
	"encoding/json"

	"github.com/hsmsigner/hsmsigner/internal/platform"
)

// trialPage is what a test of a connection has shown.
type trialPage struct {
	platform.Trial
	Form     form // what was wrong with what was typed
	Provider provider
}

// Label is how the form calls a field of the API.
func (t trialPage) Label(name string) string {
	for _, s := range t.Provider.Sections {
		if s.About == name {
			return s.Title
		}
		for _, f := range s.Fields {
			if f.Name == name {
				return f.Label
			}
		}
	}
	return name
}

// tryConfiguration asks the backend what it would show to what was typed. The
// page asks for this part alone, so that the secret stays in its field.
func tryConfiguration(ctx context.Context, v *visit) (view, error) {
	at := v.at
	at.ID = v.r.PathValue("id")
	p, ok := providerNamed(v.form.Get("provider"))
	if !ok {
		return nothingHere(ctx, v)
	}
	body := map[string]any{}
	if at.ID == "" {
		body = map[string]any{"type": "cloudhsm", "name": "test", "membership_id": v.form.Get("membership_id"), "details": v.details(p, nil)}
	} else {
		was, err := get[platform.Configuration](ctx, v, platform.Configurations, at)
		if err != nil {
			return view{}, err
		}
		body["details"] = v.details(p, was.Details)
	}
	text, err := json.Marshal(body)
	if err != nil {
		return view{}, err
	}
	defer clear(text)
	trial, err := v.c.cfg.Platform.TryConfiguration(ctx, v.who, at, text)
	page := trialPage{Trial: trial, Provider: p}
	if f, refused := v.refusedDetails(err, p); refused {
		page.Form, err = f, nil
	}
	if err != nil {
		return view{}, err
	}
	return view{page: "trial", title: "Test of the connection", section: "configurations", data: page, fragment: v.wantsFragment()}, nil
}
