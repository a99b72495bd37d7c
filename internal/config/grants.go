// SPDX-License-Identifier: Apache-2.0

package config

import (
	"os"
	"regexp"
)

// Grant is what the operator lets one membership use that is the operator's own.
// What is in no grant no tenant can use.
type Grant struct {
	Membership string                     // membership: id; one grant each
	PKCS11     []GrantedToken             // pkcs11: libraries, each with the token in it that is this membership's alone
	Keystore   string                     // keystore: folder under which the membership's key files are, and no other's
	Identities map[string]GrantedIdentity // identities: by the name that details say in identity
}

// GrantedToken is a token of an HSM that one membership may use. It still needs
// the PIN.
type GrantedToken struct {
	Module      string // module: name in pkcs11_modules
	TokenLabel  string // token_label
	TokenSerial string // token_serial: in place of the label, or beside it
	User        string // user_id: the crypto user, for aws_cloudhsm, where all see one token
}

// GrantedIdentity is an identity of the operator's that one membership may use,
// and for what. Exactly one is set.
type GrantedIdentity struct {
	Azure  *GrantedAzure
	AWSKMS *GrantedAWS
	GCPKMS *GrantedGCP
}

// GrantedAzure is an identity for some key vaults.
type GrantedAzure struct {
	Vaults     []string // vaults: names, of which details say one in vault_name
	Credential AzureCredential
}

// GrantedAWS is an identity for the keys of one region.
type GrantedAWS struct {
	Region     string        // target_region: that details must name
	Discovery  *AWSDiscovery // discovery: how keys are found, if details may not say it themselves
	Credential AWSCredential
}

// GrantedGCP is an identity for some key rings.
type GrantedGCP struct {
	KeyRings   []string // key_rings: of which details say one in key_ring
	Credential GCPCredential
}

var (
	membershipID = regexp.MustCompile(`^[0-9a-z]{2}[a-z][0-9a-z]{7}$`)
	identityName = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,62}$`)
)

func readGrants(v value) ([]Grant, error) {
	all, err := list(readGrant)(v)
	if err == nil && len(all) == len(v.node.Content) { // else a mistake was reported already
		v.r.checkGrants(v, all)
	}
	return all, err
}

func readGrant(v value) (Grant, error) {
	var g Grant
	o := v.object()
	need(o, "membership", &g.Membership, matching(membershipID, "the id of a membership, like u0a1b2c3d4"))
	field(o, "pkcs11", &g.PKCS11, list(readGrantedToken))
	field(o, "keystore", &g.Keystore, readFolder)
	field(o, "identities", &g.Identities, readIdentities)
	o.done()
	if o != nil && len(o.present("pkcs11", "keystore", "identities")) == 0 {
		o.fail("grants nothing: want pkcs11, keystore or identities")
	}
	return g, nil
}

func readFolder(v value) (string, error) {
	path, err := filePath(v)
	if err != nil {
		return "", err
	}
	if info, err := os.Stat(path); err != nil || !info.IsDir() {
		v.warn("no such folder: %s", path)
	}
	return path, nil
}

func readGrantedToken(v value) (GrantedToken, error) {
	var g GrantedToken
	o := v.object()
	need(o, "module", &g.Module, text)
	field(o, "token_label", &g.TokenLabel, matching(tokenLabel, labelWant))
	field(o, "token_serial", &g.TokenSerial, matching(tokenSerial, "1 to 16 printable characters"))
	field(o, "user_id", &g.User, matching(cryptoUser, "the name of a crypto user"))
	o.done()
	if o == nil {
		return g, nil
	}
	if _, known := v.r.modules[g.Module]; g.Module != "" && !known {
		o.at("module").fail("no library is called %q in pkcs11_modules", g.Module)
	}
	if len(o.present("token_label", "token_serial", "user_id")) == 0 {
		o.fail("names no token: want token_label or token_serial (or for aws_cloudhsm user_id), since a library alone would open every token behind it")
	}
	return g, nil
}

func readIdentities(v value) (map[string]GrantedIdentity, error) {
	o := v.object()
	if o == nil {
		return nil, nil
	}
	all := make(map[string]GrantedIdentity, len(o.values))
	for name, item := range o.values {
		var g GrantedIdentity
		field(o, name, &g, readIdentity)
		if !identityName.MatchString(name) {
			item.fail("is not a name: want 1 to 63 of a-z, 0-9 and -, not - first")
			continue
		}
		all[name] = g
	}
	return all, nil
}

func readIdentity(v value) (GrantedIdentity, error) {
	var g GrantedIdentity
	o := v.object()
	field(o, "azure", &g.Azure, readGrantedAzure)
	field(o, "aws_kms", &g.AWSKMS, readGrantedAWS)
	field(o, "gcp_kms", &g.GCPKMS, readGrantedGCP)
	o.exactlyOne("azure", "aws_kms", "gcp_kms")
	o.done()
	return g, nil
}

func readGrantedAzure(v value) (*GrantedAzure, error) {
	g := &GrantedAzure{}
	o := v.object()
	need(o, "vaults", &g.Vaults, filled(list(matching(vaultName, "3 to 24 letters, digits and -"))))
	g.Credential = readAzureCredential(o)
	o.done()
	return g, nil
}

func readGrantedAWS(v value) (*GrantedAWS, error) {
	g := &GrantedAWS{}
	o := v.object()
	need(o, "target_region", &g.Region, matching(awsRegion, "a region like eu-central-1"))
	field(o, "discovery", &g.Discovery, func(v value) (*AWSDiscovery, error) {
		d, err := readAWSDiscovery(v)
		return &d, err
	})
	g.Credential = readAWSCredential(o)
	o.done()
	return g, nil
}

func readGrantedGCP(v value) (*GrantedGCP, error) {
	g := &GrantedGCP{}
	o := v.object()
	need(o, "key_rings", &g.KeyRings, filled(list(matching(gcpKeyRing, "projects/PROJECT/locations/LOCATION/keyRings/RING"))))
	g.Credential = readGCPCredential(o)
	o.done()
	return g, nil
}

// filled refuses an empty list.
func filled(p parser[[]string]) parser[[]string] {
	return func(v value) ([]string, error) {
		all, err := p(v)
		if err == nil && v.node.Kind == yamlList && len(v.node.Content) == 0 {
			v.fail("is empty: want at least one")
		}
		return all, err
	}
}
