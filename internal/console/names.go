// SPDX-License-Identifier: Apache-2.0

package console

import (
	"context"

	"github.com/hsmsigner/hsmsigner/internal/platform"
)

// nameIsFree refuses a name that another resource of a kind has here, of the same
// membership. The API tells resources apart by their ids alone; people choose them in
// forms by their names, and hsmsigner apply finds them so. Of two that ask at the same
// moment, both get the name. id is that of the resource that is renamed; empty: it is
// a new one.
func (v *visit) nameIsFree(ctx context.Context, kind platform.Kind, id string, body map[string]any) error {
	name, _ := body["name"].(string)
	what, ok := map[platform.Kind]string{platform.Configurations: "configuration", platform.Nodes: "node", platform.Services: "wallet"}[kind]
	if !ok || name == "" {
		return nil
	}
	at := v.at
	at.ID = ""
	all, err := v.c.cfg.Platform.List(ctx, v.who, kind, at)
	if err != nil {
		return err
	}
	membership := textIn(body, "membership_id")
	for _, is := range all {
		if r := named(is); r.id == id {
			if r.name == name { // it has it already, whoever else does
				return nil
			}
			membership = r.membership
		}
	}
	for _, is := range all {
		if r := named(is); r.id != id && r.name == name && (membership == "" || membership == r.membership) {
			return &platform.Error{Reason: platform.Invalid, Field: "name", Msg: "another " + what + " here has this name: want one that tells them apart"}
		}
	}
	return nil
}

// label is what a resource is called, and whose it is.
type label struct{ id, name, membership string }

func named(is any) label {
	switch is := is.(type) {
	case *platform.Configuration:
		return label{is.ID, is.Name, is.MembershipID}
	case *platform.Node:
		return label{is.ID, is.Name, is.MembershipID}
	case *platform.Service:
		return label{is.ID, is.Name, is.MembershipID}
	}
	return label{}
}
