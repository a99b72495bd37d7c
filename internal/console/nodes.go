// SPDX-License-Identifier: Apache-2.0

package console

import (
	"context"
	"net/http"
	"strconv"

	"github.com/hsmsigner/hsmsigner/internal/auth"
	"github.com/hsmsigner/hsmsigner/internal/platform"
)

// nodeRow is one of the list.
type nodeRow struct {
	*platform.Node
	Owner   string
	Wallets int
}

func nodes(ctx context.Context, v *visit) (view, error) {
	all, err := list[platform.Node](ctx, v, platform.Nodes)
	if err != nil {
		return view{}, err
	}
	users, err := v.users(ctx)
	if err != nil {
		return view{}, err
	}
	owners, err := v.owners(ctx)
	if err != nil {
		return view{}, err
	}
	var rows []nodeRow
	for _, n := range all {
		rows = append(rows, nodeRow{n, owners[n.MembershipID], len(users[n.ID])})
	}
	return view{page: "nodes", title: "Nodes", section: "nodes", data: rows}, nil
}

// nodeForm is the data of the pages on which a node is made or changed.
type nodeForm struct {
	form
	Memberships []*platform.Membership
	Was         *platform.Node // nil: it is a new one
	Users       []*platform.Service
	MayChange   bool
}

func newNode(ctx context.Context, v *visit) (view, error) {
	return v.nodeForm(ctx, form{Values: v.form}, nil)
}

func (v *visit) nodeForm(ctx context.Context, f form, was *platform.Node) (view, error) {
	data := nodeForm{form: f, Was: was}
	is := view{page: "node-new", title: "New node", section: "nodes"}
	if was != nil {
		users, err := v.users(ctx)
		if err != nil {
			return view{}, err
		}
		data.Users, data.MayChange = users[was.ID], v.can(auth.Admin, was.MembershipID) && !was.ReadOnly
		is.page, is.title = "node", was.Name
	}
	var err error
	if data.Memberships, err = v.ownable(ctx); err != nil {
		return view{}, err
	}
	if f.Problem != "" || len(f.Problems) > 0 {
		is.status = http.StatusUnprocessableEntity
	}
	is.data = data
	return is, nil
}

func makeNode(ctx context.Context, v *visit) (view, error) {
	chain, err := strconv.ParseUint(v.text("chain_id"), 10, 63)
	if err != nil {
		f := form{Values: v.form, Problems: map[string]string{"chain_id": "Want the number of the chain, like 1 for Ethereum's main network."}}
		return v.nodeForm(ctx, f, nil)
	}
	is, err := v.create(ctx, platform.Nodes, map[string]any{
		"name": v.text("name"), "membership_id": v.form.Get("membership_id"), "chain_id": chain, "urls": v.urls(),
	})
	if f, ok := v.refused(err, "name", "membership_id", "chain_id", "urls.rpc", "urls.wss"); ok {
		return v.nodeForm(ctx, f, nil)
	}
	if err != nil {
		return view{}, err
	}
	made, _ := is.(*platform.Node)
	return v.done("node-made", "nodes", made.ID), nil
}

// urls are those that were typed. They may hold a key, and are not shown again:
// an empty field keeps what there is.
func (v *visit) urls() map[string]any {
	urls := map[string]any{}
	for _, name := range []string{"rpc", "wss"} {
		if u := v.text("urls." + name); u != "" {
			urls[name] = u
		}
	}
	return urls
}

func showNode(ctx context.Context, v *visit) (view, error) {
	was, err := get[platform.Node](ctx, v, platform.Nodes, v.here())
	if err != nil {
		return view{}, err
	}
	return v.nodeForm(ctx, form{Values: map[string][]string{"name": {was.Name}}}, was)
}

func changeNode(ctx context.Context, v *visit) (view, error) {
	was, err := get[platform.Node](ctx, v, platform.Nodes, v.here())
	if err != nil {
		return view{}, err
	}
	patch := map[string]any{"name": v.text("name")}
	if urls := v.urls(); len(urls) > 0 {
		patch["urls"] = urls
	}
	err = v.update(ctx, platform.Nodes, was.ID, patch)
	if f, ok := v.refused(err, "name", "urls.rpc", "urls.wss"); ok {
		return v.nodeForm(ctx, f, was)
	}
	if err != nil {
		return view{}, err
	}
	return v.done("node-changed", "nodes", was.ID), nil
}

func deleteNode(ctx context.Context, v *visit) (view, error) {
	if _, err := v.c.cfg.Platform.Delete(ctx, v.who, platform.Nodes, v.here()); err != nil {
		return view{}, err
	}
	return v.done("node-deleted", "nodes"), nil
}
