// SPDX-License-Identifier: Apache-2.0

package apply_test

import (
	"errors"
	"net/url"
	"testing"

	"github.com/hsmsigner/hsmsigner/client"
)

// TestClientSpeaksTheRealAPI: package client may import nothing of ours, so its
// meeting with the real handler is here.
func TestClientSpeaksTheRealAPI(t *testing.T) {
	r := prepared(t)
	r.apply(t, whole, false)
	ctx := t.Context()
	found, err := r.client.Consortia().List(ctx, url.Values{"name": {"acme"}})
	if err != nil || len(found) != 1 {
		t.Fatal(found, err)
	}
	environments, err := r.client.Environments(found[0].ID).List(ctx, nil)
	if err != nil || len(environments) != 1 || environments[0].ChainID != 1337 || environments[0].Created.IsZero() {
		t.Fatal(environments, err)
	}
	in := r.client.In(found[0].ID, environments[0].ID)
	services, err := in.Services().List(ctx, nil)
	if err != nil || len(services) != 1 || services[0].Details["cloudhsm_id"] == nil {
		t.Fatal(services, err)
	}
	id := services[0].ID
	if s, err := in.Status(ctx, id); err != nil || s.State == "" || s.Release != "test" {
		t.Errorf("status: %+v, %v", s, err)
	}
	if s, err := in.ResetService(ctx, id); err != nil || s.ID != id {
		t.Errorf("reset: %+v, %v", s, err)
	}
	if all, err := in.Transactions(ctx, id, client.TransactionQuery{States: []string{"sent", "mined"}, Limit: 5}); err != nil || len(all) != 0 {
		t.Errorf("transactions: %v, %v", all, err)
	}
	if _, err := in.Transaction(ctx, id, "0x1234"); !client.Is(err, client.NotFound) {
		t.Errorf("no transaction: %v", err)
	}
	nodes, err := in.Nodes().List(ctx, nil)
	if err != nil || len(nodes) != 1 || nodes[0].URLs["rpc"] != "https://node.example.org" {
		t.Fatal(nodes, err)
	}
	if _, err := in.Nodes().Delete(ctx, nodes[0].ID); !client.Is(err, client.Conflict) {
		t.Errorf("a node in use was deleted: %v", err)
	}
	if n, err := in.ResetNode(ctx, nodes[0].ID); err != nil || n.ID != nodes[0].ID {
		t.Errorf("reset: %+v, %v", n, err)
	}
	creds, err := in.AppCreds().List(ctx, nil)
	if err != nil || len(creds) != 1 || creds[0].Password != "" {
		t.Fatal(creds, err)
	}
	if c, err := in.Regenerate(ctx, creds[0].ID); err != nil || len(c.Password) < 40 {
		t.Errorf("regenerate: %v", err)
	}
	_, err = in.Configurations().Create(ctx, client.NewConfiguration{Name: "x", Type: "cloudhsm", MembershipID: creds[0].MembershipID, Details: map[string]any{"provider": "azure", "vault_name": "a.evil/x#"}})
	var refused *client.Error
	if !errors.As(err, &refused) || refused.Status != 400 || refused.Reason != client.Invalid || refused.Field == "" {
		t.Errorf("bad details: %#v", err)
	}
	if gone, err := in.AppCreds().Delete(ctx, creds[0].ID); err != nil || !gone {
		t.Errorf("delete: %v, %v", gone, err)
	}
	r.key = "h0abcdefgh-nobody"
	if _, err := r.client.WhoAmI(ctx); !client.Is(err, client.Unauthenticated) {
		t.Errorf("a wrong key: %v", err)
	}
}
