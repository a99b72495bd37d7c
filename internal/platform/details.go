// SPDX-License-Identifier: Apache-2.0

package platform

import (
	"encoding/json"
	"errors"
	"maps"
	"strings"

	"github.com/hsmsigner/hsmsigner/internal/config"
)

// parseDetails checks the whole details of a membership's configuration.
// requireHSM imposes that rule.
func (p *Platform) parseDetails(membership string, whole map[string]any, requireHSM bool) (config.Details, error) {
	checked := maps.Clone(whole)
	if requireHSM {
		checked["require_hsm"] = true
	}
	text, err := json.Marshal(checked)
	if err != nil {
		return config.Details{}, invalid("details", "cannot be read")
	}
	defer clear(text)
	d, err := p.cfg.ParseDetails(membership, text)
	err = refusal(err, func(path string) string {
		if path == "" {
			return "details"
		}
		return "details." + path
	})
	var refused *Error
	if errors.As(err, &refused) && refused.Field == "details.require_hsm" && whole["require_hsm"] != true {
		// Not the caller has said so.
		refused.Msg = strings.Replace(refused.Msg, "is true, but", "is imposed by the operator or the environment, and", 1)
	}
	return d, err
}

// parseNode checks a node of which the URLs are given.
func (p *Platform) parseNode(urls map[string]any, chainID uint64) (config.Node, error) {
	given := map[string]any{"chain_id": chainID}
	for name, as := range map[string]string{"rpc": "url", "wss": "ws_url"} {
		if urls[name] != nil {
			given[as] = urls[name]
		}
	}
	text, err := json.Marshal(given)
	if err != nil {
		return config.Node{}, invalid("urls", "cannot be read")
	}
	defer clear(text)
	n, err := p.cfg.ParseNode(text)
	return n, refusal(err, func(path string) string {
		switch path {
		case "url":
			return "urls.rpc"
		case "ws_url":
			return "urls.wss"
		}
		return path
	})
}

// refusal words what package config found wrong, all at once. field is how the
// API calls what config calls by a path.
func refusal(err error, field func(path string) string) error {
	var problems config.Errors
	switch {
	case err == nil:
		return nil
	case !errors.As(err, &problems) || len(problems) == 0:
		return invalid(field(""), "%s", err)
	}
	first := &Error{Reason: Invalid, Field: field(problems[0].Path), Msg: problems[0].Message}
	for _, problem := range problems[1:] {
		first.Msg += "; " + field(problem.Path) + ": " + problem.Message
	}
	return first
}
