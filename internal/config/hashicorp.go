// SPDX-License-Identifier: Apache-2.0

package config

import (
	"regexp"
	"strings"
)

// Hashicorp is a secrets engine of HashiCorp Vault.
type Hashicorp struct {
	TargetAddress string // target_address
	Mount         string // mount: path of the secrets engine; default hsmsigner
	Namespace     string // namespace: Vault Enterprise and HCP
	Engine        VaultEngine
	CACert        Secret // ca_cert: PEM; trusted in place of the system's
	ClientCert    Secret // client_cert: PEM, mutual TLS
	ClientKey     Secret // client_key: PEM
	Credential    VaultCredential
	Admin         *VaultCredential // admin
}

// VaultEngine is the plugin behind the mount.
type VaultEngine string

// The engines that can sign for Ethereum.
const (
	EngineHSMSigner VaultEngine = "hsmsigner" // cmd/vault-plugin-hsmsigner
	EngineEthsign   VaultEngine = "ethsign"   // kaleido-io/vault-plugin-secrets-ethsign: legacy transactions only
)

// VaultCredential is a way to a token. One of Token, RoleID, Kubernetes and
// JWT is set.
type VaultCredential struct {
	Token      Secret // user_secret, without role_id
	RoleID     string // role_id: AppRole
	SecretID   Secret // user_secret, with role_id
	AuthMount  string // auth_mount: of the auth method; default its name
	Kubernetes *VaultLogin
	JWT        *VaultLogin
}

// VaultLogin is a login with a token that something else keeps in a file.
type VaultLogin struct {
	Role      string // role
	TokenFile string // token_file; for kubernetes, default the pod's own
}

var (
	vaultPath = regexp.MustCompile(`^[A-Za-z0-9_-][A-Za-z0-9_.-]*(/[A-Za-z0-9_-][A-Za-z0-9_.-]*){0,9}$`)
	vaultRole = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$`)
	vaultID   = regexp.MustCompile(`^[\x21-\x7e]{1,256}$`)
)

const vaultPathWant = "a path like team/hsmsigner, without / at its ends"

func readHashicorp(o *object) *Hashicorp {
	h := &Hashicorp{Mount: "hsmsigner", Engine: EngineHSMSigner}
	need(o, "target_address", &h.TargetAddress, targetURL)
	field(o, "engine", &h.Engine, oneOf(EngineHSMSigner, EngineEthsign))
	if h.Engine == EngineEthsign {
		h.Mount = "ethereum" // as that plugin's own page mounts it
	}
	field(o, "mount", &h.Mount, matching(vaultPath, vaultPathWant))
	field(o, "namespace", &h.Namespace, matching(vaultPath, vaultPathWant))
	field(o, "ca_cert", &h.CACert, certificates)
	field(o, "client_cert", &h.ClientCert, certificates)
	field(o, "client_key", &h.ClientKey, secret)
	o.only("client_cert", "client_key")
	o.only("client_key", "client_cert")
	checkPair(o, h.ClientCert, h.ClientKey)
	if strings.HasPrefix(h.TargetAddress, "http:") {
		for _, key := range o.present("ca_cert", "client_cert", "client_key") {
			o.at(key).fail("is for TLS, and target_address is http")
		}
	}
	h.Credential = readVaultCredential(o)
	h.Admin = readAdminCredential(o, readVaultCredential)
	return h
}

func readVaultCredential(o *object) VaultCredential {
	var c VaultCredential
	o.exactlyOne("user_secret", "kubernetes", "jwt")
	field(o, "role_id", &c.RoleID, matching(vaultID, "the role_id that Vault has given"))
	o.only("user_secret", "role_id")
	into := &c.Token
	if _, ok := o.given("role_id"); ok {
		into = &c.SecretID
	}
	field(o, "user_secret", into, secret)
	if !o.notForTenants("kubernetes", whyPodToken) {
		field(o, "kubernetes", &c.Kubernetes, readVaultLogin(false))
	}
	if !o.notForTenants("jwt", whyFile) {
		field(o, "jwt", &c.JWT, readVaultLogin(true))
	}
	field(o, "auth_mount", &c.AuthMount, matching(vaultPath, vaultPathWant))
	if mount, ok := o.given("auth_mount"); ok && c.Token.Set() {
		mount.fail("belongs to role_id, kubernetes or jwt: a token does not log in")
	}
	return c
}

func readVaultLogin(needFile bool) parser[*VaultLogin] {
	return func(v value) (*VaultLogin, error) {
		l := &VaultLogin{}
		o := v.object()
		need(o, "role", &l.Role, matching(vaultRole, "the name of a role"))
		if needFile {
			need(o, "token_file", &l.TokenFile, filePath)
		} else {
			field(o, "token_file", &l.TokenFile, filePath)
		}
		o.done()
		return l, nil
	}
}
