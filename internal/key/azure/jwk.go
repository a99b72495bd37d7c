// SPDX-License-Identifier: Apache-2.0

package azure

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azkeys"

	"github.com/hsmsigner/hsmsigner/internal/key"
	"github.com/hsmsigner/hsmsigner/internal/secp"
)

// Until 2019 the curve P-256K was named SECP256K1, and keys from that time sign
// with ECDSA256 and refuse ES256K (Azure/azure-rest-api-specs #10769).
const (
	oldCurve     = azkeys.CurveName("SECP256K1")
	oldAlgorithm = azkeys.SignatureAlgorithm("ECDSA256")
)

// described is what GetKey says of one version. All but ops is immutable, and
// ops can change only together with the attribute updated.
type described struct {
	other      bool // not on secp256k1
	public     secp.PublicKey
	algorithm  azkeys.SignatureAlgorithm
	protection key.Protection
	canSign    bool
	updated    time.Time
}

// describe judges a key bundle. It does not trust it.
func describe(k id, bundle azkeys.KeyBundle) (described, error) {
	j := bundle.Key
	if j == nil || j.Kty == nil {
		return described{}, errors.New("a key without a type")
	}
	if j.KID != nil {
		if got, ok := parseKID(string(*j.KID)); !ok || got != k {
			return described{}, errors.New("another key than was asked for")
		}
	}
	d := described{algorithm: azkeys.SignatureAlgorithmES256K}
	if a := bundle.Attributes; a != nil && a.Updated != nil {
		d.updated = *a.Updated
	}
	switch *j.Kty {
	case azkeys.KeyTypeEC:
		d.protection = key.Software
	case azkeys.KeyTypeECHSM:
		d.protection = key.HSM
	default:
		d.other = true
		return d, nil
	}
	switch {
	case j.Crv == nil:
		return described{}, errors.New("an elliptic-curve key without a curve")
	case *j.Crv == oldCurve:
		d.algorithm = oldAlgorithm
	case *j.Crv != azkeys.CurveNameP256K:
		d.other = true
		return d, nil
	}
	public, err := point(j.X, j.Y)
	if err != nil {
		return described{}, err
	}
	d.public = public
	// An empty list means that the vault did not say.
	d.canSign = len(j.KeyOps) == 0 || slices.ContainsFunc(j.KeyOps, func(op *azkeys.KeyOperation) bool {
		return op != nil && *op == azkeys.KeyOperationSign
	})
	return d, nil
}

// point joins the coordinates of a JWK, which may come without their leading
// zero bytes although RFC 7518 §6.2.1.2 wants them.
func point(x, y []byte) (secp.PublicKey, error) {
	if len(x) == 0 || len(x) > 32 || len(y) == 0 || len(y) > 32 {
		return secp.PublicKey{}, fmt.Errorf("coordinates of %d and %d bytes, want 32", len(x), len(y))
	}
	p := make([]byte, 65)
	p[0] = 4
	copy(p[33-len(x):33], x)
	copy(p[65-len(y):65], y)
	return secp.ParsePoint(p)
}

// attributes is what a listing says of one version, which changes.
type attributes struct {
	enabled            bool
	notBefore, expires time.Time // zero: no bound
	updated            time.Time
	tags               map[string]string
}

func attributesOf(a *azkeys.KeyAttributes, tags map[string]*string) attributes {
	out := attributes{enabled: true}
	if a != nil {
		out.enabled = a.Enabled == nil || *a.Enabled
		out.notBefore, out.expires, out.updated = deref(a.NotBefore), deref(a.Expires), deref(a.Updated)
	}
	for name, value := range tags {
		if out.tags == nil {
			out.tags = make(map[string]string, len(tags))
		}
		out.tags[name] = deref(value)
	}
	return out
}

func deref[T any](p *T) (v T) {
	if p != nil {
		v = *p
	}
	return v
}

// whyNot says why a version cannot sign at the time now; empty if it can. The
// vault refuses signatures outside of nbf and exp (about-keys-details, date-time
// controlled operations).
func (a attributes) whyNot(now time.Time) string {
	switch {
	case !a.enabled:
		return "it is disabled in the vault"
	case !a.expires.IsZero() && !now.Before(a.expires):
		return "it expired at " + a.expires.UTC().Format(time.RFC3339)
	case now.Before(a.notBefore):
		return "it is not valid before " + a.notBefore.UTC().Format(time.RFC3339)
	}
	return ""
}

const noSignOperation = `its permitted operations do not include "sign"`
