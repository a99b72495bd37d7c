// SPDX-License-Identifier: Apache-2.0

package token

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"strings"
	"unicode"

	"github.com/hsmsigner/hsmsigner/internal/key/pkcs11/wire"
	"github.com/hsmsigner/hsmsigner/internal/secp"
)

// object is a key object of a token, public or private.
type object struct {
	handle   uint
	id       []byte // CKA_ID; may be empty
	label    string // CKA_LABEL; may be empty
	params   []byte // CKA_EC_PARAMS; nil if the token does not say
	point    []byte // CKA_EC_POINT as it came; nil if the token does not say
	disabled string // why it may not sign; empty if it may
}

// The names of the curve in CKA_EC_PARAMS (PKCS#11 v2.40 §2.3.3): the OID, or a
// PrintableString with the name.
var curveNames = [][]byte{
	{0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x0a},
	append([]byte{0x13, 0x09}, "secp256k1"...),
}

// onCurve reports whether an object is of secp256k1, as far as its parameters
// say. A token may not give those of a private key; its point decides then.
func (o object) onCurve() bool {
	if o.params == nil {
		return true
	}
	for _, name := range curveNames {
		if bytes.Equal(o.params, name) {
			return true
		}
	}
	return false
}

// paired is a private key object and what it is to those who list keys.
type paired struct {
	entry   wire.Entry
	private object
}

// pair finds the public key of each private key object: by its own point, then
// by CKA_ID, then by label (and by both, where several share one of them). A
// guess is never made: what stays ambiguous or has no public key is a problem.
// Private keys of other curves are left out.
func pair(private, public []object) []paired {
	var pairs []paired
	byID, byLabel := group(public, idOf), group(public, labelOf)
	sameID, sameLabel := group(private, idOf), group(private, labelOf)
	for _, p := range private {
		if !p.onCurve() {
			continue
		}
		e := wire.Entry{ID: p.id, Label: clean(p.label), Reason: p.disabled}
		point, found, problem := secp.PublicKey{}, false, ""
		switch rivals := sameID[string(p.id)]; {
		case len(p.id) > wire.MaxID:
			problem = fmt.Sprintf("its CKA_ID has %d bytes; %d are the most that can be kept", len(p.id), wire.MaxID)
		case p.point != nil:
			point, found, problem = agree([]object{{point: p.point, params: p.params}})
		case len(p.id) > 0 && len(byID[string(p.id)]) > 0:
			publics := byID[string(p.id)]
			if _, _, differ := agree(publics); differ != "" || len(rivals) > 1 {
				// Several keys under one CKA_ID: their labels tell them apart, or nothing does.
				rivals, publics = labelled(rivals, p.label), labelled(publics, p.label)
			}
			if len(rivals) > 1 {
				problem = "another private key has its CKA_ID and its label; give each key a CKA_ID of its own"
				break
			}
			point, found, problem = agree(publics)
		case p.label != "" && len(byLabel[p.label]) > 0:
			if len(sameLabel[p.label]) > 1 {
				problem = "no public key has its CKA_ID, and another private key has its label; give both objects of a pair one CKA_ID"
				break
			}
			point, found, problem = agree(unclaimed(byLabel[p.label], sameID))
		}
		switch {
		case found:
			e.Point = point
		case problem == "" && p.params == nil:
			continue // of a curve that nothing names, and nothing says that it is ours
		case problem == "":
			e.Problem, e.Reason = true, "no public key object has its CKA_ID or its label, and the private object does not carry the public point; import the public key into the token under the same CKA_ID"
		case problem == otherCurve:
			continue
		default:
			e.Problem, e.Reason = true, problem
		}
		if e.Problem && e.Label == "" {
			e.Label = "CKA_ID " + hex.EncodeToString(p.id[:min(len(p.id), 16)])
		}
		pairs = append(pairs, paired{e, p})
	}
	return pairs
}

const otherCurve = "other curve"

// agree gives the point that all the objects have.
func agree(publics []object) (point secp.PublicKey, found bool, problem string) {
	for i, o := range publics {
		if !o.onCurve() {
			return point, false, otherCurve
		}
		p, err := secp.ParsePoint(o.point)
		switch {
		case err != nil && o.params == nil:
			return point, false, otherCurve // nothing says that it should be one of ours
		case err != nil:
			return point, false, "its public point (CKA_EC_POINT) is no point of secp256k1: " + err.Error()
		case i > 0 && p != point:
			return point, false, "different public keys have its CKA_ID or label; give each key a CKA_ID of its own"
		}
		point, found = p, true
	}
	return point, found, ""
}

func idOf(o object) string    { return string(o.id) }
func labelOf(o object) string { return o.label }

func group(objects []object, by func(object) string) map[string][]object {
	m := make(map[string][]object)
	for _, o := range objects {
		m[by(o)] = append(m[by(o)], o)
	}
	return m
}

func labelled(objects []object, label string) (some []object) {
	for _, o := range objects {
		if o.label == label {
			some = append(some, o)
		}
	}
	return some
}

// unclaimed leaves out the public keys whose CKA_ID is that of a private key:
// they are that one's.
func unclaimed(publics []object, private map[string][]object) (free []object) {
	for _, o := range publics {
		if len(o.id) == 0 || len(private[string(o.id)]) == 0 {
			free = append(free, o)
		}
	}
	return free
}

// clean makes a label of a token fit for logs and terminals.
func clean(label string) string {
	label = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '�'
		}
		return r
	}, strings.TrimRight(label, " \x00"))
	if len(label) > wire.MaxText {
		label = strings.ToValidUTF8(label[:wire.MaxText], "")
	}
	return label
}
