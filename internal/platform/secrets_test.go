// SPDX-License-Identifier: Apache-2.0

package platform_test

import (
	"bytes"
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/hsmsigner/hsmsigner/internal/platform"
	"github.com/hsmsigner/hsmsigner/internal/store"
)

func TestSecretsNeverComeBackNorLieInTheDatabase(t *testing.T) {
	r := newRig(t)
	r.start(r.p)
	canaries := []string{"CANARY-token-of-the-vault", "CANARY-admin", "CANARY-password", "CANARY-key", "CANARY-other", "CANARY-next"}
	c := must[*platform.Configuration](r, platform.Configurations, home(), vaultBody(`,"admin":{"user_secret":"CANARY-admin"},"clientSecret":"CANARY-other","list":[{"password":"CANARY-other"}]`))
	n := must[*platform.Node](r, platform.Nodes, home(), nodeBody(""))
	s := r.serviceOf(c.ID)
	cred := must[*platform.AppCred](r, platform.AppCreds, home(), `{"name":"a",`+member+`}`)
	key := must[*platform.APIKey](r, platform.APIKeys, platform.Path{}, `{"name":"k","grants":[{"role":"admin"}]}`)
	_, secret, _ := strings.Cut(key.Key, "-")
	canaries = append(canaries, cred.Password, secret)
	until(t, 2e9, "started", func() bool { state, _ := r.stateOf(s.ID); return state == platform.Started })
	patched[*platform.Configuration](r, platform.Configurations, at(home(), c.ID), `{"details":{"user_secret":"CANARY-next"}}`)
	if n.URLs["rpc"] != "https://node.example.org" {
		t.Errorf("the node shows %v", n.URLs)
	}
	var shown strings.Builder
	for _, kind := range []platform.Kind{platform.Nodes, platform.Configurations, platform.Services, platform.AppCreds, platform.APIKeys} {
		all, err := r.p.List(t.Context(), root(), kind, home())
		if err != nil || len(all) == 0 {
			t.Fatal(kind, len(all), err)
		}
		shown.WriteString(text(all))
	}
	status, err := r.p.Status(t.Context(), root(), at(home(), s.ID))
	if err != nil {
		t.Fatal(err)
	}
	shown.WriteString(text(status))
	shown.WriteString(text(r.changes.all))
	shown.WriteString(r.log.String())
	for _, canary := range canaries {
		if strings.Contains(shown.String(), canary) {
			t.Errorf("%s shows in %s", canary, shown.String())
		}
		for _, name := range r.files() {
			data, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			if bytes.Contains(data, []byte(canary)) {
				t.Errorf("%s lies in %s", canary, name)
			}
		}
	}
}

func TestSendingBackWhatWasShownChangesNothing(t *testing.T) {
	r := newRig(t)
	c := must[*platform.Configuration](r, platform.Configurations, home(), vaultBody(`,"admin":{"role_id":"role","user_secret":"s"},"note":1e3,"list":[1,{"a":null}],"mount":"m","deep":{"password":"x","b":true}`))
	n := must[*platform.Node](r, platform.Nodes, home(), nodeBody(""))
	s := r.serviceOf(c.ID)
	cred := must[*platform.AppCred](r, platform.AppCreds, home(), `{`+member+`}`)
	cred.Password = ""
	key := must[*platform.APIKey](r, platform.APIKeys, platform.Path{}, `{"name":"k","grants":[{"role":"admin"}]}`)
	key.Key = ""
	m := must[*platform.Membership](r, platform.Memberships, home(), `{"org_name":"m"}`)
	changes := len(r.changes.all)
	rows := r.rows()
	for _, c := range []struct {
		kind  platform.Kind
		id    string
		shown any
	}{
		{platform.Configurations, c.ID, c},
		{platform.Nodes, n.ID, n},
		{platform.Services, s.ID, s},
		{platform.AppCreds, cred.ID, cred},
		{platform.APIKeys, key.ID, key},
		{platform.Memberships, m.ID, m},
		{platform.Environments, platform.DefaultEnvironment, got[*platform.Environment](r, platform.Environments, at(home(), platform.DefaultEnvironment))},
		{platform.Consortia, platform.DefaultConsortium, got[*platform.Consortium](r, platform.Consortia, at(home(), platform.DefaultConsortium))},
	} {
		v, err := r.p.Update(t.Context(), root(), c.kind, at(home(), c.id), []byte(text(c.shown)))
		if err != nil {
			t.Errorf("%s: %v", c.kind, err)
			continue
		}
		if text(v) != text(c.shown) {
			t.Errorf("%s was\n%s and is\n%s", c.kind, text(c.shown), text(v))
		}
	}
	if len(r.changes.all) != changes || text(r.rows()) != text(rows) {
		t.Errorf("something was changed: %v", r.changes.all[changes:])
	}
}

func (r *rig) rows() []store.Resource {
	r.t.Helper()
	all, err := r.db.Resources(r.t.Context(), store.ResourceFilter{})
	if err != nil {
		r.t.Fatal(err)
	}
	return all
}

// TestSealedValuesOfTwoTenantsDoNotOpenWhenSwapped swaps what lies in the
// database, as somebody could who may write it but has not the key.
func TestSealedValuesOfTwoTenantsDoNotOpenWhenSwapped(t *testing.T) {
	r := newRig(t)
	other := must[*platform.Membership](r, platform.Memberships, home(), `{"org_name":"other"}`)
	mine := must[*platform.Configuration](r, platform.Configurations, home(), vaultBody(""))
	theirs := must[*platform.Configuration](r, platform.Configurations, home(),
		strings.NewReplacer(platform.DefaultMembership, other.ID, vaultToken, "hvs.theirs").Replace(vaultBody("")))
	n := must[*platform.Node](r, platform.Nodes, home(), nodeBody(""))
	s := r.serviceOf(mine.ID)
	a, b := r.row(mine.ID), r.row(theirs.ID)
	for name, is := range map[string][]byte{"another tenant's": b.Sealed, "another resource's": r.row(n.ID).Sealed} {
		was := r.row(a.ID).Sealed
		if err := r.db.ResealResource(t.Context(), a.ID, was, is); err != nil {
			t.Fatal(name, err)
		}
		_, err := r.p.Update(t.Context(), root(), platform.Configurations, at(home(), mine.ID), []byte(`{"details":{"mount":"x"}}`))
		if err == nil {
			t.Errorf("%s opens", name)
		}
	}
	r.start(r.p)
	until(t, 2e9, "a reason", func() bool { _, reason := r.stateOf(s.ID); return reason != "" })
	if state, reason := r.stateOf(s.ID); state != platform.Provisioning || !strings.HasPrefix(reason, "its credentials cannot be opened just now") {
		t.Error(state, reason)
	}
	if r.stage.secret(s.ID) != "" {
		t.Error("the service runs with another's credentials")
	}
	// And a row that says it is another tenant's.
	a = r.row(theirs.ID)
	a.Membership = platform.DefaultMembership
	if err := r.db.Write(t.Context(), func(w *store.Writer) error { return w.UpdateResource(a) }); err != nil {
		t.Fatal(err)
	}
	if _, err := r.p.Update(t.Context(), root(), platform.Configurations, at(home(), theirs.ID), []byte(`{"details":{"mount":"x"}}`)); err == nil {
		t.Error("a configuration that was moved to another tenant opens")
	}
}

func (r *rig) row(id string) store.Resource {
	r.t.Helper()
	row, err := r.db.Resource(r.t.Context(), id)
	if err != nil {
		r.t.Fatal(err)
	}
	return row
}

func TestSecretIsNotSentElsewhereByWhoDoesNotHaveIt(t *testing.T) {
	r := newRig(t)
	c := must[*platform.Configuration](r, platform.Configurations, home(), vaultBody(`,"admin":{"user_secret":"hvs.admin"}`))
	ask := func(patch string) error {
		_, err := r.p.Update(t.Context(), root(), platform.Configurations, at(home(), c.ID), []byte(patch))
		return err
	}
	for patch, want := range map[string]string{
		`{"details":{"target_address":"https://evil.example.org"}}`:                                          "invalid: details.target_address: says where details.user_secret is sent: want that again beside it",
		`{"details":{"target_address":"https://evil.example.org","user_secret":"hvs.x"}}`:                    "invalid: details.target_address: says where details.admin.user_secret is sent: want that again beside it",
		`{"details":{"provider":"aws_kms","target_region":"eu-central-1","user_id":"AKIAIOSFODNN7EXAMPLE"}}`: "invalid: details.admin: has no credential: want user_id or identity; details.user_secret: is missing",
	} {
		if got := refused(t, ask(patch)); !strings.HasPrefix(got, want) {
			t.Errorf("%s\n got %s\nwant %s", patch, got, want)
		}
	}
	if err := ask(`{"details":{"target_address":"https://new.example.org","user_secret":"hvs.x","admin":{"user_secret":"hvs.y"}}}`); err != nil {
		t.Error(err)
	}
	if got := refused(t, ask(`{"details":{"admin":{"tenant_id":"x"}}}`)); got != "invalid: details.admin.tenant_id: says where details.admin.user_secret is sent: want that again beside it" {
		t.Error(got)
	}
	n := must[*platform.Node](r, platform.Nodes, home(), nodeBody(""))
	_, err := r.p.Update(t.Context(), root(), platform.Nodes, at(home(), n.ID), []byte(`{"urls":{"rpc":"https://node.example.org","wss":"wss://evil.example.org"}}`))
	if got := refused(t, err); got != "invalid: urls.wss: has another host than urls.rpc, whose user and password it would be sent: want urls.rpc again beside it" {
		t.Error(got)
	}
	patched[*platform.Node](r, platform.Nodes, at(home(), n.ID), `{"urls":{"wss":"wss://node.example.org/ws"}}`)
	patched[*platform.Node](r, platform.Nodes, at(home(), n.ID), `{"urls":{"rpc":"`+nodeURL+`","wss":"wss://sockets.example.org"}}`)
	if err := ask(`{"details":{"mount":"other"}}`); err != nil {
		t.Error(err)
	}
}

func TestUnknownDetailsAreKept(t *testing.T) {
	r := newRig(t)
	c := must[*platform.Configuration](r, platform.Configurations, home(), vaultBody(`,"zone":"z","big":123456789012345678901234567890,"x":{"y":[1,"<&>"]}`))
	again := got[*platform.Configuration](r, platform.Configurations, at(home(), c.ID))
	for _, d := range []map[string]any{c.Details, again.Details} {
		b := new(bytes.Buffer)
		e := json.NewEncoder(b)
		e.SetEscapeHTML(false)
		if err := e.Encode(d); err != nil {
			t.Fatal(err)
		}
		want := `{"big":123456789012345678901234567890,"provider":"hashicorp","target_address":"https://vault.example.org:8200","x":{"y":[1,"<&>"]},"zone":"z"}`
		if strings.TrimSpace(b.String()) != want {
			t.Errorf("details are %s", b)
		}
	}
	_, err := r.p.Create(t.Context(), root(), platform.Configurations, home(), []byte(vaultBody(`,"exlude":["a*"]`)))
	if got := refused(t, err); got != `invalid: details.exlude: unknown key, did you mean "exclude"?` {
		t.Error("a limit whose name is misspelt:", got)
	}
}

func TestNullTakesADetailAway(t *testing.T) {
	r := newRig(t)
	c := must[*platform.Configuration](r, platform.Configurations, home(), vaultBody(`,"note":"n","admin":{"user_secret":"a"}`))
	after := patched[*platform.Configuration](r, platform.Configurations, at(home(), c.ID), `{"details":{"note":null,"admin":null}}`)
	if after.Details["note"] != nil || after.Details["admin"] != nil || after.Revision != "2" {
		t.Error(text(after))
	}
	last := r.changes.all[len(r.changes.all)-1]
	slices.Sort(last.Fields)
	if !slices.Equal(last.Fields, []string{"details.admin", "details.note"}) {
		t.Errorf("the record says %v", last.Fields)
	}
	_, err := r.p.Update(t.Context(), root(), platform.Configurations, at(home(), c.ID), []byte(`{"details":{"user_secret":null}}`))
	if got := refused(t, err); got != "invalid: details: has no credential: want user_secret or kubernetes or jwt" && !strings.HasPrefix(got, "invalid: details") {
		t.Error(got)
	}
}
