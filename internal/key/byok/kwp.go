// SPDX-License-Identifier: Apache-2.0

package byok

import (
	"bytes"
	"crypto/aes"
	"crypto/subtle"
	"encoding/binary"
	"errors"
	"fmt"
)

// aivMagic begins the alternative initial value (RFC 5649 §3); the length of
// the payload in bytes, four bytes big-endian, follows it.
const aivMagic = "\xa6\x59\x59\xa6"

const (
	halfBlock  = 8       // RFC 3394 and RFC 5649 work on 64-bit halves of an AES block
	maxPayload = 1 << 16 // far above any key; keeps the step counter small
)

// wrapPadded is AES key wrap with padding (RFC 5649 §4.1) of 1 to 65,536 bytes
// under an AES key of 16, 24 or 32 bytes.
func wrapPadded(kek, payload []byte) ([]byte, error) {
	if len(payload) == 0 || len(payload) > maxPayload {
		return nil, fmt.Errorf("payload of %d bytes, want 1 to %d", len(payload), maxPayload)
	}
	block, err := aes.NewCipher(kek)
	if err != nil {
		return nil, err
	}
	n := (len(payload) + halfBlock - 1) / halfBlock
	out := make([]byte, (n+1)*halfBlock)
	copy(out, aivMagic)
	binary.BigEndian.PutUint32(out[4:], uint32(len(payload)))
	copy(out[halfBlock:], payload)
	if n == 1 {
		block.Encrypt(out, out)
		return out, nil
	}
	var b [aes.BlockSize]byte // A ‖ R[i] of RFC 3394 §2.2.1
	defer clear(b[:])
	copy(b[:halfBlock], out)
	for j := range 6 {
		for i := 1; i <= n; i++ {
			r := out[i*halfBlock : (i+1)*halfBlock]
			copy(b[halfBlock:], r)
			block.Encrypt(b[:], b[:])
			mixStep(b[:halfBlock], n*j+i)
			copy(r, b[halfBlock:])
		}
	}
	copy(out, b[:halfBlock])
	return out, nil
}

// unwrapPadded is the inverse of wrapPadded (RFC 5649 §4.2).
func unwrapPadded(kek, wrapped []byte) ([]byte, error) {
	n := len(wrapped)/halfBlock - 1
	if len(wrapped)%halfBlock != 0 || n < 1 || n > maxPayload/halfBlock {
		return nil, fmt.Errorf("%w: wrapped payload of %d bytes", ErrMalformed, len(wrapped))
	}
	block, err := aes.NewCipher(kek)
	if err != nil {
		return nil, fmt.Errorf("%w: AES key of %d bytes", ErrMalformed, len(kek))
	}
	out := bytes.Clone(wrapped)
	if n == 1 {
		block.Decrypt(out, out)
	} else {
		var b [aes.BlockSize]byte
		defer clear(b[:])
		copy(b[:halfBlock], out)
		for j := 5; j >= 0; j-- {
			for i := n; i >= 1; i-- {
				r := out[i*halfBlock : (i+1)*halfBlock]
				mixStep(b[:halfBlock], n*j+i)
				copy(b[halfBlock:], r)
				block.Decrypt(b[:], b[:])
				copy(r, b[halfBlock:])
			}
		}
		copy(out, b[:halfBlock])
	}
	length := int(binary.BigEndian.Uint32(out[4:8]))
	padding := n*halfBlock - length
	if subtle.ConstantTimeCompare(out[:4], []byte(aivMagic)) != 1 || padding < 0 || padding >= halfBlock ||
		!bytes.Equal(out[halfBlock+length:], make([]byte, padding)) {
		clear(out)
		return nil, errors.Join(ErrMalformed, errors.New("integrity check of the wrapped payload does not hold"))
	}
	return out[halfBlock : halfBlock+length], nil
}

// mixStep is A = A ⊕ t.
func mixStep(a []byte, t int) {
	binary.BigEndian.PutUint64(a, binary.BigEndian.Uint64(a)^uint64(t))
}
