// SPDX-License-Identifier: Apache-2.0

package platform_test

import (
	"strings"
	"sync/atomic"
	"testing"

	"github.com/hsmsigner/hsmsigner/internal/auth"
	"github.com/hsmsigner/hsmsigner/internal/platform"
)

func TestAppCredentialIsShownOnceAndCanBeRegenerated(t *testing.T) {
	var told atomic.Int32
	r := newRig(t, func(c *platform.Config) { c.Changed = func() { told.Add(1) } })
	c := must[*platform.AppCred](r, platform.AppCreds, home(), `{`+member+`}`)
	if c.Username != c.ID || len(c.Password) < 43 || c.AuthType != "basic_auth" || told.Load() != 1 {
		t.Errorf("made %+v, told %d times", c.Meta, told.Load())
	}
	if again := got[*platform.AppCred](r, platform.AppCreds, at(home(), c.ID)); again.Password != "" {
		t.Error("the password comes back")
	}
	valid := func(password string) bool {
		return r.verifier.Check(r.row(c.ID).Verifier[:32], auth.ForAppCred, c.ID, password)
	}
	if !valid(c.Password) {
		t.Error("the password is not valid")
	}
	next, err := r.p.Regenerate(t.Context(), root(), at(home(), c.ID))
	if err != nil || next.Password == "" || next.Password == c.Password || !valid(next.Password) || valid(c.Password) || told.Load() != 2 {
		t.Error("regenerated:", err, told.Load())
	}
	if gone, err := r.p.Delete(t.Context(), root(), platform.AppCreds, at(home(), c.ID)); !gone || err != nil || told.Load() != 3 {
		t.Error(gone, err, told.Load())
	}
}

func TestAppCredentialIsMadeOfWhatKaleidosClientsSend(t *testing.T) {
	r := newRig(t)
	c := must[*platform.AppCred](r, platform.AppCreds, home(), `{"_id":"","name":"","auth_type":"","username":"","password":"",`+member+`}`)
	if c.Name != c.ID || c.Password == "" {
		t.Error(text(c.Meta))
	}
}

func TestIdentityOfACertificateIsOneCredentials(t *testing.T) {
	r := newRig(t)
	c := must[*platform.AppCred](r, platform.AppCreds, home(), `{`+member+`,"auth_type":"mtls","username":"CN=pay"}`)
	if c.Password != "" || c.Username != "CN=pay" {
		t.Errorf("made %s", text(c))
	}
	_, err := r.p.Create(t.Context(), root(), platform.AppCreds, home(), []byte(`{`+member+`,"auth_type":"mtls","username":"CN=pay"}`))
	if got := refused(t, err); got != "conflict: the identity is that of another app credential of this membership in this environment" {
		t.Error(got)
	}
	_, err = r.p.Regenerate(t.Context(), root(), at(home(), c.ID))
	if got := refused(t, err); got != "conflict: the credential is a certificate, which has no password: make another app credential" {
		t.Error(got)
	}
	_, err = r.p.Update(t.Context(), root(), platform.AppCreds, at(home(), c.ID), []byte(`{"username":"CN=other"}`))
	if got := refused(t, err); got != "invalid: username: cannot be changed" {
		t.Error(got)
	}
}

func TestKeyGrantsNoMoreThanItsMakerMay(t *testing.T) {
	r := newRig(t)
	x := r.tenant("", "")
	y := r.tenant(x.consortium, x.environment)
	grants := func(role, consortium, membership string) string {
		return `{"name":"k","grants":[{"role":"` + role + `","consortium_id":"` + consortium + `","membership_id":"` + membership + `"}]}`
	}
	made[*platform.APIKey](r, x.admin(), platform.APIKeys, platform.Path{}, grants("admin", x.consortium, x.membership))
	for body, want := range map[string]string{
		grants("auditor", "", ""):                         "forbidden: grants[0]: grants more than you may: only an admin of a scope gives roles in it",
		grants("auditor", x.consortium, ""):               "forbidden: grants[0]: grants more than you may: only an admin of a scope gives roles in it",
		grants("auditor", x.consortium, y.membership):     "invalid: grants[0].membership_id: there is no membership " + y.membership,
		grants("auditor", platform.DefaultConsortium, ""): "invalid: grants[0].consortium_id: there is no consortium " + platform.DefaultConsortium,
	} {
		_, err := r.p.Create(t.Context(), x.admin(), platform.APIKeys, platform.Path{}, []byte(body))
		if got := refused(t, err); got != want {
			t.Errorf("%s\n got %s\nwant %s", body, got, want)
		}
	}
	operator := auth.Access{Grants: []auth.Grant{{Consortium: x.consortium, Membership: x.membership, Role: auth.Operates}}}
	_, err := r.p.Create(t.Context(), operator, platform.APIKeys, platform.Path{}, []byte(grants("auditor", x.consortium, x.membership)))
	if got := refused(t, err); !strings.HasPrefix(got, "forbidden: ") {
		t.Error(got)
	}
}

func TestLastAdminKeyOfTheDeploymentStaysUnlessTheOperatorWants(t *testing.T) {
	r := newRig(t)
	first := must[*platform.APIKey](r, platform.APIKeys, platform.Path{}, `{"name":"first","grants":[{"role":"admin"}]}`)
	id, secret, ok := strings.Cut(first.Key, "-")
	if !ok || id != first.ID || !r.verifier.Check(r.row(id).Verifier[:32], auth.ForAPIKey, id, secret) {
		t.Errorf("the key is %d characters and not valid", len(first.Key))
	}
	must[*platform.APIKey](r, platform.APIKeys, platform.Path{}, `{"name":"weak","grants":[{"role":"operator"}]}`)
	_, err := r.p.Delete(t.Context(), root(), platform.APIKeys, platform.Path{ID: first.ID})
	if got := refused(t, err); !strings.HasPrefix(got, "conflict: the key is the last with the role admin for the whole deployment") {
		t.Error(got)
	}
	second := must[*platform.APIKey](r, platform.APIKeys, platform.Path{}, `{"name":"second","grants":[{"role":"admin"}]}`)
	if gone, err := r.p.Delete(t.Context(), root(), platform.APIKeys, platform.Path{ID: first.ID}); err != nil || !gone {
		t.Error(gone, err)
	}
	if gone, err := r.p.Delete(t.Context(), auth.Operating(), platform.APIKeys, platform.Path{ID: second.ID}); err != nil || !gone {
		t.Error("the operator may not:", gone, err)
	}
}
