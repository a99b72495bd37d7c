// SPDX-License-Identifier: Apache-2.0

package azurefake

import (
	"crypto"
	_ "crypto/sha1" // #nosec G505 -- of OAEP in the key transfer blob
	"encoding/base64"
	"encoding/json"
	"math/big"
	mathrand "math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"time"

	ethcrypto "github.com/ethereum/go-ethereum/crypto"

	"github.com/hsmsigner/hsmsigner/internal/key/byok"
)

var b64 = base64.RawURLEncoding

func attributes(k *version) map[string]any {
	a := map[string]any{
		"enabled": !k.spec.Disabled, "created": k.created.Unix(), "updated": k.updated.Unix(),
		"recoveryLevel": "Recoverable+Purgeable", "recoverableDays": 90, "exportable": false,
	}
	if !k.spec.NotBefore.IsZero() {
		a["nbf"] = k.spec.NotBefore.Unix()
	}
	if !k.spec.Expires.IsZero() {
		a["exp"] = k.spec.Expires.Unix()
	}
	return a
}

func (v *Vault) bundle(k *version) map[string]any {
	jwk := map[string]any{"kid": v.kid(k), "kty": k.spec.Kty, "key_ops": k.spec.Ops}
	if k.rsa != nil {
		jwk["n"] = b64.EncodeToString(k.rsa.N.Bytes())
		jwk["e"] = b64.EncodeToString(big.NewInt(int64(k.rsa.E)).Bytes())
	} else {
		point := ethcrypto.FromECDSAPub(&k.private.PublicKey)
		jwk["crv"] = k.spec.Crv
		jwk["x"], jwk["y"] = b64.EncodeToString(point[1:33]), b64.EncodeToString(point[33:])
	}
	out := map[string]any{"key": jwk, "attributes": attributes(k)}
	if len(k.spec.Tags) > 0 {
		out["tags"] = k.spec.Tags
	}
	return out
}

func item(kid string, k *version) map[string]any {
	out := map[string]any{"kid": kid, "attributes": attributes(k)}
	if len(k.spec.Tags) > 0 {
		out["tags"] = k.spec.Tags
	}
	return out
}

func (v *Vault) listKeys(w http.ResponseWriter, r *http.Request) {
	v.mu.Lock()
	defer v.mu.Unlock()
	from := min(skip(r), len(v.names))
	to := min(from+PageSize, len(v.names))
	items := make([]map[string]any, 0, PageSize)
	for _, name := range v.names[from:to] {
		items = append(items, item(v.base+"/keys/"+name, v.find(name, "")))
	}
	v.page(w, r, items, to, len(v.names))
}

func (v *Vault) listVersions(w http.ResponseWriter, r *http.Request) {
	v.mu.Lock()
	defer v.mu.Unlock()
	n := v.keys[r.PathValue("name")]
	if n == nil {
		notFound(w, r)
		return
	}
	from := min(skip(r), len(n.versions))
	to := min(from+PageSize, len(n.versions))
	items := make([]map[string]any, 0, PageSize)
	for _, k := range n.versions[from:to] {
		items = append(items, item(v.kid(k), k))
	}
	v.page(w, r, items, to, len(n.versions))
}

func (v *Vault) page(w http.ResponseWriter, r *http.Request, items []map[string]any, to, all int) {
	var next any
	if to < all {
		// The port is there although it is the usual one, as in Azure's own links.
		link := v.base + r.URL.Path + "?api-version=" + r.URL.Query().Get("api-version") + "&$skiptoken=" + strconv.Itoa(to) + "&maxresults=25"
		if v.wire.NextLink != nil {
			link = v.wire.NextLink(link)
		}
		next = link
	}
	reply(w, http.StatusOK, map[string]any{"value": items, "nextLink": next})
}

func (v *Vault) rotationPolicy(w http.ResponseWriter, r *http.Request) {
	v.mu.Lock()
	defer v.mu.Unlock()
	n := v.keys[r.PathValue("name")]
	if n == nil {
		notFound(w, r)
		return
	}
	actions := []any{map[string]any{
		"trigger": map[string]any{"timeBeforeExpiry": "P30D"}, "action": map[string]any{"type": "Notify"},
	}}
	if n.policy != "" {
		actions = append(actions, map[string]any{
			"trigger": map[string]any{"timeAfterCreate": n.policy}, "action": map[string]any{"type": "Rotate"},
		})
	}
	reply(w, http.StatusOK, map[string]any{"id": v.base + r.URL.Path, "lifetimeActions": actions, "attributes": map[string]any{}})
}

func (v *Vault) getKey(w http.ResponseWriter, r *http.Request) {
	v.mu.Lock()
	defer v.mu.Unlock()
	k := v.find(r.PathValue("name"), r.PathValue("version"))
	switch {
	case k == nil:
		notFound(w, r)
	case k.spec.Hidden && k.spec.Disabled:
		fail(w, http.StatusForbidden, "Forbidden", "KeyDisabled", "Operation get is not allowed on a disabled key.")
	default:
		bundle := v.bundle(k)
		if v.wire.Bundle != nil {
			v.wire.Bundle(bundle)
		}
		reply(w, http.StatusOK, bundle)
	}
}

func notFound(w http.ResponseWriter, r *http.Request) {
	fail(w, http.StatusNotFound, "KeyNotFound", "", "A key with (name/id) "+r.PathValue("name")+"/"+r.PathValue("version")+" was not found in this key vault.")
}

// request is the union of the bodies that are understood.
type request struct {
	Alg, Value string
	Kty, Crv   string
	HSM        bool     `json:"hsm"`
	Ops        []string `json:"key_ops"`
	Tags       map[string]string
	Attributes struct{ Enabled *bool }
	Key        struct {
		Kty, Crv, D string
		Ops         []string `json:"key_ops"`
		T           string   `json:"key_hsm"`
	}
}

func body(w http.ResponseWriter, r *http.Request) (in request, ok bool) {
	if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
		fail(w, http.StatusBadRequest, "BadParameter", "", "The request body is not JSON.")
		return in, false
	}
	return in, true
}

func (v *Vault) createKey(w http.ResponseWriter, r *http.Request) {
	in, ok := body(w, r)
	if !ok {
		return
	}
	k, err := newVersion(r.PathValue("name"), Spec{Kty: in.Kty, Crv: in.Crv, Ops: in.Ops, Tags: in.Tags})
	v.store(w, r, k, err)
}

// store puts a new version into the vault and shows it.
func (v *Vault) store(w http.ResponseWriter, r *http.Request, k *version, err error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	switch {
	case err != nil:
		fail(w, http.StatusBadRequest, "BadParameter", "", "The key is not valid.")
	case v.deleted[r.PathValue("name")]:
		fail(w, http.StatusConflict, "Conflict", "ObjectIsDeletedButRecoverable", "Key is currently in a deleted but recoverable state, and its name cannot be reused.")
	case v.standard && k.spec.Kty == "EC-HSM", v.managed && k.spec.Kty != "EC-HSM":
		fail(w, http.StatusBadRequest, "BadParameter", "", "The specified key type "+k.spec.Kty+" is not supported: HSM")
	default:
		v.insert(k)
		reply(w, http.StatusOK, v.bundle(k))
	}
}

func (v *Vault) importKey(w http.ResponseWriter, r *http.Request) {
	in, ok := body(w, r)
	if !ok {
		return
	}
	spec := Spec{Kty: in.Key.Kty, Crv: in.Key.Crv, Ops: in.Key.Ops, Tags: in.Tags}
	var err error
	if in.Key.T != "" {
		spec.Secret, err = v.unwrap(in.Key.T)
	} else {
		spec.Secret, err = b64.DecodeString(in.Key.D)
		if in.HSM != (spec.Kty == "EC-HSM") {
			err = ErrNoKey
		}
	}
	var k *version
	if err == nil {
		k, err = newVersion(r.PathValue("name"), spec)
	}
	v.store(w, r, k, err)
}

// unwrap opens a key transfer blob
// (learn.microsoft.com/azure/key-vault/keys/byok-specification).
func (v *Vault) unwrap(blob string) ([]byte, error) {
	raw, err := b64.DecodeString(blob)
	if err != nil {
		return nil, err
	}
	var in struct {
		Schema     string `json:"schema_version"`
		Ciphertext string
		Generator  string
		Header     struct{ KID, Alg, Enc string }
	}
	if err := json.Unmarshal(raw, &in); err != nil {
		return nil, err
	}
	ciphertext, err := b64.DecodeString(in.Ciphertext)
	if err != nil || in.Schema != "1.0.0" || in.Generator == "" || in.Header.Alg != "dir" || in.Header.Enc != "CKM_RSA_AES_KEY_WRAP" {
		return nil, ErrNoKey
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, n := range v.keys {
		for _, k := range n.versions {
			if k.rsa != nil && v.kid(k) == in.Header.KID && k.spec.Kty == "RSA-HSM" && slices.Equal(k.spec.Ops, []string{"import"}) {
				der, err := byok.Unwrap(k.rsa, crypto.SHA1, ciphertext)
				if err != nil {
					return nil, err
				}
				return byok.ParsePKCS8(der)
			}
		}
	}
	return nil, ErrNoKey
}

func (v *Vault) updateKey(w http.ResponseWriter, r *http.Request) {
	in, ok := body(w, r)
	if !ok {
		return
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	k := v.find(r.PathValue("name"), r.PathValue("version"))
	if k == nil {
		notFound(w, r)
		return
	}
	if in.Attributes.Enabled != nil {
		k.spec.Disabled = !*in.Attributes.Enabled
		k.updated = k.updated.Add(time.Second)
	}
	reply(w, http.StatusOK, v.bundle(k))
}

func (v *Vault) deleteKey(w http.ResponseWriter, r *http.Request) {
	v.mu.Lock()
	defer v.mu.Unlock()
	name := r.PathValue("name")
	k := v.find(name, "")
	if k == nil {
		notFound(w, r)
		return
	}
	v.remove(name)
	out := v.bundle(k)
	out["recoveryId"] = v.base + "/deletedkeys/" + name
	out["deletedDate"] = time.Now().Unix()
	out["scheduledPurgeDate"] = time.Now().AddDate(0, 0, 90).Unix()
	reply(w, http.StatusOK, out)
}

func (v *Vault) sign(w http.ResponseWriter, r *http.Request) {
	in, ok := body(w, r)
	if !ok {
		return
	}
	digest, err := b64.DecodeString(in.Value)
	v.mu.Lock()
	k, wire := v.find(r.PathValue("name"), r.PathValue("version")), v.wire
	var spec Spec
	if k != nil {
		spec = k.spec
	}
	v.mu.Unlock()
	now := time.Now()
	algorithm := "ES256K"
	if spec.Crv == "SECP256K1" {
		algorithm = "ECDSA256"
	}
	switch {
	case k == nil:
		notFound(w, r)
	case err != nil || len(digest) != 32:
		fail(w, http.StatusBadRequest, "BadParameter", "", "Invalid length of 'value': the digest must have 32 bytes.")
	case spec.Disabled:
		fail(w, http.StatusForbidden, "Forbidden", "KeyDisabled", "Operation sign is not allowed on a disabled key.")
	case !spec.Expires.IsZero() && !now.Before(spec.Expires):
		fail(w, http.StatusForbidden, "Forbidden", "KeyExpired", "Operation sign is not allowed on an expired key.")
	case now.Before(spec.NotBefore):
		fail(w, http.StatusForbidden, "Forbidden", "KeyNotYetValid", "Operation sign is not allowed on a key that is not yet valid.")
	case !slices.Contains(spec.Ops, "sign"):
		fail(w, http.StatusForbidden, "Forbidden", "", "Operation sign is not permitted on this key.")
	case k.private == nil || in.Alg != algorithm:
		fail(w, http.StatusBadRequest, "BadParameter", "", "Key and signing algorithm are incompatible. Key "+v.kid(k)+" uses curve '"+spec.Crv+"', and algorithm '"+in.Alg+"' can only be used with another curve.")
	default:
		v.answer(w, k, wire, digest)
	}
}

func (v *Vault) answer(w http.ResponseWriter, k *version, wire Wire, digest []byte) {
	raw, err := ethcrypto.Sign(digest, k.private)
	if err != nil {
		fail(w, http.StatusInternalServerError, "InternalServerError", "", "sign")
		return
	}
	sig := raw[:64]
	if mathrand.N(2) == 0 { // an HSM does not care which s it gives
		s := new(big.Int).SetBytes(sig[32:])
		s.Sub(ethcrypto.S256().Params().N, s).FillBytes(sig[32:])
	}
	kid := v.kid(k)
	if wire.Signature != nil {
		sig = wire.Signature(sig)
	}
	if wire.SignKID != nil {
		kid = wire.SignKID(kid)
	}
	v.signed.Add(1)
	reply(w, http.StatusOK, map[string]any{"kid": kid, "value": b64.EncodeToString(sig)})
}
