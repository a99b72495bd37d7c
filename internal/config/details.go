// SPDX-License-Identifier: Apache-2.0

package config

import (
	"fmt"
	"path"
	"strings"
)

// Provider is the kind of a key backend.
type Provider string

// The providers.
const (
	ProviderKeystore  Provider = "keystore"
	ProviderAzure     Provider = "azure"
	ProviderAWSKMS    Provider = "aws_kms"
	ProviderCloudHSM  Provider = "aws_cloudhsm"
	ProviderHashicorp Provider = "hashicorp"
	ProviderGCPKMS    Provider = "gcp_kms"
	ProviderPKCS11    Provider = "pkcs11"
)

// Providers lists all of them.
func Providers() []Provider {
	return []Provider{
		ProviderKeystore, ProviderAzure, ProviderAWSKMS, ProviderCloudHSM,
		ProviderHashicorp, ProviderGCPKMS, ProviderPKCS11,
	}
}

// Details is the key backend of a wallet: what all providers have, and one
// struct of fields for the provider that it names.
type Details struct {
	Provider   Provider
	Include    []string // include: only keys whose name, address or tag (key=value) fits one of these globs; default all
	Exclude    []string // exclude: but none that fits one of these
	RequireHSM bool     // require_hsm: refuse keys that are not in hardware
	RateLimit  float64  // rate_limit: signatures per second; 0 (the default) for QuotaShare of what the provider documents
	QuotaShare float64  // quota_share: part of the provider's documented quotas that this daemon may use; default 0.95

	// Exactly one is set.
	Keystore  *Keystore
	Azure     *Azure
	AWSKMS    *AWSKMS
	Hashicorp *Hashicorp
	GCPKMS    *GCPKMS
	PKCS11    *PKCS11 // also for aws_cloudhsm
}

// DefaultQuotaShare is key.DefaultShare: what a limiter may let through of a
// quota that is counted by the second, so that the service need not throttle.
const DefaultQuotaShare = 0.95

// ForAdmin is d with the credential of its admin block in the place of the one
// that signs. It is false if there is no such block: then keys are not made,
// imported, switched or deleted by this wallet. A keystore needs none, since
// whoever can write its folder can do all that.
func (d Details) ForAdmin() (Details, bool) {
	switch {
	case d.Keystore != nil:
		return d, true
	case d.Azure != nil && d.Azure.Admin != nil:
		a := *d.Azure
		a.Credential, a.Admin = *a.Admin, nil
		d.Azure = &a
		return d, true
	case d.AWSKMS != nil && d.AWSKMS.Admin != nil:
		a := *d.AWSKMS
		a.Credential, a.Admin = *a.Admin, nil
		d.AWSKMS = &a
		return d, true
	case d.Hashicorp != nil && d.Hashicorp.Admin != nil:
		a := *d.Hashicorp
		a.Credential, a.Admin = *a.Admin, nil
		d.Hashicorp = &a
		return d, true
	case d.GCPKMS != nil && d.GCPKMS.Admin != nil:
		a := *d.GCPKMS
		a.Credential, a.Admin = *a.Admin, nil
		d.GCPKMS = &a
		return d, true
	case d.PKCS11 != nil && d.PKCS11.Admin != nil:
		a := *d.PKCS11
		a.Credential, a.Admin = *a.Admin, nil
		d.PKCS11 = &a
		return d, true
	}
	return d, false
}

// Backend is everything about a backend but what proves who we are: where it
// differs, another backend is meant. It holds no secret and is for comparison only.
func (d Details) Backend() string {
	var parts any
	switch {
	case d.Azure != nil:
		c := *d.Azure
		c.Credential, c.Admin = AzureCredential{}, nil
		parts = c
	case d.AWSKMS != nil:
		c := *d.AWSKMS
		c.Credential, c.Admin = AWSCredential{}, nil
		parts = c
	case d.GCPKMS != nil:
		c := *d.GCPKMS
		c.Credential, c.Admin = GCPCredential{}, nil
		parts = c
	case d.Hashicorp != nil:
		c := *d.Hashicorp
		c.Credential, c.Admin = VaultCredential{}, nil
		parts = c
	case d.PKCS11 != nil:
		c := *d.PKCS11
		c.Credential, c.Admin = PKCS11Credential{}, nil
		parts = c
	case d.Keystore != nil:
		parts = *d.Keystore
	}
	return fmt.Sprintf("%s %q %q %t %g %g %+v", d.Provider, d.Include, d.Exclude, d.RequireHSM, d.RateLimit, d.QuotaShare, parts)
}

func readDetails(v value) (Details, error) {
	d := Details{QuotaShare: DefaultQuotaShare}
	o := v.object()
	need(o, "provider", &d.Provider, oneOf(Providers()...))
	if d.Provider == "" {
		return d, nil // what it may have depends on the provider
	}
	field(o, "include", &d.Include, list(glob))
	field(o, "exclude", &d.Exclude, list(glob))
	field(o, "require_hsm", &d.RequireHSM, boolean)
	field(o, "rate_limit", &d.RateLimit, number(0, 1e6))
	field(o, "quota_share", &d.QuotaShare, number(0.01, 1))
	software := ""
	switch d.Provider {
	case ProviderKeystore:
		d.Keystore = readKeystore(o)
		software = "a keystore keeps its keys in software"
	case ProviderAzure:
		d.Azure = readAzure(o)
	case ProviderAWSKMS:
		d.AWSKMS = readAWSKMS(o)
	case ProviderHashicorp:
		d.Hashicorp = readHashicorp(o)
		software = "Vault keeps its keys in software"
	case ProviderGCPKMS:
		d.GCPKMS = readGCPKMS(o)
	case ProviderPKCS11, ProviderCloudHSM:
		d.PKCS11 = readPKCS11(o, d.Provider)
		if p := d.PKCS11.Protection; p != ProtectionHSM {
			software = fmt.Sprintf("pkcs11_modules says that the module's protection is %s", p)
		}
	}
	o.done()
	if d.RequireHSM && software != "" {
		o.at("require_hsm").fail("is true, but %s", software)
	}
	return d, nil
}

// concurrency is how many signatures are asked for at the same time by default: a
// keystore is as fast as the processors, a token has its sessions, and a service
// that takes 50 ms needs 50 at a time for 1,000 a second.
func (d Details) concurrency() int {
	switch {
	case d.PKCS11 != nil && d.PKCS11.Sessions > 0:
		return d.PKCS11.Sessions
	case d.PKCS11 != nil:
		return 16
	case d.Azure != nil, d.AWSKMS != nil, d.Hashicorp != nil, d.GCPKMS != nil:
		return 64
	}
	return 8
}

func glob(v value) (string, error) {
	s, err := text(v)
	if err != nil {
		return "", err
	}
	if _, err := path.Match(s, ""); err != nil {
		return "", fmt.Errorf("%q is not a pattern: want a name or address with * and ?, like ops-*", s)
	}
	return s, nil
}

// scope says who wrote what is read, and so what it may name.
type scope int

const (
	operatorFile scope = iota // the config file: everything
	commandLine               // flags: everything, but secrets only as files
	tenant                    // through the API: no file, and of what is the operator's only what was granted; see granted.go
)

// present lists those of the keys that the object has.
func (o *object) present(keys ...string) []string {
	var given []string
	for _, key := range keys {
		if _, ok := o.given(key); ok {
			given = append(given, key)
		}
	}
	return given
}

// exactlyOne wants one of the keys, which are ways to say who we are.
func (o *object) exactlyOne(keys ...string) {
	if o == nil {
		return
	}
	switch given := o.present(keys...); len(given) {
	case 0:
		o.fail("has no credential: want %s", strings.Join(keys, " or "))
	case 1:
	default:
		o.at(given[1]).fail("is given beside %s: want one of them", given[0])
	}
}

// only reports keys that need another one, which is not there.
func (o *object) only(with string, keys ...string) {
	if o == nil {
		return
	}
	if _, ok := o.given(with); ok {
		return
	}
	for _, key := range o.present(keys...) {
		o.at(key).fail("belongs to %s, which is not given", with)
	}
}
