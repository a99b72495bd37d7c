// SPDX-License-Identifier: Apache-2.0

package seal

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"

	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/aead/subtle"
	"github.com/tink-crypto/tink-go/v2/insecurecleartextkeyset"
	"github.com/tink-crypto/tink-go/v2/keyset"
	tinkpb "github.com/tink-crypto/tink-go/v2/proto/tink_go_proto"
	"github.com/tink-crypto/tink-go/v2/tink"
)

const keySize = 32 // bytes

// local is a key that this process holds.
type local struct {
	id   string
	aead tink.AEAD
}

func (l *local) ID() string { return l.id }

// Wrap implements [KEK].
func (l *local) Wrap(_ context.Context, key []byte, about string) ([]byte, error) {
	return l.aead.Encrypt(key, []byte(about))
}

// Unwrap implements [KEK].
func (l *local) Unwrap(_ context.Context, wrapped []byte, about string) ([]byte, error) {
	key, err := l.aead.Decrypt(wrapped, []byte(about))
	if err != nil {
		return nil, ErrDamaged // Tink says no more than that it failed
	}
	return key, nil
}

// parseKeys reads the content of a key file. Its errors show nothing of it.
func parseKeys(data []byte) ([]KEK, error) {
	data = bytes.TrimSpace(data)
	if bytes.HasPrefix(data, []byte("{")) {
		return parseKeyset(data)
	}
	var keys []KEK
	n := 0
	for line := range bytes.Lines(data) {
		n++
		line = bytes.TrimSpace(line)
		if len(line) == 0 || line[0] == '#' {
			continue
		}
		raw := make([]byte, base64.StdEncoding.DecodedLen(len(line)))
		size, err := base64.StdEncoding.Strict().Decode(raw, line)
		if err != nil || size != keySize {
			return nil, fmt.Errorf("line %d: want 32 bytes in base64, as openssl rand -base64 32 makes them", n)
		}
		key, err := newLocal(raw[:size])
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		keys = append(keys, key)
	}
	if len(keys) == 0 {
		return nil, errors.New("holds no key: want 32 bytes in base64, as openssl rand -base64 32 makes them")
	}
	return keys, nil
}

// newLocal is a key by its bytes. Its id is the same wherever the key is kept,
// and tells nothing about it, since nobody can try all keys.
func newLocal(raw []byte) (*local, error) {
	if bytes.Equal(raw, make([]byte, keySize)) {
		return nil, errors.New("is all zeros: want a random key")
	}
	cipher, err := subtle.NewAESGCM(raw)
	if err != nil {
		return nil, errors.New("is not a key of AES-256")
	}
	sum := sha256.Sum256(append([]byte("hsmsigner key-encryption key id\x00"), raw...))
	return &local{id: "local:" + hex.EncodeToString(sum[:8]), aead: cipher}, nil
}

// newKey makes a key, as a line of a key file.
func newKey() (line, id string, err error) {
	raw := make([]byte, keySize)
	_, _ = rand.Read(raw) // never fails
	defer clear(raw)
	key, err := newLocal(raw)
	if err != nil {
		return "", "", fmt.Errorf("seal: make a key: %w", err)
	}
	return base64.StdEncoding.EncodeToString(raw) + "\n", key.id, nil
}

// parseKeyset reads a Tink keyset in clear-text JSON: one KEK for each of its
// keys, the primary one first.
func parseKeyset(data []byte) ([]KEK, error) {
	const want = "want a keyset of AEAD keys in clear-text JSON, as tinkey create-keyset --key-template AES256_GCM makes it"
	handle, err := insecurecleartextkeyset.Read(keyset.NewJSONReader(bytes.NewReader(data)))
	if err != nil {
		return nil, errors.New("is not a Tink keyset: " + want) // Tink's text may quote it
	}
	cipher, err := aead.New(handle)
	if err != nil {
		return nil, errors.New("has keys of another kind: " + want)
	}
	primary := handle.KeysetInfo().GetPrimaryKeyId()
	keys := []KEK{tinkKey(primary, cipher)}
	for _, info := range handle.KeysetInfo().GetKeyInfo() {
		if id := info.GetKeyId(); id != primary && info.GetStatus() == tinkpb.KeyStatusType_ENABLED {
			keys = append(keys, tinkKey(id, cipher))
		}
	}
	return keys, nil
}

func tinkKey(id uint32, cipher tink.AEAD) *local {
	return &local{id: "tink:" + strconv.FormatUint(uint64(id), 10), aead: cipher}
}
