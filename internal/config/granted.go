// SPDX-License-Identifier: Apache-2.0

package config

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Each rule about what a tenant may not bring has its own error here, so that
// who reads it knows what to bring instead.
const (
	whyAuthority  = "is not one of Azure's own token services: want https://login.microsoftonline.com, .us, or .partner.microsoftonline.cn, or leave it out; another is for the operator to name, in egress.azure"
	whyRelaxed    = "is for the operator to name, in egress.azure: such a host is given tokens of a resource that it does not belong to"
	whyFile       = "names a file of the machine that the signer runs on, which no tenant may use: want the secret itself in user_secret"
	whyPodToken   = "is the login of the pod that the signer runs in, which no tenant may use: want user_secret, or role_id with user_secret"
	whyProfile    = "is of the AWS files of the machine that the signer runs on, which no tenant may use: want user_id with user_secret"
	whyGoogleOnly = "is for the operator's config file only: a tenant's key rings are reached at Google's own address"
	whyModulePath = "is a path, which would load its author's code: want the name of a library that the operator has granted to this membership"
	whyNoFolder   = "is a folder of the machine that the signer runs on, and none is granted to this membership: ask the operator for a grant"
	whyOutside    = "is not below the folder that is granted to this membership: want a path in it, like ./keys"
	whyLink       = "holds a link that leads out of the folder that is granted to this membership: %s"
)

// notForTenants reports a key that a tenant must not give, with the rule's own
// error. It is true if that was the case.
func (o *object) notForTenants(key, why string) bool {
	v, ok := o.given(key)
	if !ok || o.r.scope != tenant {
		return false
	}
	v.fail("%s", why)
	return true
}

// grantedIdentity is the identity of the operator's that a tenant names. It is
// nil, and the mistake reported, if it was not granted for this provider.
func grantedIdentity[T any](o *object, of func(GrantedIdentity) *T) *T {
	v, ok := o.given("identity")
	if !ok {
		return nil
	}
	name, err := text(v)
	if err != nil {
		v.fail("%s", err)
		return nil
	}
	var g GrantedIdentity
	if o.r.grant != nil {
		g = o.r.grant.Identities[name]
	}
	granted := of(g)
	if granted == nil {
		// The same words whether there is no such identity, it is another
		// membership's, or it is the daemon's own.
		v.fail("no identity called %.63q is granted to this membership for this provider: want credentials of your own; what the signer itself may do is never a tenant's", name)
		return nil
	}
	return granted
}

// standsFor reports keys that a granted identity takes the place of.
func (o *object) standsFor(keys ...string) {
	for _, key := range o.present(keys...) {
		o.at(key).fail("is given beside identity, which the operator has granted with all that belongs to it: want one of them")
	}
}

// ownAddress reports addresses that a tenant chose for an identity of the
// operator's, whose tokens would be sent there.
func (o *object) ownAddress(keys ...string) {
	for _, key := range o.present(keys...) {
		o.at(key).fail("is given together with an identity that the operator has granted, whose tokens would go there: leave it out, or bring credentials of your own")
	}
}

func (o *object) checkGrantedAzure(a *Azure, granted []*GrantedAzure) {
	for _, g := range granted {
		o.ownAddress("target_address", "authority_address", "ca_cert")
		if a.VaultName != "" && !slices.ContainsFunc(g.Vaults, func(v string) bool { return strings.EqualFold(v, a.VaultName) }) {
			o.at("vault_name").fail("is not a vault that the identity is granted for: want %s", strings.Join(g.Vaults, " or "))
		}
	}
}

func (o *object) checkGrantedAWS(a *AWSKMS, granted []*GrantedAWS) {
	for _, g := range granted {
		o.ownAddress("target_address", "tagging_address", "ca_cert")
		if a.Region != "" && a.Region != g.Region {
			o.at("target_region").fail("is not the region that the identity is granted for: want %s", g.Region)
		}
		if g.Discovery == nil {
			continue
		}
		if v, ok := o.given("discovery"); ok && a.Discovery != *g.Discovery {
			v.fail("is not how the identity is granted to find keys: leave it out")
		}
		a.Discovery = *g.Discovery
	}
}

func (o *object) checkGrantedGCP(c *GCPKMS, granted []*GrantedGCP) {
	for _, g := range granted {
		if c.KeyRing != "" && !slices.Contains(g.KeyRings, c.KeyRing) {
			o.at("key_ring").fail("is not a key ring that the identity is granted for: want %s", strings.Join(g.KeyRings, " or "))
		}
	}
}

// loadGranted looks up a library that a tenant names.
func (p *PKCS11) loadGranted(v value) {
	if strings.ContainsAny(p.Module, `/\`) {
		v.fail("%s", whyModulePath)
		return
	}
	m, known := v.r.modules[p.Module]
	if !known || len(v.r.grantedTokens(p.Module)) == 0 {
		v.fail("no PKCS#11 library called %.63q is granted to this membership: ask the operator for a grant", p.Module)
		return
	}
	p.Path, p.Protection, p.Env = m.Path, m.Protection, m.Environment
}

func (r *reader) grantedTokens(module string) []GrantedToken {
	var all []GrantedToken
	if r.grant != nil {
		for _, g := range r.grant.PKCS11 {
			if g.Module == module {
				all = append(all, g)
			}
		}
	}
	return all
}

// bindToken holds a tenant to the token that was granted with the library, and
// names it in full, so that no other token can be meant.
func (p *PKCS11) bindToken(o *object) {
	granted := o.r.grantedTokens(p.Module)
	if len(granted) == 0 {
		return // reported
	}
	named := o.present("token_label", "token_serial")
	if len(named) == 0 && len(granted) > 1 && !p.CloudHSM {
		o.at("token_label").fail("is missing, and more than one token of that library is granted to this membership")
		return
	}
	fits := func(want, got string) bool { return want == "" || got == "" || want == got }
	for _, g := range granted {
		if fits(g.TokenLabel, p.TokenLabel) && fits(g.TokenSerial, p.TokenSerial) && (g.User == "" || p.CloudHSM) {
			p.TokenLabel, p.TokenSerial = or(g.TokenLabel, p.TokenLabel), or(g.TokenSerial, p.TokenSerial)
			return
		}
	}
	where := "module"
	if len(named) > 0 {
		where = named[0]
	}
	o.at(where).fail("is not the token that is granted to this membership with that library")
}

// isCloudHSM reports whether the operator has said that a library is CloudHSM's:
// in the file by its provider, to a tenant, who chooses the provider, by a grant
// of a crypto user.
func (o *object) isCloudHSM(module string) bool {
	if o == nil || o.r.scope != tenant {
		return true
	}
	return slices.ContainsFunc(o.r.grantedTokens(module), func(g GrantedToken) bool { return g.User != "" })
}

// bindUser holds a tenant to the crypto user that was granted, where that is what
// tells memberships apart.
func (p *PKCS11) bindUser(o *object, user string) {
	granted := o.r.grantedTokens(p.Module)
	free := func(g GrantedToken) bool { return g.User == "" || g.User == user }
	if len(granted) > 0 && user != "" && !slices.ContainsFunc(granted, free) {
		o.at("user_id").fail("is not the crypto user that is granted to this membership with that library")
	}
}

func or(text, otherwise string) string {
	if text == "" {
		return otherwise
	}
	return text
}

// grantedFolder resolves a path that a tenant gives for key files: it and all
// that it leads to is in the folder that was granted.
func grantedFolder(v value) (string, error) {
	s, err := text(v)
	if err != nil {
		return "", err
	}
	if v.r.grant == nil || v.r.grant.Keystore == "" {
		return "", errors.New(whyNoFolder)
	}
	folder := v.r.grant.Keystore
	path := filepath.Clean(s)
	if !filepath.IsAbs(s) {
		path = filepath.Join(folder, s)
	}
	if !within(path, folder) {
		return "", errors.New(whyOutside)
	}
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		return "", fmt.Errorf("there is no such folder: %s", s)
	}
	if !within(real, resolved(folder)) {
		return "", errors.New(whyOutside)
	}
	if out := leadsOut(real, resolved(folder)); out != "" {
		return "", fmt.Errorf(whyLink, out)
	}
	return real, nil
}

// leadsOut is the name of a link in path that leads out of folder; empty if none
// does.
func leadsOut(path, folder string) string {
	entries, err := os.ReadDir(path)
	if err != nil {
		return ""
	}
	for _, e := range entries {
		if e.Type()&os.ModeSymlink == 0 {
			continue
		}
		if real, err := filepath.EvalSymlinks(filepath.Join(path, e.Name())); err == nil && !within(real, folder) {
			return e.Name()
		}
	}
	return ""
}
