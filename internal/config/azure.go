// SPDX-License-Identifier: Apache-2.0

package config

import (
	"errors"
	"net/url"
	"regexp"
	"slices"
	"strings"
)

// Azure is an Azure Key Vault or a Managed HSM.
type Azure struct {
	VaultName      string   // vault_name; with it, TargetAddress has a default
	SubscriptionID string   // subscription_id: noted for people; no call needs it
	TargetAddress  string   // target_address: base URL; default https://VAULT_NAME.vault.azure.net
	Authority      string   // authority_address: token service; default the public cloud's
	RelaxedHosts   []string // relaxed_hosts: host or host:port whose token challenge may name another resource
	CACert         Secret   // ca_cert: PEM; trusted beside the system's
	KEK            string   // kek: name of the key-exchange key under which imported keys are wrapped
	PlainImport    bool     // plain_import: without kek, imported keys cross the wire inside TLS only
	Software       bool     // protection: software: keys are made as EC, not as EC-HSM
	Credential     AzureCredential
	Admin          *AzureCredential // admin
}

// AzureCredential is a principal of Microsoft Entra ID.
type AzureCredential struct {
	Tenant              string // tenant_id
	Client              string // user_id: client id of the application or of the user-assigned identity
	Secret              Secret // user_secret: client secret
	Certificate         Secret // client_cert: PEM with certificate, chain and key, or PKCS#12, in place of Secret
	CertificatePassword Secret // client_cert_password
	Identity            AzureIdentity
	TokenFile           string // token_file: of the workload identity; default from the environment
}

// AzureIdentity is an identity that the daemon has by where it runs.
type AzureIdentity string

// The identities of the daemon on Azure.
const (
	AzureManaged  AzureIdentity = "managed"
	AzureWorkload AzureIdentity = "workload"
)

var (
	vaultName = regexp.MustCompile(`^[a-zA-Z0-9-]{3,24}$`)
	guid      = regexp.MustCompile(`^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$`)
	tenantID  = regexp.MustCompile(`^[0-9a-zA-Z][0-9a-zA-Z.-]{0,252}$`)
	keyName   = regexp.MustCompile(`^[0-9a-zA-Z-]{1,127}$`)
)

const guidWant = "a GUID like 00000000-0000-0000-0000-000000000000"

func readAzure(o *object) *Azure {
	a := &Azure{}
	_, addressed := o.given("target_address")
	if _, named := o.given("vault_name"); named || !addressed {
		need(o, "vault_name", &a.VaultName, matching(vaultName, "3 to 24 letters, digits and -"))
	}
	field(o, "subscription_id", &a.SubscriptionID, matching(guid, guidWant))
	field(o, "target_address", &a.TargetAddress, vaultURL)
	if a.TargetAddress == "" && a.VaultName != "" {
		a.TargetAddress = "https://" + a.VaultName + ".vault.azure.net"
	}
	a.readPlaces(o)
	field(o, "ca_cert", &a.CACert, certificates)
	field(o, "kek", &a.KEK, matching(keyName, "1 to 127 letters, digits and -"))
	field(o, "plain_import", &a.PlainImport, boolean)
	if a.KEK != "" && a.PlainImport {
		o.at("plain_import").fail("is given beside kek: want one of them")
	}
	protection := ProtectionHSM
	field(o, "protection", &protection, oneOf(ProtectionHSM, ProtectionSoftware))
	a.Software = protection == ProtectionSoftware
	var granted []*GrantedAzure
	read := func(o *object) AzureCredential { return readAzureIdentity(o, &granted) }
	a.Credential = read(o)
	a.Admin = readAdminCredential(o, read)
	o.checkGrantedAzure(a, granted)
	return a
}

// vaultURL is the address of a vault: https always, on this machine too, since the
// library sends no token otherwise.
func vaultURL(v value) (string, error) {
	s, err := targetURL(v)
	if err != nil {
		return "", err
	}
	if u, err := url.Parse(s); err != nil || u.Scheme != "https" || u.Path != "" {
		return "", errors.New("is not the address of a vault: want https://host or https://host:port and nothing after it")
	}
	return s, nil
}

// readPlaces reads where tokens come from and which other hosts may have them.
// For tenants that is what the operator says of all of them.
func (a *Azure) readPlaces(o *object) {
	if o == nil || o.r.scope != tenant {
		field(o, "authority_address", &a.Authority, targetURL)
		field(o, "relaxed_hosts", &a.RelaxedHosts, list(matching(hostName, "a host, like vault.example.org or 127.0.0.1:8443")))
		return
	}
	operators := o.r.egress.Azure
	a.Authority, a.RelaxedHosts = operators.Authority, operators.RelaxedHosts
	o.notForTenants("relaxed_hosts", whyRelaxed)
	named := ""
	field(o, "authority_address", &named, text)
	if named == "" {
		return
	}
	if a.Authority = strings.TrimRight(named, "/"); a.Authority != operators.Authority && !slices.Contains(azureAuthorities(), a.Authority) {
		o.at("authority_address").fail("%s", whyAuthority)
	}
}

// azureAuthorities are the token services that Azure itself runs
// (learn.microsoft.com/entra/identity-platform/authentication-national-cloud).
func azureAuthorities() []string {
	return []string{"https://login.microsoftonline.com", "https://login.microsoftonline.us", "https://login.partner.microsoftonline.cn", "https://login.chinacloudapi.cn"}
}

// readAzureIdentity is readAzureCredential for who may name an identity that was
// granted. Those that are go to granted.
func readAzureIdentity(o *object, granted *[]*GrantedAzure) AzureCredential {
	if o == nil || o.r.scope != tenant {
		return readAzureCredential(o)
	}
	if o.notForTenants("token_file", whyFile) {
		return AzureCredential{}
	}
	if _, named := o.given("identity"); !named {
		return readAzureCredential(o)
	}
	o.standsFor("tenant_id", "user_id", "user_secret", "client_cert", "client_cert_password")
	g := grantedIdentity(o, func(g GrantedIdentity) *GrantedAzure { return g.Azure })
	if g == nil {
		return AzureCredential{}
	}
	*granted = append(*granted, g)
	return g.Credential
}

func readAzureCredential(o *object) AzureCredential {
	var c AzureCredential
	o.exactlyOne("user_secret", "client_cert", "identity")
	field(o, "identity", &c.Identity, oneOf(AzureManaged, AzureWorkload))
	if c.Identity == "" {
		need(o, "tenant_id", &c.Tenant, matching(tenantID, "the directory's GUID or domain"))
		need(o, "user_id", &c.Client, matching(guid, guidWant))
	} else {
		field(o, "tenant_id", &c.Tenant, matching(tenantID, "the directory's GUID or domain"))
		field(o, "user_id", &c.Client, matching(guid, guidWant))
	}
	field(o, "user_secret", &c.Secret, secret)
	field(o, "client_cert", &c.Certificate, secret)
	field(o, "client_cert_password", &c.CertificatePassword, secret)
	o.only("client_cert", "client_cert_password")
	field(o, "token_file", &c.TokenFile, filePath)
	if _, ok := o.given("token_file"); ok && c.Identity != AzureWorkload {
		o.at("token_file").fail("belongs to identity: workload")
	}
	return c
}

// readAdminCredential reads the admin block: a credential of the same kind, with
// which keys are made, imported and switched, and by the command line deleted.
// The rules for it are those for the other one.
func readAdminCredential[T any](o *object, read func(*object) T) *T {
	v, ok := o.given("admin")
	if !ok {
		return nil
	}
	inner := v.object()
	if inner == nil {
		return nil
	}
	c := read(inner)
	inner.done()
	return &c
}
