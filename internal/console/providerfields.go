// SPDX-License-Identifier: Apache-2.0

package console

// section is a part of the form that belongs together. The first of a provider has
// no title and is always shown; the others are opened by who needs them.
type section struct {
	Title  string
	Help   string
	About  string // field of the API that is all of it; empty: there is none
	Fields []field
}

// field is one field of details.
type field struct {
	Name     string // as in the API, with details. in front
	Label    string
	Help     string
	Example  string
	Required bool
	Instead  string // why it may be left out although something is wanted
	Secret   bool
	Long     bool // of several lines
	Kind     kind
	Choices  []option
	Removes  []string // kindRemove: of details
}

// Ticked reports whether a field is a box to tick.
func (f field) Ticked() bool { return f.Kind == kindTick || f.Kind == kindRemove }

// Numeric reports whether a number is wanted.
func (f field) Numeric() bool { return f.Kind == kindNumber }

// kind is what the API wants of a field.
type kind int

// The kinds of fields.
const (
	kindText   kind = iota
	kindList        // one a line
	kindNumber      // written as a number, if it is one
	kindTick        // true, or not there
	kindRemove      // takes away what is stored and not shown; stands only where something may be
)

// option is one of the values that a field can have.
type option struct{ Value, Title string }

func required(name, label, help, example string) field {
	return field{Name: "details." + name, Label: label, Help: help, Example: example, Required: true}
}

func optional(name, label, help, example string) field {
	return field{Name: "details." + name, Label: label, Help: help, Example: example}
}

func secret(name, label, help string) field {
	return field{Name: "details." + name, Label: label, Help: help, Required: true, Secret: true}
}

func tick(name, label, help string) field {
	return field{Name: "details." + name, Label: label, Help: help, Kind: kindTick}
}

func number(name, label, help, example string) field {
	return field{Name: "details." + name, Label: label, Help: help, Example: example, Kind: kindNumber}
}

func remove(label, help string, what ...string) field {
	return field{Name: "remove." + what[0], Label: label, Help: help, Kind: kindRemove, Removes: what}
}

// long has room for several lines.
func (f field) long() field { f.Long = true; return f }

// or says what is given in its place; then the browser does not insist on it.
func (f field) or(what string) field { f.Required, f.Instead = false, what; return f }

// free is a secret that may be left out.
func (f field) free() field { f.Required = false; return f }

// one is a field with the values that it can have.
func (f field) one(of ...option) field { f.Choices = of; return f }

// onlyHardware is of all providers.
func onlyHardware() field {
	return tick("require_hsm", "Only keys in hardware", "A key that the backend does not report as protected by an HSM is never used.")
}

func authority(whose string) field {
	return optional("ca_cert", "CA certificate", "PEM, if the server's certificate is not signed by a public authority. "+whose, "").long()
}

// whichKeys is the section that chooses among the keys of a backend.
func whichKeys(more ...field) section {
	patterns := func(name, label, help string) field {
		f := optional(name, label, help, "").long()
		f.Kind = kindList
		return f
	}
	return section{Title: "Which keys", Help: "Without any of this, all secp256k1 keys that the credential can see.", Fields: append(more,
		patterns("include", "Only these keys", "One pattern a line, with * and ?: of the key's name, its address, or a tag as name=value. A key that fits none is not used."),
		patterns("exclude", "Never these keys", "One pattern a line, as above. It goes before the other list."),
	)}
}

// pace is the section about how much is asked of a backend.
func pace(more ...field) section {
	return section{Title: "Pace and quota", Help: "How much is asked of the backend.", Fields: append([]field{
		number("rate_limit", "Signatures per second, at most", "All wallets on this backend share it. Empty: the part below of what the provider documents.", "50"),
		number("quota_share", "Part of the provider's quota", "From 0.01 to 1; 0.95 if empty. Lower it if other programs use the same account.", "0.5"),
	}, more...)}
}

// admin is the section of the credential that makes and imports keys. The first
// credential only ever signs.
func admin(help string, fields ...field) section {
	fields = append(fields, remove("Remove the stored admin credential", "Keys can then be made and imported in the backend itself only.", "admin"))
	return section{Title: "Admin credential", About: "details.admin", Help: "To make and import keys from here. " + help, Fields: fields}
}

func azureSections() []section {
	const adminHelp = "Another app registration, with the role Key Vault Crypto Officer; it never signs."
	return []section{
		{Fields: []field{
			required("vault_name", "Vault name", "The name alone, without .vault.azure.net: 3 to 24 letters, digits and hyphens.", "contoso-signing").or("or the base URL, below"),
			required("tenant_id", "Tenant ID", "The directory (tenant) ID of the app registration.", "72f988bf-86f1-41af-91ab-2d7cd011db47").or("unless an identity is named below"),
			required("user_id", "Client ID", "The application (client) ID, not the object ID.", "1950a258-227b-4e31-a9cf-717495945fc2").or("unless an identity is named below"),
			secret("user_secret", "Client secret", "The value of the secret, not its ID. Azure shows it once.").or("or a certificate, or an identity, below"),
			optional("subscription_id", "Subscription ID", "Of the subscription that the vault is in. Noted for people; no call needs it.", "3f2504e0-4f89-11d3-9a0c-0305e82c3301"),
			optional("target_address", "Base URL", "Only for a Managed HSM or a sovereign cloud.", "https://contoso.managedhsm.azure.net"),
			authority("It is trusted beside the system's."),
			onlyHardware(),
		}},
		{Title: "Another way to sign in", Help: "In place of the client secret.", Fields: []field{
			secret("client_cert", "Client certificate", "Certificate with its private key, as PEM. It takes the place of a stored secret.").free().long(),
			secret("client_cert_password", "Password of the certificate", "If its key is encrypted.").free(),
			optional("identity", "Granted identity", "The name of an identity that the operator has granted to your membership. Then leave out tenant, client and secret.", "treasury-signer"),
			optional("authority_address", "Token service", "Of a sovereign cloud; empty for the public one.", "https://login.microsoftonline.us"),
		}},
		whichKeys(),
		pace(),
		{Title: "How keys are made and imported", Help: "For what is made from here.", Fields: []field{
			optional("protection", "New keys are", "HSM keys need the premium tier or a Managed HSM.", "").one(option{"", "in the HSM (EC-HSM)"}, option{"software", "in software (EC)"}),
			optional("kek", "Key-exchange key", "Name of the RSA-HSM key in the vault (operation import) under which imported keys are wrapped.", "byok-kek"),
			tick("plain_import", "Import without a key-exchange key", "The key then crosses the wire readable inside TLS. It is refused otherwise."),
		}},
		admin(adminHelp,
			optional("admin.tenant_id", "Admin tenant ID", "The directory (tenant) ID of the admin's app registration.", "72f988bf-86f1-41af-91ab-2d7cd011db47"),
			optional("admin.user_id", "Admin client ID", "The application (client) ID.", "1950a258-227b-4e31-a9cf-717495945fc3"),
			secret("admin.user_secret", "Admin client secret", "The value of the secret, not its ID.").free(),
			secret("admin.client_cert", "Admin client certificate", "In place of the secret: PEM with its private key.").free().long(),
			secret("admin.client_cert_password", "Password of the admin certificate", "If its key is encrypted.").free(),
			optional("admin.identity", "Admin granted identity", "In place of all of these: the name of an identity that the operator has granted.", "treasury-admin"),
		),
	}
}

func awsSections() []section {
	return []section{
		{Fields: []field{
			required("target_region", "Region", "Where the keys are.", "eu-central-1"),
			required("user_id", "Access key ID", "It begins with AKIA.", "AKIAIOSFODNN7EXAMPLE").or("unless an identity is named below"),
			secret("user_secret", "Secret access key", "AWS shows it once, when the access key is made.").or("unless an identity is named below"),
			optional("role_arn", "Role to assume", "If the keys are another account's.", "arn:aws:iam::123456789012:role/signer"),
			optional("external_id", "External ID", "If the role asks for one.", "treasury-2026"),
			optional("target_address", "Endpoint", "Of KMS, only for a VPC endpoint.", "https://vpce-0a1b2c3d.kms.eu-central-1.vpce.amazonaws.com"),
			authority("It is trusted beside the system's."),
			onlyHardware(),
		}},
		{Title: "More about the connection", Help: "Other endpoints, and an identity of the operator's.", Fields: []field{
			optional("identity", "Granted identity", "The name of an identity that the operator has granted to your membership, in place of access key and role.", "treasury-signer"),
			tick("fips", "AWS's FIPS endpoints", "In place of the endpoints here."),
			optional("sts_address", "Endpoint of STS", "Where the role is assumed, only for a VPC endpoint.", "https://vpce-0a1b2c3d.sts.eu-central-1.vpce.amazonaws.com"),
			optional("tagging_address", "Endpoint of the tagging API", "For finding keys by tag, only for a VPC endpoint.", "https://vpce-0a1b2c3d.tagging.eu-central-1.vpce.amazonaws.com"),
		}},
		whichKeys(optional("discovery", "How keys are found", "list asks for all keys of the region; alias:PREFIX and tag:KEY=VALUE for some, with fewer calls.", "alias:treasury-")),
		pace(),
		admin("Another access key, whose policy allows kms:CreateKey, kms:CreateAlias and kms:TagResource, and for imports kms:GetParametersForImport and kms:ImportKeyMaterial.",
			optional("admin.user_id", "Admin access key ID", "It begins with AKIA.", "AKIAI44QH8DHBEXAMPLE"),
			secret("admin.user_secret", "Admin secret access key", "Of that access key.").free(),
			optional("admin.role_arn", "Admin role to assume", "If the keys are another account's.", "arn:aws:iam::123456789012:role/key-admin"),
			optional("admin.external_id", "Admin external ID", "If the role asks for one.", "treasury-2026"),
			optional("admin.sts_address", "Admin endpoint of STS", "Only for a VPC endpoint.", "https://vpce-0a1b2c3d.sts.eu-central-1.vpce.amazonaws.com"),
			optional("admin.identity", "Admin granted identity", "In place of access key and role: the name of an identity that the operator has granted.", "treasury-admin"),
		),
	}
}

func vaultSections() []section {
	return []section{
		{Fields: []field{
			required("target_address", "Address", "Of the Vault server.", "https://vault.example.org:8200"),
			secret("user_secret", "Token, or secret ID", "A token; with a role ID below, the secret ID of the AppRole."),
			optional("role_id", "Role ID", "For AppRole; leave it empty for a token.", "db02de05-fa39-4855-059b-67221c5c2f63"),
			optional("mount", "Mount", "Where the plugin is mounted.", "hsmsigner"),
			optional("namespace", "Namespace", "Of Vault Enterprise.", "treasury"),
			authority("It is trusted in place of the system's."),
			onlyHardware(),
		}},
		{Title: "More about the connection", Help: "Another plugin, mutual TLS, a login mounted elsewhere.", Fields: []field{
			optional("engine", "Plugin", "ethsign is Kaleido's: legacy transactions only, and no key is made or imported through it.", "").one(option{"", "hsmsigner"}, option{"ethsign", "ethsign"}),
			optional("auth_mount", "Mount of the login", "Where AppRole is mounted, if not at approle.", "approle"),
			secret("client_cert", "Client certificate", "PEM, if Vault asks for mutual TLS.").free().long(),
			secret("client_key", "Key of the client certificate", "PEM. It goes with the certificate.").free().long(),
			remove("Remove the stored client certificate", "With its key.", "client_cert", "client_key"),
		}},
		whichKeys(),
		pace(),
		admin("Another token or AppRole, with the policy administrator of our plugin; it never signs.",
			secret("admin.user_secret", "Admin token, or secret ID", "A token; with a role ID below, the secret ID of the AppRole.").free(),
			optional("admin.role_id", "Admin role ID", "For AppRole; leave it empty for a token.", "1a2b3c4d-fa39-4855-059b-67221c5c2f63"),
			optional("admin.auth_mount", "Admin mount of the login", "Where AppRole is mounted, if not at approle.", "approle"),
		),
	}
}

func googleSections() []section {
	return []section{
		{Fields: []field{
			required("key_ring", "Key ring", "Its full resource name, with the ID of the project, not its number.", "projects/acme-signing/locations/europe-west3/keyRings/signing"),
			secret("user_secret", "Service account key", "The JSON file of the key, all of it.").long().or("unless an identity is named below"),
			optional("identity", "Granted identity", "The name of an identity that the operator has granted to your membership, in place of the key.", "treasury-signer"),
			onlyHardware(),
		}},
		whichKeys(),
		pace(),
		admin("Another service account, with roles/cloudkms.admin and roles/cloudkms.publicKeyViewer, and for imports roles/cloudkms.importer, on the key ring.",
			secret("admin.user_secret", "Admin service account key", "The JSON file of the key, all of it.").free().long(),
			optional("admin.identity", "Admin granted identity", "In place of the key: the name of an identity that the operator has granted.", "treasury-admin"),
		),
	}
}

// session are the fields of everything that a PKCS#11 library is behind.
func session() []field {
	return []field{
		number("sessions", "Signatures at once", "Sessions that are open in the token, from 1 to 1024; 16 if empty.", "16"),
		optional("call_timeout", "Longest call", "How long the library may take for one request, after which its process is replaced; 10s if empty.", "10s"),
		optional("keep_alive", "Keep sessions alive", "How often an idle session is used, so that no firewall forgets it; 1m if empty, 0 for never.", "1m"),
	}
}

func wrapping() section {
	return section{Title: "How keys are imported", Help: "For what is imported from here.", Fields: []field{
		optional("wrapping_key", "Wrapping key", "Label of an RSA key pair in the token that may unwrap. Without one, the token is given the key as the library takes it.", "import-wrap"),
	}}
}

func cloudHSMSections() []section {
	return []section{
		{Fields: []field{
			required("module", "Module", "What the operator has named the library.", "cloudhsm"),
			required("user_id", "Crypto user", "Its name.", "signer"),
			secret("user_secret", "Password", "Of the crypto user."),
			optional("token_label", "Token label", "If the library shows several tokens.", "hsm1"),
			optional("token_serial", "Token serial number", "In place of the label, or beside it where several tokens have it.", "0a1b2c3d4e5f6071"),
			onlyHardware(),
		}},
		whichKeys(),
		pace(session()...),
		wrapping(),
		admin("Another crypto user, who makes the keys and shares them with the one above.",
			optional("admin.user_id", "Admin crypto user", "Its name.", "key-admin"),
			secret("admin.user_secret", "Admin password", "Of that crypto user.").free(),
		),
	}
}

func tokenSections() []section {
	return []section{
		{Fields: []field{
			required("module", "Module", "What the operator has named the library.", "luna"),
			required("token_label", "Token label", "The token to open. It can be left out if only one is granted to your membership.", "signing").or("or the serial number, below"),
			secret("user_secret", "PIN", "Of the user of the token. A wrong one is tried once: tokens lock themselves."),
			optional("token_serial", "Token serial number", "In place of the label, or beside it where several tokens have it.", "0a1b2c3d4e5f6071"),
			onlyHardware(),
		}},
		whichKeys(),
		pace(session()...),
		wrapping(),
		admin("It may be the same PIN: a PKCS#11 token has one user.",
			secret("admin.user_secret", "Admin PIN", "With which keys are made and imported.").free(),
		),
	}
}

func fileSections() []section {
	return []section{
		{Fields: []field{
			required("path", "Folder", "In the folder that was granted.", "treasury"),
			secret("user_secret", "Password", "Of all key files in the folder, and of those that are made here.").or("or one file NAME.password beside each key file"),
			remove("Remove the stored password", "Each key file then needs a file NAME.password beside it.", "user_secret"),
			onlyHardware(),
		}},
		whichKeys(),
		pace(),
	}
}
