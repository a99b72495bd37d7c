// SPDX-License-Identifier: Apache-2.0

package config

import "regexp"

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
	field(o, "target_address", &a.TargetAddress, targetURL)
	if a.TargetAddress == "" && a.VaultName != "" {
		a.TargetAddress = "https://" + a.VaultName + ".vault.azure.net"
	}
	field(o, "authority_address", &a.Authority, targetURL)
	operatorOnly(o, "relaxed_hosts", &a.RelaxedHosts, list(matching(hostName, "a host, like vault.example.org or 127.0.0.1:8443")))
	field(o, "ca_cert", &a.CACert, certificates)
	field(o, "kek", &a.KEK, matching(keyName, "1 to 127 letters, digits and -"))
	field(o, "plain_import", &a.PlainImport, boolean)
	if a.KEK != "" && a.PlainImport {
		o.at("plain_import").fail("is given beside kek: want one of them")
	}
	protection := ProtectionHSM
	field(o, "protection", &protection, oneOf(ProtectionHSM, ProtectionSoftware))
	a.Software = protection == ProtectionSoftware
	a.Credential = readAzureCredential(o)
	a.Admin = readAdminCredential(o, readAzureCredential)
	return a
}

func readAzureCredential(o *object) AzureCredential {
	var c AzureCredential
	o.exactlyOne("user_secret", "client_cert", "identity")
	operatorOnly(o, "identity", &c.Identity, oneOf(AzureManaged, AzureWorkload))
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
	operatorOnly(o, "token_file", &c.TokenFile, filePath)
	if _, ok := o.given("token_file"); ok && c.Identity != AzureWorkload {
		o.at("token_file").fail("belongs to identity: workload")
	}
	return c
}

// readAdminCredential reads the admin block: a credential of the same kind, which only
// the command line uses, to make, import, switch and delete keys.
func readAdminCredential[T any](o *object, read func(*object) T) *T {
	v, ok := o.given("admin")
	if !ok {
		return nil
	}
	if o.r.scope == tenant {
		v.fail("is for the operator's config file only")
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
