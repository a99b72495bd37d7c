// SPDX-License-Identifier: Apache-2.0

package seal

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// A sealed value is: the version (1 byte), the length of the KEK's id (1 byte),
// the id, and what Tink's KMSEnvelopeAEAD makes: the length of the wrapped data
// key (4 bytes), the wrapped data key, and the text encrypted with it.
const (
	version  = 1
	maxKeyID = 255
)

// ErrDamaged says that a value is not what was sealed, or not for this place.
// One cannot be told from the other.
var ErrDamaged = errors.New("seal: the value is damaged, or was sealed for another place")

// header is what a value sealed with a key begins with.
func header(keyID string) []byte { return append([]byte{version, byte(len(keyID))}, keyID...) }

// split takes a sealed value apart.
func split(sealed []byte) (keyID string, envelope []byte, err error) {
	if len(sealed) < 2 {
		return "", nil, ErrDamaged
	}
	end := 2 + int(sealed[1])
	if len(sealed) < end {
		return "", nil, ErrDamaged
	}
	if sealed[0] != version {
		return "", nil, fmt.Errorf("%w: it has version %d, and this program knows version %d", ErrDamaged, sealed[0], version)
	}
	keyID, envelope = string(sealed[2:end]), sealed[end:]
	if !validKeyID(keyID) {
		return "", nil, ErrDamaged
	}
	return keyID, envelope, nil
}

// validKeyID wants what can be shown to people: visible ASCII.
func validKeyID(id string) bool {
	for _, c := range []byte(id) {
		if c <= ' ' || c > '~' {
			return false
		}
	}
	return id != "" && len(id) <= maxKeyID
}

// associated is what a value is bound to. Each part stands after its length, so
// that no two places are written alike.
func associated(keyID string, p Place) []byte {
	var b []byte
	for _, part := range []string{"hsmsigner sealed value, version 1", keyID, p.Consortium, p.Environment, p.Membership, p.ID, p.Field} {
		b = binary.AppendUvarint(b, uint64(len(part)))
		b = append(b, part...)
	}
	return b
}
