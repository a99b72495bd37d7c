// SPDX-License-Identifier: Apache-2.0

package azure

import (
	"net/url"
	"strings"

	"github.com/hsmsigner/hsmsigner/internal/key"
)

// versionLength is that of a key version: 128 random bits in hex
// (learn.microsoft.com/azure/key-vault/general/about-keys-secrets-certificates).
const versionLength = 32

// id is one version of a key in the configured vault.
type id struct{ name, version string }

func (v vault) ref(k id) key.Ref {
	return key.Ref(v.base + "/keys/" + k.name + "/" + k.version)
}

func (k id) String() string { return k.name + "/" + k.version }

// parseRef takes a reference apart. One that [vault.ref] would not have written
// is no key of this vault.
func (v vault) parseRef(ref key.Ref) (id, bool) {
	rest, ok := strings.CutPrefix(string(ref), v.base+"/keys/")
	if !ok {
		return id{}, false
	}
	k, ok := parsePath(rest)
	return k, ok && k.version != ""
}

// parseKID takes a key identifier of the vault's answer apart. Its host is not
// looked at: behind a private link or a proxy it is not the configured one, and
// nothing is ever sent to it. The version is empty in a listing of keys.
func parseKID(kid string) (id, bool) {
	u, err := url.Parse(kid)
	if err != nil || u.Scheme != "https" {
		return id{}, false
	}
	rest, ok := strings.CutPrefix(u.Path, "/keys/")
	if !ok {
		return id{}, false
	}
	return parsePath(rest)
}

func parsePath(rest string) (id, bool) {
	name, version, versioned := strings.Cut(rest, "/")
	if !keyName.MatchString(name) || versioned && !goodVersion(version) {
		return id{}, false
	}
	return id{name, version}, true
}

func goodVersion(s string) bool {
	if len(s) != versionLength {
		return false
	}
	for _, c := range []byte(s) {
		switch {
		case c >= '0' && c <= '9', c >= 'a' && c <= 'f', c >= 'A' && c <= 'F':
		default:
			return false
		}
	}
	return true
}
