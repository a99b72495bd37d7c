// SPDX-License-Identifier: Apache-2.0

package config

import (
	"path/filepath"
	"strings"
)

// checkGrants reports what is granted to two memberships and must be of one:
// each would use the other's keys.
func (r *reader) checkGrants(v value, all []Grant) {
	for i, g := range all {
		at := v.item(i)
		for _, other := range all[:i] {
			if g.Membership != "" && other.Membership == g.Membership {
				at.fail("membership %s has a grant already: want one with all that is granted to it", g.Membership)
				continue
			}
			r.checkPair(at, g, other)
		}
	}
}

func (r *reader) checkPair(at value, g, other Grant) {
	for j, token := range g.PKCS11 {
		for _, theirs := range other.PKCS11 {
			if r.mayBeOne(token, theirs) {
				at.fail("pkcs11[%d] is or may be the token that is granted to %s: want a token for each membership, all of one library named by the same of token_label, token_serial and user_id", j, other.Membership)
			}
		}
	}
	if g.Keystore != "" && other.Keystore != "" && overlap(g.Keystore, other.Keystore) {
		at.fail("keystore is, holds or is in the folder that is granted to %s: want folders apart", other.Membership)
	}
}

// mayBeOne reports whether two descriptions could mean the same token: they are
// of the same library, whatever its names, and nothing that both have differs.
func (r *reader) mayBeOne(a, b GrantedToken) bool {
	if a.Module != b.Module && resolved(r.modules[a.Module].Path) != resolved(r.modules[b.Module].Path) {
		return false
	}
	differ := func(x, y string) bool { return x != "" && y != "" && x != y }
	return !differ(a.TokenLabel, b.TokenLabel) && !differ(a.TokenSerial, b.TokenSerial) && !differ(a.User, b.User)
}

// grantedAway reports grants of what a wallet of this file uses: that is the
// operator's.
func (r *reader) grantedAway(o *object, c *Config) {
	all, ok := o.given("grants")
	if !ok || all.node.Kind != yamlList || len(all.node.Content) != len(c.Grants) {
		return
	}
	for i, g := range c.Grants {
		for _, w := range c.Wallets {
			if k := w.Details.Keystore; k != nil && g.Keystore != "" && overlap(k.Path, g.Keystore) {
				all.item(i).fail("keystore is, holds or is in the folder of the wallet %s: want folders apart", w.Name)
			}
			p := w.Details.PKCS11
			if p == nil {
				continue
			}
			mine := GrantedToken{Module: p.Module, TokenLabel: p.TokenLabel, TokenSerial: p.TokenSerial, User: p.Credential.User}
			for j, token := range g.PKCS11 {
				if r.mayBeOne(token, mine) {
					all.item(i).fail("pkcs11[%d] is or may be the token of the wallet %s: want another", j, w.Name)
				}
			}
		}
	}
}

func overlap(a, b string) bool {
	a, b = resolved(a), resolved(b)
	return a == b || within(a, b) || within(b, a)
}

// within reports whether path is folder or below it. Both are absolute and clean.
func within(path, folder string) bool {
	rel, err := filepath.Rel(folder, path)
	return err == nil && rel != ".." && !strings.HasPrefix(rel, ".."+string(filepath.Separator))
}

// resolved is path without symbolic links, as far as it exists.
func resolved(path string) string {
	if real, err := filepath.EvalSymlinks(path); err == nil {
		return real
	}
	parent := filepath.Dir(path)
	if parent == path {
		return path
	}
	return filepath.Join(resolved(parent), filepath.Base(path))
}
