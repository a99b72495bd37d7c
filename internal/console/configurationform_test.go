// SPDX-License-Identifier: Apache-2.0

package console

import (
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/hsmsigner/hsmsigner/internal/auth"
	"github.com/hsmsigner/hsmsigner/internal/config"
	"github.com/hsmsigner/hsmsigner/internal/platform"
)

// notOffered are the fields that the config file knows and the wizard does not
// have, since no tenant may give them: the API refuses each.
func notOffered() map[config.Provider][]string {
	return map[config.Provider][]string{
		config.ProviderAzure:     {"relaxed_hosts", "token_file", "admin.token_file"},
		config.ProviderAWSKMS:    {"profile", "admin.profile"},
		config.ProviderHashicorp: {"kubernetes", "jwt", "admin.kubernetes", "admin.jwt"},
		config.ProviderGCPKMS:    {"target_address"},
	}
}

// knownFields are the fields of details, or of their admin block, that the config file
// knows for a provider.
func knownFields(t *testing.T, p config.Provider, block string) []string {
	t.Helper()
	probe := "x: 1"
	if block != "" {
		probe = block + ": {x: 1}"
		block += "."
	}
	_, _, err := config.Parse("config.yaml", fmt.Appendf(nil, "wallets: [{details: {provider: %s, %s}}]", p, probe))
	if err == nil {
		t.Fatalf("%s takes everything", p)
	}
	_, list, ok := strings.Cut(err.Error(), "details."+block+"x: unknown key, want one of: ")
	if !ok {
		t.Fatal(err)
	}
	list, _, _ = strings.Cut(list, "\n")
	var all []string
	for name := range strings.SplitSeq(list, ", ") {
		all = append(all, block+name)
	}
	return all
}

func TestWizardOffersEveryFieldThatTheAPIKnows(t *testing.T) {
	for _, name := range config.Providers() {
		p, ok := providerNamed(string(name))
		if !ok {
			t.Errorf("%s is not in the wizard", name)
			continue
		}
		want := knownFields(t, name, "")
		if slices.Contains(want, "admin") {
			want = append(want, knownFields(t, name, "admin")...)
		}
		without := append([]string{"provider", "admin"}, notOffered()[name]...)
		var offered []string
		for _, f := range p.fields() {
			switch {
			case f.Label == "" || f.Help == "":
				t.Errorf("%s: %s has no help", name, f.Name)
			case f.Kind != kindRemove:
				offered = append(offered, strings.TrimPrefix(f.Name, "details."))
			}
		}
		for _, field := range want {
			if !slices.Contains(offered, field) && !slices.Contains(without, field) {
				t.Errorf("%s: the API knows %s, which the wizard does not offer", name, field)
			}
		}
		for _, field := range offered {
			if !slices.Contains(want, field) || slices.Contains(without, field) {
				t.Errorf("%s: the wizard offers %s, which the API does not know", name, field)
			}
		}
		for _, field := range notOffered()[name] {
			details := map[string]any{"provider": name, field: "x"}
			if inner, ok := strings.CutPrefix(field, "admin."); ok {
				details = map[string]any{"provider": name, "admin": map[string]any{inner: "x"}}
			}
			if why := problemsOf(t, details)[field]; !strings.Contains(why, "no tenant") && !strings.Contains(why, "operator") {
				t.Errorf("%s: %s is not offered, and the API says of it %q", name, field, why)
			}
		}
		// Every secret of the API is one in the form, and what is removed is there.
		for _, f := range p.fields() {
			last := f.Name[strings.LastIndex(f.Name, ".")+1:]
			if f.Kind != kindRemove && f.Secret != slices.Contains(config.SecretDetails(), last) {
				t.Errorf("%s: %s is a secret in one of form and API only", name, f.Name)
			}
			for _, removed := range f.Removes {
				if !slices.Contains(want, removed) {
					t.Errorf("%s: %s removes %s, which is none", name, f.Name, removed)
				}
			}
		}
	}
}

// problemsOf are what the API refuses of a tenant's details, by field.
func problemsOf(t *testing.T, details map[string]any) map[string]string {
	t.Helper()
	text, err := json.Marshal(details)
	must(t, err)
	_, err = new(config.Config).ParseTenantDetails(platform.DefaultMembership, text)
	var refused config.Errors
	if err != nil && !errors.As(err, &refused) {
		t.Fatal(err)
	}
	all := map[string]string{}
	for _, p := range refused {
		all[p.Path] += p.Message
	}
	return all
}

// Each field alone, with its example or something else that it takes, is of the
// type and the form that the API wants.
func TestWhatIsTypedIsWhatTheAPITakes(t *testing.T) {
	granted := []string{"granted", "no PKCS#11 library", "is given beside", "belongs to", "is missing", "has no credential"} // of others, not of the value
	for _, p := range providers() {
		for _, f := range p.fields() {
			value := f.Example
			switch {
			case f.Kind == kindRemove || f.Secret && f.Long || f.Name == "details.ca_cert" || f.Name == "details.require_hsm":
				continue // no example can stand there
			case f.Secret:
				value = "secret"
			case f.Kind == kindTick:
				value = "true"
			case f.Kind == kindList:
				value = " ops-* \r\n\r\nteam=a, b"
			case f.Choices != nil:
				value = f.Choices[len(f.Choices)-1].Value
			}
			if value == "" {
				t.Errorf("%s: %s has no example", p.Name, f.Name)
			}
			v := &visit{form: url.Values{f.Name: {value}}}
			name := strings.TrimPrefix(f.Name, "details.")
			why := problemsOf(t, v.details(p, nil))[name]
			if why != "" && !slices.ContainsFunc(granted, func(s string) bool { return strings.Contains(why, s) }) {
				t.Errorf("%s: %s of %q: %s", p.Name, name, value, why)
			}
		}
	}
	v := &visit{form: url.Values{"details.include": {" ops-* \r\n\r\nteam=a, b"}, "details.rate_limit": {"1e"}, "details.quota_share": {"0.5"}}}
	p, _ := providerNamed("gcp_kms")
	if got, err := json.Marshal(v.details(p, nil)); err != nil || string(got) != `{"include":["ops-*","team=a, b"],"provider":"gcp_kms","quota_share":0.5,"rate_limit":"1e"}` {
		t.Errorf("%s, %v", got, err)
	}
}

// changeForm is the form of a configuration as a browser sends it back: what the
// page shows, and nothing of secrets.
func changeForm(c *platform.Configuration, more ...string) url.Values {
	form := url.Values{"name": {c.Name}, "provider": {textIn(c.Details, "provider")}}
	written(form, "details.", c.Details)
	for i := 0; i+1 < len(more); i += 2 {
		form.Set(more[i], more[i+1])
	}
	return form
}

func TestSecretsStayUnlessTypedAndGoWhenAnotherIs(t *testing.T) {
	r := newRig(t)
	server := httptest.NewTLSServer(http.NotFoundHandler())
	server.Close()
	authority := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}))
	const client = "1950a258-227b-4e31-a9cf-717495945fc2"
	b := r.signedIn(r.root)
	a := b.send(home("/configurations/new"), url.Values{
		"provider": {"azure"}, "name": {"vault"}, "membership_id": {platform.DefaultMembership},
		"details.vault_name": {"contoso"}, "details.tenant_id": {"contoso.example"}, "details.user_id": {client}, "details.user_secret": {"hunter2"},
		"details.ca_cert": {authority}, "details.include": {"ops-*\r\nteam=a"}, "details.rate_limit": {"25.5"}, "details.quota_share": {"0.5"},
		"details.protection": {"software"}, "details.plain_import": {"true"},
		"details.admin.tenant_id": {"contoso.example"}, "details.admin.user_id": {client}, "details.admin.user_secret": {"hunter3"},
	})
	at, _, _ := strings.Cut(a.header.Get("Location"), "?")
	if a.code != http.StatusSeeOther {
		t.Fatalf("%d %s", a.code, a.text)
	}
	read := func() *platform.Configuration {
		t.Helper()
		is, err := r.platform.Get(t.Context(), auth.Operating(), platform.Configurations, platform.Path{
			Consortium: platform.DefaultConsortium, Environment: platform.DefaultEnvironment, ID: strings.TrimPrefix(at, home("/configurations/")),
		})
		must(t, err)
		return is.(*platform.Configuration)
	}
	tried := func() *config.Azure {
		t.Helper()
		if a := b.send(at+"/try", changeForm(read())); a.code != http.StatusOK || !strings.Contains(a.text, "1 key found") {
			t.Fatalf("%d %s", a.code, a.text)
		}
		return r.run.tried.Azure
	}
	is := func(s config.Secret, want string) {
		t.Helper()
		if got, err := s.Reveal(); err != nil || got != want {
			t.Errorf("%q, want %q (%v)", got, want, err)
		}
	}
	page := b.get(at).text
	for _, want := range []string{
		">ops-*\nteam=a</textarea>", `name="details.rate_limit" type="text" inputmode="decimal" value="25.5"`, `value="0.5"`, `<option value="software" selected>`,
		`name="details.plain_import" value="true" checked`, `name="details.admin.user_id" type="text" value="` + client, "BEGIN CERTIFICATE", "Remove the stored admin credential",
	} {
		if !strings.Contains(page, want) {
			t.Errorf("the page does not show %s", want)
		}
	}
	if strings.Contains(page, "hunter") {
		t.Error("the page shows a secret")
	}

	if a := b.send(at, changeForm(read(), "details.rate_limit", "30", "details.include", "")); a.code != http.StatusSeeOther {
		t.Fatalf("%d %s", a.code, a.text)
	}
	got := tried()
	is(got.Credential.Secret, "hunter2")
	is(got.Admin.Secret, "hunter3")
	if got.CACert.Set() != true || !got.Software || !got.PlainImport || r.run.tried.RateLimit != 30 || r.run.tried.QuotaShare != 0.5 || len(r.run.tried.Include) != 0 {
		t.Errorf("%+v", r.run.tried)
	}

	// A certificate takes the place of the secret; the admin's stays as it is.
	if a := b.send(at, changeForm(read(), "details.client_cert", "certificate", "details.client_cert_password", "of it")); a.code != http.StatusSeeOther {
		t.Fatalf("%d %s", a.code, a.text)
	}
	got = tried()
	is(got.Credential.Certificate, "certificate")
	is(got.Credential.CertificatePassword, "of it")
	is(got.Admin.Secret, "hunter3")
	if got.Credential.Secret.Set() {
		t.Error("the secret is kept beside the certificate")
	}
	if a := b.send(at, changeForm(read(), "details.user_secret", "hunter4")); a.code != http.StatusSeeOther {
		t.Fatalf("%d %s", a.code, a.text)
	}
	got = tried()
	is(got.Credential.Secret, "hunter4")
	if got.Credential.Certificate.Set() || got.Credential.CertificatePassword.Set() {
		t.Error("the certificate is kept beside the secret")
	}

	// Where a secret is sent is changed with the secret only.
	a = b.send(at, changeForm(read(), "details.vault_name", "another", "details.admin.user_secret", "hunter3"))
	if a.code != http.StatusUnprocessableEntity || !strings.Contains(a.text, "want that again beside it") || strings.Contains(a.text, "hunter") {
		t.Errorf("%d %s", a.code, a.text)
	}
	a = b.send(at, changeForm(read(), "details.admin.user_id", "nobody", "details.rate_limit", "fast"))
	if a.code != http.StatusUnprocessableEntity || !strings.Contains(a.text, "Want a number from 0 to") || strings.Count(a.text, `aria-invalid="true"`) != 2 {
		t.Errorf("%d %s", a.code, a.text)
	}

	if a := b.send(at, changeForm(read(), "remove.admin", "true")); a.code != http.StatusSeeOther {
		t.Fatalf("%d %s", a.code, a.text)
	}
	if got := tried(); got.Admin != nil {
		t.Errorf("%+v", got.Admin)
	}
	if strings.Contains(b.get(at).text, "Remove the stored admin credential") {
		t.Error("what is not stored can be removed")
	}
}

func TestTrialSaysWhichFieldIsWrongByItsLabel(t *testing.T) {
	r := newRig(t)
	b := r.signedIn(r.root)
	a := b.send(home("/configurations/try"), url.Values{
		"provider": {"azure"}, "membership_id": {platform.DefaultMembership}, "details.vault_name": {"!"}, "details.tenant_id": {"t"}, "details.user_id": {"x"}, "details.user_secret": {"s"},
		"details.admin.user_id": {"y"},
	})
	for _, want := range []string{"<strong>Vault name</strong>", "<strong>Client ID</strong>", "<strong>Admin client ID</strong>", "<strong>Admin credential</strong>: Has no credential"} {
		if !strings.Contains(a.text, want) {
			t.Errorf("no %s in %s", want, a.text)
		}
	}
}
