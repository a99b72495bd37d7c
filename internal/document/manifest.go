// SPDX-License-Identifier: Apache-2.0

package document

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/ethereum/go-ethereum/accounts"
	"github.com/ethereum/go-ethereum/common"

	"github.com/hsmsigner/hsmsigner/internal/strictjson"
)

// Version is what manifests say they are.
const Version = "hsmsigner-document-v1"

// timeForm is RFC 3339 in UTC, with milliseconds always.
const timeForm = "2006-01-02T15:04:05.000Z"

// Manifest says who signed which document, and when.
type Manifest struct {
	Document
	Signer common.Address
	Wallet string    // as in the audit records: the service's id, or the name of a declared wallet
	Time   time.Time // by the signer's clock, in whole milliseconds, UTC
}

// NewManifest makes the manifest that is to be signed. An error is a
// [*FieldError].
func NewManifest(d Document, signer common.Address, wallet string, at time.Time) (Manifest, error) {
	if err := d.Check(); err != nil {
		return Manifest{}, err
	}
	return Manifest{Document: d, Signer: signer, Wallet: wallet, Time: at.UTC().Truncate(time.Millisecond)}, nil
}

// Bytes writes the manifest in the one form that it has: JSON as RFC 8785 (JCS)
// wants it. Members are in the order of their names, there are no spaces, and
// strings have the fewest escapes. It is what is signed.
func (m Manifest) Bytes() []byte {
	b := strictjson.AppendString([]byte(`{"media_type":`), m.MediaType)
	b = strictjson.AppendString(append(b, `,"name":`...), m.Name)
	b = strictjson.AppendString(append(b, `,"sha256":`...), hex.EncodeToString(m.SHA256[:]))
	b = strictjson.AppendString(append(b, `,"signer":`...), m.Signer.Hex())
	b = strconv.AppendInt(append(b, `,"size":`...), m.Size, 10)
	b = strictjson.AppendString(append(b, `,"time":`...), m.Time.UTC().Format(timeForm))
	b = strictjson.AppendString(append(b, `,"version":`...), Version)
	b = strictjson.AppendString(append(b, `,"wallet":`...), m.Wallet)
	return append(b, '}')
}

// ParseManifest reads a manifest. Exactly the bytes that [Manifest.Bytes] writes
// are one.
func ParseManifest(text []byte) (Manifest, error) {
	var m Manifest
	v, err := strictjson.Parse(text)
	if err != nil {
		return m, fmt.Errorf("manifest: %w", err)
	}
	if v.Get("version").Text != Version {
		return m, errors.New("manifest: is of another version: want " + Version)
	}
	sum, err := hex.DecodeString(v.Get("sha256").Text)
	if err != nil || len(sum) != sha256.Size {
		return m, errors.New("manifest: sha256: want 64 hex digits")
	}
	if m.Size, err = strconv.ParseInt(v.Get("size").Text, 10, 64); err != nil {
		return m, errors.New("manifest: size: want a whole number")
	}
	if m.Time, err = time.Parse(timeForm, v.Get("time").Text); err != nil {
		return m, errors.New("manifest: time: want a time like 2026-01-31T12:00:00.000Z")
	}
	m.SHA256, m.Name, m.MediaType = [32]byte(sum), v.Get("name").Text, v.Get("media_type").Text
	m.Signer, m.Wallet = common.HexToAddress(v.Get("signer").Text), v.Get("wallet").Text
	if err := m.Check(); err != nil {
		return m, fmt.Errorf("manifest: %w", err)
	}
	// Whatever has another member, another order or another way of writing a value
	// is not what comes out again.
	if !bytes.Equal(m.Bytes(), text) {
		return m, errors.New("manifest: is not written in the one form that it has (RFC 8785, no other members)")
	}
	return m, nil
}

// Hash is the SHA-256 of the manifest's bytes: the subject of the audit records.
func (m Manifest) Hash() [32]byte { return sha256.Sum256(m.Bytes()) }

// Subject is Hash as it stands in audit records: 0x and 64 hex digits.
func (m Manifest) Subject() string { return common.Hash(m.Hash()).Hex() }

// JWSDigest is what a key signs for the JWS: the SHA-256 of a text that begins
// with the header's base64url.
func (m Manifest) JWSDigest() common.Hash { return sha256.Sum256([]byte(m.signingInput())) }

// EIP191Digest is what a key signs for the personal message.
func (m Manifest) EIP191Digest() common.Hash { return common.Hash(accounts.TextHash(m.Bytes())) }

// Resembles reports whether a text could be taken for a manifest. Who may have
// messages signed may not for that reason have them signed that look like one.
func Resembles(text []byte) bool { return bytes.Contains(text, []byte(Version)) }
