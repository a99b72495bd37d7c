// SPDX-License-Identifier: Apache-2.0

package config

import (
	"fmt"
	"regexp"
	"slices"
)

// Seal is what the credentials that tenants give are encrypted with.
type Seal struct {
	Keys []SealKey // keys: the first seals, all open; default the file seal.key, made in Data. With Database they must be given
}

// SealKey is where one key-encryption key is, or several of one file. One of
// File, Env, AWSKMS, Azure, GCPKMS and Hashicorp is set.
type SealKey struct {
	File string // file: lines of 32 bytes in base64, or a Tink keyset in clear-text JSON
	Env  string // env: environment variable that holds the same
	Key  string // key: of the provider below

	AWSKMS    *AWSKMS    // provider: aws_kms
	Azure     *Azure     // provider: azure
	Symmetric bool       // algorithm: A256KW, of an AES key in an Azure Managed HSM
	GCPKMS    *GCPKMS    // provider: gcp_kms; without KeyRing, which Key names
	Hashicorp *Hashicorp // provider: hashicorp, the transit engine; Mount is its
}

var (
	awsSealKey = regexp.MustCompile(`^(arn:aws[a-z-]*:kms:[a-z0-9-]+:[0-9]{12}:key/)?(mrk-[0-9a-f]{32}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12})$`)
	gcpSealKey = regexp.MustCompile(`^projects/([a-z0-9.-]+:)?[a-z][a-z0-9-]{4,28}[a-z0-9]/locations/[a-z0-9-]{1,63}/keyRings/[a-zA-Z0-9_-]{1,63}/cryptoKeys/[a-zA-Z0-9_-]{1,63}$`)
)

func readSeal(v value) (Seal, error) {
	var c Seal
	o := v.object()
	need(o, "keys", &c.Keys, list(readSealKey))
	o.done()
	if keys, ok := o.given("keys"); ok && keys.node.Kind == yamlList && len(keys.node.Content) == 0 {
		keys.fail("is empty: want at least one key, or no seal")
	}
	return c, nil
}

func readSealKey(v value) (SealKey, error) {
	var k SealKey
	o := v.object()
	if o == nil {
		return k, nil
	}
	switch given := o.present("file", "env", "provider"); len(given) {
	case 0:
		o.fail("has no source: want file, env or provider")
	case 1:
	default:
		o.at(given[1]).fail("is given beside %s: want one of them", given[0])
	}
	field(o, "file", &k.File, filePath)
	field(o, "env", &k.Env, matching(envVariable, "the name of an environment variable"))
	if _, ok := o.given("provider"); ok {
		k.readProvider(o)
	}
	o.done()
	return k, nil
}

func (k *SealKey) readProvider(o *object) {
	known := []Provider{ProviderAWSKMS, ProviderAzure, ProviderGCPKMS, ProviderHashicorp}
	var p Provider
	need(o, "provider", &p, oneOf(known...))
	if !slices.Contains(known, p) {
		o.asked = append(o.asked, o.names()...) // what it may have depends on the provider
		return
	}
	switch p {
	case ProviderAWSKMS:
		need(o, "key", &k.Key, matching(awsSealKey, "the id or ARN of a symmetric key, not an alias, which may come to mean another key"))
		a := &AWSKMS{}
		need(o, "target_region", &a.Region, matching(awsRegion, "a region like eu-central-1"))
		field(o, "target_address", &a.TargetAddress, targetURL)
		field(o, "ca_cert", &a.CACert, certificates)
		a.Credential = readAWSCredential(o)
		k.AWSKMS = a
	case ProviderAzure:
		need(o, "key", &k.Key, matching(keyName, "1 to 127 letters, digits and -"))
		k.Azure = k.readAzure(o)
	case ProviderGCPKMS:
		need(o, "key", &k.Key, matching(gcpSealKey, "projects/PROJECT/locations/LOCATION/keyRings/RING/cryptoKeys/KEY"))
		g := &GCPKMS{}
		field(o, "target_address", &g.TargetAddress, targetURL)
		g.Credential = readGCPCredential(o)
		k.GCPKMS = g
	case ProviderHashicorp:
		need(o, "key", &k.Key, matching(vaultRole, "the name of a key of the transit engine"))
		h := &Hashicorp{Mount: "transit"}
		need(o, "target_address", &h.TargetAddress, targetURL)
		field(o, "mount", &h.Mount, matching(vaultPath, vaultPathWant))
		field(o, "namespace", &h.Namespace, matching(vaultPath, vaultPathWant))
		field(o, "ca_cert", &h.CACert, certificates)
		field(o, "client_cert", &h.ClientCert, certificates)
		field(o, "client_key", &h.ClientKey, secret)
		o.only("client_cert", "client_key")
		o.only("client_key", "client_cert")
		checkPair(o, h.ClientCert, h.ClientKey)
		h.Credential = readVaultCredential(o)
		k.Hashicorp = h
	}
}

func (k *SealKey) readAzure(o *object) *Azure {
	a := &Azure{}
	_, addressed := o.given("target_address")
	if _, named := o.given("vault_name"); named || !addressed {
		need(o, "vault_name", &a.VaultName, matching(vaultName, "3 to 24 letters, digits and -"))
	}
	field(o, "target_address", &a.TargetAddress, targetURL)
	if a.TargetAddress == "" && a.VaultName != "" {
		a.TargetAddress = "https://" + a.VaultName + ".vault.azure.net"
	}
	field(o, "authority_address", &a.Authority, targetURL)
	field(o, "relaxed_hosts", &a.RelaxedHosts, list(matching(hostName, "a host, like vault.example.org or 127.0.0.1:8443")))
	field(o, "ca_cert", &a.CACert, certificates)
	algorithm := "RSA-OAEP-256"
	field(o, "algorithm", &algorithm, oneOf("RSA-OAEP-256", "A256KW"))
	k.Symmetric = algorithm == "A256KW"
	a.Credential = readAzureCredential(o)
	return a
}

// names are all keys that the file has.
func (o *object) names() []string {
	var all []string
	for name := range o.values {
		all = append(all, name)
	}
	return all
}

// String says where the key is, for people.
func (k SealKey) String() string {
	switch {
	case k.File != "":
		return "file " + k.File
	case k.Env != "":
		return "environment variable " + k.Env
	case k.AWSKMS != nil:
		return fmt.Sprintf("%s %s", ProviderAWSKMS, k.Key)
	case k.Azure != nil:
		return fmt.Sprintf("%s %s", ProviderAzure, k.Key)
	case k.GCPKMS != nil:
		return fmt.Sprintf("%s %s", ProviderGCPKMS, k.Key)
	}
	return fmt.Sprintf("%s %s", ProviderHashicorp, k.Key)
}
