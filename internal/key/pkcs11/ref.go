// SPDX-License-Identifier: Apache-2.0

package pkcs11

import (
	"encoding/hex"
	"strings"

	"github.com/ethereum/go-ethereum/crypto"

	"github.com/hsmsigner/hsmsigner/internal/key"
	"github.com/hsmsigner/hsmsigner/internal/key/pkcs11/wire"
	"github.com/hsmsigner/hsmsigner/internal/secp"
)

// refOf names a key: the hexadecimal CKA_ID of its private object (which may be
// empty), a dot, and the compressed public key in hexadecimal.
func refOf(id []byte, point secp.PublicKey) key.Ref {
	compressed := append([]byte{2 + point[63]&1}, point[:32]...)
	return key.Ref(hex.EncodeToString(id) + "." + hex.EncodeToString(compressed))
}

// parseRef is the inverse of refOf. It accepts nothing that refOf does not give.
func parseRef(ref key.Ref) (id []byte, point secp.PublicKey, ok bool) {
	first, second, found := strings.Cut(string(ref), ".")
	if !found || len(first) > 2*wire.MaxID || len(second) != 66 || strings.ToLower(string(ref)) != string(ref) {
		return nil, point, false
	}
	id, err := hex.DecodeString(first)
	if err != nil {
		return nil, point, false
	}
	compressed, err := hex.DecodeString(second)
	if err != nil {
		return nil, point, false
	}
	public, err := crypto.DecompressPubkey(compressed)
	if err != nil {
		return nil, point, false
	}
	copy(point[:], crypto.FromECDSAPub(public)[1:])
	return id, point, refOf(id, point) == ref
}
