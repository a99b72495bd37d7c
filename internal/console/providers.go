// SPDX-License-Identifier: Apache-2.0

package console

import "github.com/hsmsigner/hsmsigner/internal/config"

// provider is a kind of key backend as the wizard shows it. Its figures are those
// of the providers' pages on the date below; docs/backends has the sources.
type provider struct {
	Name       config.Provider
	Title      string
	Cost       string
	Compliance string
	Limits     string
	Needs      string // before one begins
	Sections   []section
	// Instead are the ways to prove who one is, of which one is wanted, here and in
	// the admin credential: each with the fields that go with it.
	Instead [][]string
	// TakesKeys says that its backends can take a private key in.
	TakesKeys bool
}

// figuresOf says how old the figures are.
const figuresOf = "November 2026"

// fields are all fields of the form, in its order.
func (p provider) fields() []field {
	var all []field
	for _, s := range p.Sections {
		all = append(all, s.Fields...)
	}
	return all
}

// providers are those that a configuration can be made of in the console.
func providers() []provider {
	return []provider{
		{
			Name: config.ProviderAzure, Title: "Azure Key Vault", TakesKeys: true,
			Cost: "Per operation, and per HSM key and month; Managed HSM by the hour.", Compliance: "FIPS 140-3 Level 3 with HSM keys, in premium vaults and Managed HSM.",
			Limits: "About 200 signatures per second and vault with HSM keys, 400 with software keys, 330 in a Managed HSM.",
			Needs:  "An app registration with a client secret or a certificate, and for it the rights Get, List, Sign and Verify on keys.",
			Instead: [][]string{
				{"user_secret"}, {"client_cert", "client_cert_password"}, {"identity"},
			},
			Sections: azureSections(),
		},
		{
			Name: config.ProviderAWSKMS, Title: "AWS KMS", TakesKeys: true,
			Cost: "Per key and month, and per 10,000 requests.", Compliance: "FIPS 140-3 Level 3 hardware.",
			Limits:   "1,000 signatures per second, account and region; 300 in some accounts. AWS raises it on request.",
			Needs:    "An access key whose policy allows kms:ListKeys, kms:DescribeKey, kms:GetPublicKey and kms:Sign.",
			Instead:  [][]string{{"user_secret"}, {"identity"}},
			Sections: awsSections(),
		},
		{
			Name: config.ProviderHashicorp, Title: "HashiCorp Vault", TakesKeys: true,
			Cost: "That of your Vault.", Compliance: "Software, in your hands; it does not count as an HSM.",
			Limits:   "Those of your server; there is no quota of its own.",
			Needs:    "Our plugin in the Vault, and a token or AppRole that may list and sign.",
			Sections: vaultSections(),
		},
		{
			Name: config.ProviderGCPKMS, Title: "Google Cloud KMS", TakesKeys: true,
			Cost: "Per key version and month, and per 10,000 operations.", Compliance: "FIPS 140-2 Level 3: secp256k1 exists as HSM keys only.",
			Limits:   "Per project and region: signatures about 50 a second, reads 10 a second. Google raises it on request.",
			Needs:    "A service account with roles/cloudkms.signer, roles/cloudkms.viewer and roles/cloudkms.publicKeyViewer on the key ring.",
			Instead:  [][]string{{"user_secret"}, {"identity"}},
			Sections: googleSections(),
		},
		{
			Name: config.ProviderCloudHSM, Title: "AWS CloudHSM", TakesKeys: true,
			Cost: "By the hour for each HSM of the cluster.", Compliance: "FIPS 140-3 Level 3, single tenant.",
			Limits:   "About 500 (hsm1) to 3,000 (hsm2m) signatures per second and HSM.",
			Needs:    "The operator's grant of the client library to your membership, and a crypto user.",
			Sections: cloudHSMSections(),
		},
		{
			Name: config.ProviderPKCS11, Title: "PKCS#11 HSM", TakesKeys: true,
			Cost: "That of your HSM.", Compliance: "That of your HSM; the operator declares it.",
			Limits:   "Those of your HSM.",
			Needs:    "The operator's grant of the library and the token to your membership.",
			Sections: tokenSections(),
		},
		{
			Name: config.ProviderKeystore, Title: "Key files",
			Cost: "None.", Compliance: "Software. For development, and for what is worth little.",
			Limits:   "Those of this machine.",
			Needs:    "The operator's grant of a folder to your membership.",
			Sections: fileSections(),
		},
	}
}

func providerNamed(name string) (provider, bool) {
	for _, p := range providers() {
		if string(p.Name) == name {
			return p, true
		}
	}
	return provider{}, false
}

// titleOfProvider is how people call a provider.
func titleOfProvider(name string) string {
	if p, ok := providerNamed(name); ok {
		return p.Title
	}
	return name
}
