// SPDX-License-Identifier: Apache-2.0

package config

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

const (
	granted = "u0a1b2c3d4" // has the grants of tenantConfig
	other   = "u0a1b2c3d5" // has a token and a folder of its own
	nobody  = "u0a1b2c3d6" // has no grant
)

// tenantConfig is an operator's file, in a folder with keys.
func tenantConfig(t *testing.T) (c *Config, dir string) {
	t.Helper()
	dir = folder(t)
	for _, d := range []string{"granted/keys", "granted/linked", "other", "operator"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	write(t, filepath.Join(dir, "operator"), "key", "{}", 0o600)
	for from, to := range map[string]string{
		"granted/out":         filepath.Join(dir, "operator"),
		"granted/in":          "keys",
		"granted/linked/key":  "../../operator/key",
		"granted/keys/fine":   "../linked",
		"granted/keys/broken": "../../nowhere",
	} {
		if err := os.Symlink(to, filepath.Join(dir, from)); err != nil {
			t.Fatal(err)
		}
	}
	c, _, err := Load(write(t, dir, "config.yaml", `
management: {}
pkcs11_modules: {softhsm: {path: lib.so, protection: hsm}, soft: {path: /x/soft.so, protection: software}, unsaid: /x/unsaid.so, cloudhsm: /x/cloud.so, ungranted: /x/y.so}
egress:
  allow: [10.7.0.0/16]
  deny: [10.7.9.0/24]
  azure: {authority_address: "https://login.example.org", relaxed_hosts: [vault.example.org]}
grants:
  - membership: `+granted+`
    keystore: granted
    pkcs11: [{module: softhsm, token_label: mine}, {module: soft, token_label: mine}, {module: soft, user_id: cu-mine}, {module: unsaid, token_label: mine}, {module: cloudhsm, user_id: cu-mine}]
    identities:
      vaults: {azure: {vaults: [treasury], identity: managed, user_id: `+application+`}}
      keys: {aws_kms: {target_region: eu-central-1, identity: ambient, role_arn: "arn:aws:iam::111122223333:role/signer", discovery: "alias:mine-"}}
      rings: {gcp_kms: {key_rings: [projects/treasury/locations/europe-west3/keyRings/signer], identity: default}}
  - membership: `+other+`
    keystore: other
    pkcs11: [{module: softhsm, token_label: theirs, token_serial: "77"}, {module: cloudhsm, user_id: cu-theirs}]
    identities:
      theirs: {azure: {vaults: [other], identity: workload}}
`, 0o600))
	if err != nil {
		t.Fatal(err)
	}
	return c, dir
}

// pairs is a JSON object of keys and values in turn.
func pairs(in ...any) map[string]any {
	m := make(map[string]any)
	for i := 0; i+1 < len(in); i += 2 {
		m[in[i].(string)] = in[i+1]
	}
	return m
}

func with(base map[string]any, in ...any) map[string]any {
	m := make(map[string]any)
	for k, v := range base {
		m[k] = v
	}
	for k, v := range pairs(in...) {
		if m[k] = v; v == nil {
			delete(m, k)
		}
	}
	return m
}

func encoded(t *testing.T, v any) []byte {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

var (
	anAzure = pairs("provider", "azure", "vault_name", "treasury", "tenant_id", directory, "user_id", application, "user_secret", "hunter2")
	byName  = pairs("provider", "azure", "vault_name", "treasury", "identity", "vaults")
	anAWS   = pairs("provider", "aws_kms", "target_region", "eu-central-1", "user_id", "AKIAIOSFODNN7EXAMPLE", "user_secret", "hunter2")
	asRole  = pairs("provider", "aws_kms", "target_region", "eu-central-1", "identity", "keys")
	aVault  = pairs("provider", "hashicorp", "target_address", "https://vault.example.org:8200", "user_secret", "hunter2")
	aRing   = pairs("provider", "gcp_kms", "key_ring", "projects/treasury/locations/europe-west3/keyRings/signer", "user_secret", `{"type":"service_account","token_uri":"https://oauth2.googleapis.com/token"}`)
	aToken  = pairs("provider", "pkcs11", "module", "softhsm", "token_label", "mine", "user_secret", "hunter2")
	aCloud  = pairs("provider", "aws_cloudhsm", "module", "cloudhsm", "user_id", "cu-mine", "user_secret", "hunter2")
	aFolder = pairs("provider", "keystore", "path", "keys", "user_secret", "hunter2")
)

// DESIGN, "What a tenant may not bring": each rule with its own error.
func TestTenantMayNotBring(t *testing.T) {
	c, dir := tenantConfig(t)
	const metadata = "leads to a service that gives out the machine's own credentials, which no tenant may reach"
	const itself = "is an address of the machine that the signer runs on, and the operator's egress.allow does not have it"
	const number = "has a host that some take for an IP address: write an address as 203.0.113.7 or [2001:db8::1]"
	noIdentity := func(name string) string {
		return fmt.Sprintf("no identity called %q is granted to this membership for this provider: want credentials of your own; what the signer itself may do is never a tenant's", name)
	}
	const beside = "is given beside identity, which the operator has granted with all that belongs to it: want one of them"
	const withIdentity = "is given together with an identity that the operator has granted, whose tokens would go there: leave it out, or bring credentials of your own"
	const notToken = "is not the token that is granted to this membership with that library"
	at := func(address string) map[string]any { return with(anAzure, "target_address", address) }
	for name, x := range map[string]struct {
		membership string
		details    map[string]any
		want       []string // all the lines
	}{
		// The daemon's own identity.
		"managed identity":            {granted, with(byName, "identity", "managed"), []string{"identity: " + noIdentity("managed")}},
		"workload identity":           {nobody, with(byName, "identity", "workload"), []string{"identity: " + noIdentity("workload")}},
		"ambient identity":            {granted, with(asRole, "identity", "ambient"), []string{"identity: " + noIdentity("ambient")}},
		"default identity":            {granted, with(aRing, "identity", "default", "user_secret", nil), []string{"identity: " + noIdentity("default")}},
		"another's identity":          {granted, with(byName, "identity", "theirs"), []string{"identity: " + noIdentity("theirs")}},
		"granted, without membership": {"", byName, []string{"identity: " + noIdentity("vaults")}},
		"of another provider":         {granted, with(byName, "identity", "keys"), []string{"identity: " + noIdentity("keys")}},
		"in the admin block":          {nobody, with(anAzure, "admin", pairs("identity", "managed")), []string{"admin.identity: " + noIdentity("managed")}},
		"profile":                     {granted, with(anAWS, "profile", "root"), []string{"profile: " + whyProfile}},
		"pod's login":                 {granted, with(aVault, "user_secret", nil, "kubernetes", pairs("role", "r")), []string{"kubernetes: " + whyPodToken}},

		// A granted identity goes where the operator said.
		"identity to an address":        {granted, with(byName, "target_address", "https://vault.example.org"), []string{"target_address: " + withIdentity}},
		"identity by an authority":      {granted, with(byName, "authority_address", "https://login.microsoftonline.us"), []string{"authority_address: " + withIdentity}},
		"identity to another vault":     {granted, with(byName, "vault_name", "other"), []string{"vault_name: is not a vault that the identity is granted for: want treasury"}},
		"identity with a secret":        {granted, with(byName, "user_secret", "hunter2"), []string{"user_secret: " + beside}},
		"identity by STS":               {granted, with(asRole, "sts_address", "https://sts.example.org"), []string{"sts_address: " + withIdentity}},
		"identity to a KMS":             {granted, with(asRole, "target_address", "https://kms.example.org", "tagging_address", "https://t.example.org"), []string{"tagging_address: " + withIdentity, "target_address: " + withIdentity}},
		"identity in another role":      {granted, with(asRole, "role_arn", "arn:aws:iam::111122223333:role/root"), []string{"role_arn: " + beside}},
		"identity in another region":    {granted, with(asRole, "target_region", "us-east-1"), []string{"target_region: is not the region that the identity is granted for: want eu-central-1"}},
		"identity with other keys":      {granted, with(asRole, "discovery", "alias:theirs-"), []string{"discovery: is not how the identity is granted to find keys: leave it out"}},
		"identity to another ring":      {granted, with(aRing, "user_secret", nil, "identity", "rings", "key_ring", "projects/treasury/locations/europe-west3/keyRings/other"), []string{"key_ring: is not a key ring that the identity is granted for: want projects/treasury/locations/europe-west3/keyRings/signer"}},
		"admin identity to an address":  {granted, with(anAzure, "target_address", "https://vault.example.org", "admin", pairs("identity", "vaults")), []string{"target_address: " + withIdentity}},
		"admin identity, other's vault": {granted, with(anAzure, "vault_name", "other", "admin", pairs("identity", "vaults")), []string{"vault_name: is not a vault that the identity is granted for: want treasury"}},

		// Files.
		"secret file":        {granted, with(anAzure, "user_secret", pairs("file", filepath.Join(dir, "pw"))), []string{"user_secret: want text: a file may be named in the operator's config file only"}},
		"secret file, admin": {granted, with(anAWS, "admin", pairs("user_id", "AKIAIOSFODNN7EXAMPLE", "user_secret", pairs("file", "/etc/passwd"))), []string{"admin.user_secret: want text: a file may be named in the operator's config file only"}},
		"certificate file":   {granted, with(aVault, "ca_cert", pairs("file", filepath.Join(dir, "cert.pem"))), []string{"ca_cert: want text: a file may be named in the operator's config file only"}},
		"token file":         {granted, with(anAzure, "token_file", "/etc/passwd"), []string{"token_file: " + whyFile}},
		"JWT file":           {granted, with(aVault, "user_secret", nil, "jwt", pairs("role", "r", "token_file", "/etc/passwd")), []string{"jwt: " + whyFile}},

		// PKCS#11.
		"library by path":           {granted, with(aToken, "module", filepath.Join(dir, "lib.so")), []string{"module: " + whyModulePath}},
		"library of the operator":   {granted, with(aToken, "module", "ungranted"), []string{`module: no PKCS#11 library called "ungranted" is granted to this membership: ask the operator for a grant`}},
		"library that is not":       {granted, with(aToken, "module", "nothing"), []string{`module: no PKCS#11 library called "nothing" is granted to this membership: ask the operator for a grant`}},
		"library without a grant":   {nobody, aToken, []string{`module: no PKCS#11 library called "softhsm" is granted to this membership: ask the operator for a grant`}},
		"another's token":           {granted, with(aToken, "token_label", "theirs"), []string{"token_label: " + notToken}},
		"another's token by both":   {other, with(aToken, "token_label", "theirs", "token_serial", "78"), []string{"token_label: " + notToken}},
		"another's by serial":       {other, with(aToken, "token_label", nil, "token_serial", "78"), []string{"token_serial: " + notToken}},
		"another's crypto user":     {granted, with(aCloud, "user_id", "cu-theirs"), []string{"user_id: is not the crypto user that is granted to this membership with that library"}},
		"another's user as admin":   {granted, with(aCloud, "admin", pairs("user_id", "cu-theirs", "user_secret", "hunter2")), []string{"admin.user_id: is not the crypto user that is granted to this membership with that library"}},
		"software called CloudHSM":  {granted, with(aCloud, "module", "soft", "require_hsm", true), []string{"require_hsm: is true, but pkcs11_modules says that the module's protection is software"}},
		"a library called CloudHSM": {granted, with(aCloud, "module", "unsaid", "require_hsm", true), []string{"require_hsm: is true, but pkcs11_modules says that the module's protection is unknown"}},
		"CloudHSM's other door":     {granted, with(aToken, "module", "cloudhsm", "token_label", "hsm1"), []string{"token_label: " + notToken}},
		"CloudHSM without a label":  {granted, with(aToken, "module", "cloudhsm", "token_label", nil), []string{"module: " + notToken}},

		// Key files.
		"folder without a grant": {nobody, aFolder, []string{"path: " + whyNoFolder}},
		"folder outside":         {granted, with(aFolder, "path", filepath.Join(dir, "operator")), []string{"path: " + whyOutside}},
		"another's folder":       {granted, with(aFolder, "path", filepath.Join(dir, "other")), []string{"path: " + whyOutside}},
		"folder by dots":         {granted, with(aFolder, "path", "keys/../../operator"), []string{"path: " + whyOutside}},
		"folder by a link":       {granted, with(aFolder, "path", "out"), []string{"path: " + whyOutside}},
		"link within":            {granted, with(aFolder, "path", "linked"), []string{"path: " + fmt.Sprintf(whyLink, "key")}},
		"folder that is not":     {granted, with(aFolder, "path", "none"), []string{"path: there is no such folder: none"}},
		"sibling by its name":    {granted, with(aFolder, "path", filepath.Join(dir, "granted-not")), []string{"path: " + whyOutside}},

		// Addresses.
		"vault name":             {granted, with(anAzure, "vault_name", "a.evil/x#"), []string{`vault_name: "a.evil/x#" is not allowed: want 3 to 24 letters, digits and -`}},
		"vault name with a host": {granted, with(anAzure, "vault_name", "evil.example"), []string{`vault_name: "evil.example" is not allowed: want 3 to 24 letters, digits and -`}},
		"directory":              {granted, with(anAzure, "tenant_id", "../x"), []string{`tenant_id: "../x" is not allowed: want the directory's GUID or domain`}},
		"region":                 {granted, with(anAWS, "target_region", "x.evil.example/"), []string{`target_region: "x.evil.example/" is not allowed: want a region like eu-central-1`}},
		"mount":                  {granted, with(aVault, "mount", "../sys"), []string{`mount: "../sys" is not allowed: want ` + vaultPathWant}},
		"key ring":               {granted, with(aRing, "key_ring", "projects/1/locations/x/keyRings/../y"), []string{`key_ring: "projects/1/locations/x/keyRings/../y" is not allowed: want projects/PROJECT/locations/LOCATION/keyRings/RING, with the id of the project, not its number`}},
		"relaxed host":           {granted, with(anAzure, "relaxed_hosts", []string{"evil.example"}), []string{"relaxed_hosts: " + whyRelaxed}},
		"authority":              {granted, with(anAzure, "authority_address", "https://login.evil.example"), []string{"authority_address: " + whyAuthority}},
		"Google's address":       {granted, with(aRing, "target_address", "https://evil.example"), []string{"target_address: " + whyGoogleOnly}},
		"metadata":               {granted, at("https://169.254.169.254"), []string{"target_address: " + metadata}},
		"metadata by IPv6":       {granted, at("https://[fd00:ec2::254]/"), []string{"target_address: " + metadata}},
		"metadata mapped":        {granted, at("https://[::ffff:169.254.169.254]"), []string{"target_address: " + metadata}},
		"metadata by name":       {granted, at("https://Metadata.Google.internal."), []string{"target_address: " + metadata}},
		"Alibaba's metadata":     {granted, with(aVault, "target_address", "https://100.100.100.200"), []string{"target_address: " + metadata}},
		"loopback":               {granted, with(aVault, "target_address", "http://127.0.0.1:8200"), []string{"target_address: " + itself}},
		"loopback by IPv6":       {granted, with(anAWS, "target_address", "https://[::1]"), []string{"target_address: " + itself}},
		"loopback by name":       {granted, at("https://localhost"), []string{"target_address: " + itself}},
		"loopback below a name":  {granted, at("https://x.LOCALHOST."), []string{"target_address: " + itself}},
		"nowhere":                {granted, at("https://0.0.0.0"), []string{"target_address: " + itself}},
		"decimal":                {granted, at("https://2130706433"), []string{"target_address: " + number}},
		"octal":                  {granted, at("https://0177.0.0.1"), []string{"target_address: " + number}},
		"hexadecimal":            {granted, at("https://0x7f.1"), []string{"target_address: " + number}},
		"short":                  {granted, at("https://127.1"), []string{"target_address: " + number}},
		"private":                {granted, at("https://10.8.0.1"), []string{"target_address: is not a public address, and the operator's egress.allow does not have it"}},
		"denied":                 {granted, at("https://10.7.9.1"), []string{"target_address: is an address that the operator's egress.deny has"}},
		"STS at metadata":        {granted, with(anAWS, "role_arn", "arn:aws:iam::111122223333:role/signer", "sts_address", "https://169.254.170.2"), []string{"sts_address: " + metadata}},
		"tagging at loopback":    {granted, with(anAWS, "tagging_address", "https://127.0.0.1"), []string{"tagging_address: " + itself}},
		"other scheme":           {granted, at("gopher://vault.example.org"), []string{`target_address: has the scheme "gopher": want https://host, or http:// with a loopback address`}},
		"user in the address":    {granted, at("https://a:hunter2@vault.example.org"), []string{"target_address: carries a user or password, which belong in fields of their own: want https://host, or http:// with a loopback address"}},
		"query in the address":   {granted, at("https://vault.example.org/?x=1"), []string{"target_address: has a query or a fragment: want https://host, or http:// with a loopback address"}},

		// Google's credential files of other kinds name addresses and programs.
		"external account":   {granted, with(aRing, "user_secret", `{"type":"external_account","credential_source":{"url":"http://169.254.169.254"}}`), []string{`user_secret: has the type "external_account": want the key file of a service account`}},
		"other token_uri":    {granted, with(aRing, "user_secret", `{"type":"service_account","token_uri":"https://evil.example/token"}`), []string{"user_secret: has a token_uri that is not Google's (https://oauth2.googleapis.com/token): want the key file as Google gave it"}},
		"slip in a limit":    {granted, with(anAzure, "exclud", []string{"*"}), []string{`exclud: unknown key, did you mean "exclude"?`}},
		"unknown, in admin":  {granted, with(anAzure, "admin", with(anAzure, "provider", nil, "vault_name", nil, "x", 1)), []string{"admin.x: unknown key, want one of: client_cert, client_cert_password, identity, tenant_id, token_file, user_id, user_secret"}},
		"wrong kind of text": {granted, with(anAzure, "user_secret", 12345), []string{"user_secret: want text, not a number: put it in quotes"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := c.ParseTenantDetails(x.membership, encoded(t, x.details))
			if err == nil {
				t.Fatal("accepted")
			}
			want := "details: " + strings.Join(x.want, "\ndetails: ")
			if err.Error() != want {
				t.Errorf("got  %v\nwant %s", err, want)
			}
			if strings.Contains(err.Error(), "hunter2") {
				t.Error("shows the secret")
			}
		})
	}
}

func TestTenantBringsItsOwn(t *testing.T) {
	c, dir := tenantConfig(t)
	for name, x := range map[string]struct {
		membership string
		details    map[string]any
		check      func(Details) bool
	}{
		"as Kaleido's page has it": {nobody, with(anAzure, "subscription_id", directory, "zone_id", "kept elsewhere"), func(d Details) bool {
			return d.Azure.TargetAddress == "https://treasury.vault.azure.net" && d.Azure.Authority == "https://login.example.org" && reflect.DeepEqual(d.Azure.RelaxedHosts, []string{"vault.example.org"})
		}},
		"AWS as Kaleido's page has it": {nobody, anAWS, func(d Details) bool { return d.AWSKMS.Credential.AccessKeyID != "" }},
		"another cloud of Azure's":     {nobody, with(anAzure, "authority_address", "https://login.microsoftonline.us/"), func(d Details) bool { return d.Azure.Authority == "https://login.microsoftonline.us" }},
		"the operator's authority":     {nobody, with(anAzure, "authority_address", "https://login.example.org"), func(d Details) bool { return d.Azure.Authority == "https://login.example.org" }},
		"an allowed network":           {nobody, with(aVault, "target_address", "https://10.7.1.1:8200"), func(d Details) bool { return d.Hashicorp.TargetAddress == "https://10.7.1.1:8200" }},
		"AppRole":                      {nobody, with(aVault, "role_id", "r"), func(d Details) bool { return d.Hashicorp.Credential.RoleID == "r" }},
		"a service account":            {nobody, aRing, func(d Details) bool { return d.GCPKMS.Credential.ServiceAccount.Set() }},
		"an admin block":               {nobody, with(anAWS, "admin", pairs("user_id", "AKIAIOSFODNN7ADMIN00", "user_secret", "x")), func(d Details) bool { return d.AWSKMS.Admin.AccessKeyID == "AKIAIOSFODNN7ADMIN00" }},
		"filters":                      {nobody, with(anAWS, "include", []string{"ops-*"}, "rate_limit", 2.5, "require_hsm", true), func(d Details) bool { return d.RateLimit == 2.5 && d.RequireHSM && d.Include[0] == "ops-*" }},

		"a granted vault": {granted, byName, func(d Details) bool {
			return d.Azure.Credential.Identity == AzureManaged && d.Azure.Credential.Client == application && d.Azure.VaultName == "treasury"
		}},
		"an identity that administers": {granted, with(anAzure, "admin", pairs("identity", "vaults")), func(d Details) bool {
			return d.Azure.Credential.Secret.Set() && d.Azure.Admin.Identity == AzureManaged
		}},
		"a granted role": {granted, asRole, func(d Details) bool {
			return d.AWSKMS.Credential.Ambient && d.AWSKMS.Credential.RoleARN != "" && d.AWSKMS.Discovery.AliasPrefix == "mine-"
		}},
		"a granted ring": {granted, with(aRing, "user_secret", nil, "identity", "rings"), func(d Details) bool { return d.GCPKMS.Credential.Identity == GCPDefault }},
		"a granted token": {granted, aToken, func(d Details) bool {
			return d.PKCS11.Path == filepath.Join(dir, "lib.so") && d.PKCS11.TokenLabel == "mine" && d.PKCS11.Protection == ProtectionHSM
		}},
		"a token that is not named": {granted, with(aToken, "token_label", nil), func(d Details) bool { return d.PKCS11.TokenLabel == "mine" }},
		"a token named in full":     {other, with(aToken, "token_label", nil, "token_serial", "77"), func(d Details) bool { return d.PKCS11.TokenLabel == "theirs" && d.PKCS11.TokenSerial == "77" }},
		"a serial beside the label": {granted, with(aToken, "token_serial", "1"), func(d Details) bool { return d.PKCS11.TokenLabel == "mine" && d.PKCS11.TokenSerial == "1" }},
		"a granted crypto user":     {granted, aCloud, func(d Details) bool { return d.PKCS11.Credential.User == "cu-mine" && d.PKCS11.Path == "/x/cloud.so" }},
		"a folder":                  {granted, aFolder, func(d Details) bool { return filepath.Base(d.Keystore.Path) == "keys" }},
		"the folder itself":         {other, with(aFolder, "path", "."), func(d Details) bool { return filepath.Base(d.Keystore.Path) == "other" }},
		"a link that stays within":  {granted, with(aFolder, "path", "in"), func(d Details) bool { return filepath.Base(d.Keystore.Path) == "keys" }},
		"an absolute path":          {granted, with(aFolder, "path", filepath.Join(dir, "granted", "keys")), func(d Details) bool { return filepath.Base(d.Keystore.Path) == "keys" }},
	} {
		t.Run(name, func(t *testing.T) {
			d, err := c.ParseTenantDetails(x.membership, encoded(t, x.details))
			if err != nil || !x.check(d) {
				t.Errorf("got %+v, %v", d, err)
			}
		})
	}
}

func TestTenantsTextIsOneObjectOfJSON(t *testing.T) {
	c, _ := tenantConfig(t)
	for _, text := range []string{
		"", "null", "[]", `"x"`, "{", `{"provider": "azure"`, "{} {}", "{}x", "provider: azure\n", `{"a": &x 1}`, "\xff", `{"a":` + strings.Repeat("[", 5000),
		`{"a":[` + strings.Repeat("1,", 5000) + "1]}", `{"provider":"azure","provider":"keystore"}`, `{1: 2}`,
	} {
		if _, err := c.ParseTenantDetails(granted, []byte(text)); err == nil {
			t.Errorf("%.40q is accepted", text)
		}
	}
	d, err := c.ParseTenantDetails(nobody, encoded(t, with(anAWS, "user_secret", "\x7f \u2028 \" : {{ &a *b 😀\n")))
	if err != nil {
		t.Fatal(err)
	}
	reveal(t, d.AWSKMS.Credential.SecretKey, "\x7f \u2028 \" : {{ &a *b 😀\n")
}

func FuzzParseTenantDetails(f *testing.F) {
	f.Add(`{"provider": "azure", "user_secret": {"file": "/etc/passwd"}}`)
	f.Add(`{"provider": "pkcs11", "module": "../x"}`)
	f.Add(`{"provider": "keystore", "path": "/"}`)
	f.Fuzz(func(t *testing.T, text string) {
		d, err := (&Config{}).ParseTenantDetails(granted, []byte(text))
		if err == nil && (d.PKCS11 != nil || d.Keystore != nil || d.AWSKMS != nil && d.AWSKMS.Credential.Ambient || d.Azure != nil && d.Azure.Credential.Identity != "" || d.GCPKMS != nil && d.GCPKMS.Credential.Identity != "") {
			t.Fatalf("a tenant has reached this machine: %+v", d)
		}
	})
}

func TestProviderOfATenantMakesNoSoftwareHardware(t *testing.T) {
	c, _ := tenantConfig(t)
	for module, want := range map[string]Protection{"soft": ProtectionSoftware, "unsaid": ProtectionUnknown, "cloudhsm": ProtectionHSM, "softhsm": ProtectionHSM} {
		d, err := c.ParseTenantDetails(granted, encoded(t, with(aCloud, "module", module)))
		if err != nil || d.PKCS11.Protection != want {
			t.Errorf("%s: got %+v, %v: want %s", module, d.PKCS11, err, want)
		}
	}
}
