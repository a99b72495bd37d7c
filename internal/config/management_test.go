// SPDX-License-Identifier: Apache-2.0

package config

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestManagementHasTheDocumentedDefaults(t *testing.T) {
	c, warnings, err := Parse("config.yaml", []byte("management: {}"))
	if err != nil || len(warnings) > 0 {
		t.Fatal(warnings, err)
	}
	want := Management{Enabled: true, Region: "h0", Session: 8 * time.Hour, Limits: RateLimits{Credential: 5000, Membership: 10000}}
	if !reflect.DeepEqual(c.Management, want) || c.Management.OIDC.Set() {
		t.Errorf("got %+v", c.Management)
	}
	if c.AdminBase() != "http://127.0.0.1:8080" || c.RPCBase() != "http://127.0.0.1:8545" {
		t.Errorf("reached at %s and %s", c.AdminBase(), c.RPCBase())
	}
}

func TestWholeManagementIsRead(t *testing.T) {
	secret := filepath.Join(t.TempDir(), "oidc")
	if err := os.WriteFile(secret, []byte("hunter2 hunter2 hunter2\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c, _, err := Parse("config.yaml", fmt.Appendf(nil, `
management:
  admin_url: https://signer.example.org/
  rpc_url: https://rpc.example.org
  region: u0
  session: 1h
  require_hsm: true
  oidc:
    issuer: https://login.example.org/realms/staff
    client_id: hsmsigner
    client_secret: {file: %s}
    scopes: [groups]
    roles:
      - {claim: groups, value: signer-admins, role: admin}
      - {claim: realm_access.roles, value: ops, role: operator, consortium: u0conso001, membership: u0membe001}
  limits: {credential: 100, membership: 0}
`, secret))
	if err != nil {
		t.Fatal(err)
	}
	m := c.Management
	if plain, err := m.OIDC.Secret.Reveal(); err != nil || plain != "hunter2 hunter2 hunter2" || strings.Contains(fmt.Sprintf("%+v %#v", m, m), "hunter2") {
		t.Errorf("secret %q, %v", plain, err)
	}
	m.OIDC.Secret = Secret{}
	want := Management{
		Enabled: true, AdminURL: "https://signer.example.org", RPCURL: "https://rpc.example.org", Region: "u0", Session: time.Hour, RequireHSM: true,
		OIDC: OIDC{
			Issuer: "https://login.example.org/realms/staff", ClientID: "hsmsigner", Scopes: []string{"groups"},
			Roles: []OIDCRole{
				{Claim: "groups", Value: "signer-admins", Role: "admin"},
				{Claim: "realm_access.roles", Value: "ops", Role: "operator", Consortium: "u0conso001", Membership: "u0membe001"},
			},
		},
		Limits: RateLimits{Credential: 100},
	}
	if !reflect.DeepEqual(m, want) {
		t.Errorf("got  %+v\nwant %+v", m, want)
	}
	if c.AdminBase() != "https://signer.example.org" || c.RPCBase() != "https://rpc.example.org" {
		t.Errorf("reached at %s and %s", c.AdminBase(), c.RPCBase())
	}
}

func TestBaseURLFollowsTheListener(t *testing.T) {
	for _, c := range []struct {
		listen string
		tls    TLS
		hosts  []string
		want   string
	}{
		{"127.0.0.1:8545", TLS{}, nil, "http://127.0.0.1:8545"},
		{"127.0.0.1:8545", TLS{}, []string{"signer.example"}, "http://127.0.0.1:8545"},
		{"10.0.0.1:443", TLS{Cert: "x"}, nil, "https://10.0.0.1:443"},
		{"0.0.0.0:8545", TLS{Cert: "x"}, []string{"signer.example"}, "https://signer.example:8545"},
		{"[::]:8545", TLS{Cert: "x"}, []string{"signer.example"}, "https://signer.example:8545"},
		{"127.0.0.1:8545", TLS{Upstream: true}, []string{"signer.example"}, "https://signer.example"},
	} {
		if got := base("", c.listen, c.tls, c.hosts); got != c.want {
			t.Errorf("%+v: got %s", c, got)
		}
	}
}

func TestEveryMistakeInManagementIsReported(t *testing.T) {
	const oidc = "admin_url: https://a.example, oidc: {issuer: https://l.example, client_id: x, roles: [{claim: g, value: v, role: admin}]}"
	if _, _, err := Parse("config.yaml", []byte("management: {"+oidc+"}")); err != nil {
		t.Fatal(err)
	}
	change := func(old, is string) string { return strings.Replace(oidc, old, is, 1) }
	for body, want := range map[string]string{
		"admin_url: signer.example":                                   "management.admin_url: is not the URL of a listener: want scheme and host only, like https://signer.example.org",
		"rpc_url: https://u:hunter2@signer.example":                   "management.rpc_url: is not the URL of a listener",
		"rpc_url: https://signer.example/rpc":                         "management.rpc_url: is not the URL of a listener",
		"rpc_url: wss://signer.example":                               "management.rpc_url: is not the URL of a listener",
		"region: h":                                                   `management.region: "h" is not allowed: want 2 of a-z and 0-9`,
		"region: H0":                                                  `management.region: "H0" is not allowed`,
		"session: 1s":                                                 "management.session: want a duration from 1m to",
		"limits: {credential: -1}":                                    "management.limits.credential: want a whole number from 0",
		"limits: {key: 1}":                                            "management.limits.key: unknown key, want one of: credential, membership",
		change("admin_url: https://a.example, ", ""):                  "management.admin_url: is missing: with oidc",
		change("https://l.example", "http://l.example"):               "management.oidc.issuer: must be https, or http on loopback",
		change("https://l.example", "l.example"):                      "management.oidc.issuer: is not an issuer",
		change("https://l.example", "'https://l.example/?x=hunter2'"): "management.oidc.issuer: is not an issuer",
		change("client_id: x, ", ""):                                  "management.oidc.client_id: is missing",
		change("[{claim: g, value: v, role: admin}]", "[]"):           "management.oidc.roles: is empty: nobody who signs in could do anything",
		change("role: admin", "role: root"):                           `management.oidc.roles[0].role: "root" is not one of admin, operator, auditor`,
		change("role: admin", "role: admin, membership: h0member00"):  "management.oidc.roles[0].consortium: is missing: a membership is one in a consortium",
		change("role: admin", "role: admin, consortium: acme"):        `management.oidc.roles[0].consortium: "acme" is not allowed: want an id, like h0member00`,
		change("claim: g", "claim: a b"):                              `management.oidc.roles[0].claim: "a b" is not allowed`,
		"oidc: {issuer: x, audience: y}":                              "management.oidc.audience: unknown key",
	} {
		_, _, err := Parse("config.yaml", []byte("management: {"+body+"}"))
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s:\ngot  %v\nwant %s", body, err, want)
		}
	}
}

func TestIssuerOnLoopbackMayBePlain(t *testing.T) {
	for _, issuer := range []string{"http://127.0.0.1:9000", "http://localhost:9000/realms/x", "http://[::1]:9000"} {
		_, _, err := Parse("config.yaml", fmt.Appendf(nil, "management: {admin_url: http://127.0.0.1:8080, oidc: {issuer: %q, client_id: x, roles: [{claim: g, value: v, role: admin}]}}", issuer))
		if err != nil {
			t.Errorf("%s: %v", issuer, err)
		}
	}
}
