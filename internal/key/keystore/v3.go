// SPDX-License-Identifier: Apache-2.0

package keystore

import (
	"encoding/hex"
	"errors"
	"fmt"
	"math/bits"
	"strconv"
	"strings"

	"github.com/ethereum/go-ethereum/common"

	"github.com/hsmsigner/hsmsigner/internal/strictjson"
)

// Errors of a key file. Each is wrapped with what is wrong and what would be
// right, and never carries a secret.
var (
	// ErrFormat: the file is not a Web3 Secret Storage version 3 file.
	ErrFormat = errors.New("not a version 3 key file")
	// ErrUnsupported: the file names a version, cipher, kdf or cost that this
	// package does not take.
	ErrUnsupported = errors.New("unsupported key file")
	// ErrPassword: the MAC does not match, so the password is wrong or the
	// file was altered: nobody can tell which.
	ErrPassword = errors.New("wrong password, or the file was altered")
)

// The bounds of what a key file may ask for. They stop a hostile file from
// eating the machine; every known wallet program stays far below them.
const (
	maxFileSize     = 64 << 10   // bytes
	maxScryptMemory = 1 << 30    // bytes; geth's standard takes 256 MiB
	maxScryptWork   = 1 << 25    // N·r·p; geth's standard is 2^21, about a second
	maxIterations   = 10_000_000 // of pbkdf2; the usual number is 262,144
	keySize         = 32         // bytes of a secp256k1 private key
	minDerivedKey   = 32         // bytes: 16 for the cipher, 16 for the MAC
	maxDerivedKey   = 64         // bytes; every further block costs all iterations again
	maxSalt         = 1 << 10    // bytes
)

// v3File is a parsed key file: everything but the secret.
type v3File struct {
	address    common.Address
	hasAddress bool
	iv         [16]byte
	ciphertext []byte
	mac        [32]byte
	kdf        kdf
}

// kdf turns a password into a derived key: either scrypt (RFC 7914) or PBKDF2
// with HMAC-SHA-256 (RFC 8018).
type kdf struct {
	salt   []byte
	length int          // bytes to derive
	scrypt ScryptParams // zero if iterations is not
	pbkdf2 int          // iterations; zero for scrypt
}

// ScryptParams is the cost of scrypt (RFC 7914 §2). It takes 128·N·r bytes of
// memory and time in proportion to N·r·p.
type ScryptParams struct {
	N, R, P int
}

// The costs that go-ethereum uses.
var (
	// StandardScrypt takes 256 MiB and about a second.
	StandardScrypt = ScryptParams{N: 1 << 18, R: 8, P: 1}
	// LightScrypt takes 4 MiB and about a tenth of that time. It is for tests
	// and demonstrations.
	LightScrypt = ScryptParams{N: 1 << 12, R: 8, P: 6}
)

// memory is what a derivation takes, in bytes, for parameters that passed check.
func (p ScryptParams) memory() int { return 128 * p.N * p.R }

// check returns an error that wraps ErrUnsupported if p is unsound or too dear.
func (p ScryptParams) check() error {
	if p.N < 2 || p.N&(p.N-1) != 0 || p.R < 1 || p.P < 1 {
		return fmt.Errorf("%w: scrypt n=%d r=%d p=%d; n must be a power of two above 1, r and p at least 1", ErrUnsupported, p.N, p.R, p.P)
	}
	// Overflow of these products must not look like a small cost.
	hi, cells := bits.Mul64(uint64(p.N), uint64(p.R))
	hi2, blocks := bits.Mul64(uint64(p.P), uint64(p.R))
	if hi != 0 || hi2 != 0 || cells > maxScryptMemory/128 || blocks > maxScryptMemory/128-cells {
		return fmt.Errorf("%w: scrypt n=%d r=%d p=%d wants more than 1 GiB of memory", ErrUnsupported, p.N, p.R, p.P)
	}
	if hi, work := bits.Mul64(cells, uint64(p.P)); hi != 0 || work > maxScryptWork {
		return fmt.Errorf("%w: scrypt n=%d r=%d p=%d takes more than 16 times the usual work", ErrUnsupported, p.N, p.R, p.P)
	}
	return nil
}

// parseV3 reads a key file (Web3 Secret Storage Definition, version 3). Member
// names are exact, but for "Crypto", which many wallets write. Members that it
// does not know are left alone.
func parseV3(data []byte) (*v3File, error) {
	if len(data) > maxFileSize {
		return nil, fmt.Errorf("%w: larger than 64 KiB", ErrFormat)
	}
	if len(strings.TrimSpace(string(data))) == 0 {
		return nil, fmt.Errorf("%w: empty", ErrFormat)
	}
	doc, err := strictjson.Parse(data)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrFormat, err)
	}
	if doc.Kind != strictjson.Object {
		return nil, fmt.Errorf("%w: %s, want an object", ErrFormat, doc.Kind)
	}
	if v := doc.Get("version"); v.Kind == strictjson.Absent {
		return nil, fmt.Errorf("%w: no version", ErrFormat)
	} else if v.Kind != strictjson.Number || v.Text != "3" {
		return nil, fmt.Errorf("%w: version %s, want 3", ErrUnsupported, shown(v))
	}
	f := new(v3File)
	if a := doc.Get("address"); a.Present() && a.Text != "" {
		b, err := hexBytes(a, 20, 20)
		if err != nil {
			return nil, fmt.Errorf("%w: address %w", ErrFormat, err)
		}
		if f.address, f.hasAddress = common.Address(b), true; f.address == (common.Address{}) {
			return nil, fmt.Errorf("%w: address is zero; correct it or leave it out", ErrFormat)
		}
	}
	crypto, other := doc.Get("crypto"), doc.Get("Crypto")
	if crypto.Present() && other.Present() {
		return nil, fmt.Errorf("%w: both crypto and Crypto", ErrFormat)
	}
	if other.Present() {
		crypto = other
	}
	if crypto.Kind != strictjson.Object {
		return nil, fmt.Errorf("%w: crypto is %s, want an object", ErrFormat, crypto.Kind)
	}
	if err := f.parseCrypto(crypto); err != nil {
		return nil, err
	}
	return f, nil
}

func (f *v3File) parseCrypto(crypto strictjson.Value) error {
	if c := crypto.Get("cipher"); c.Text != "aes-128-ctr" {
		return fmt.Errorf("%w: cipher %s, want aes-128-ctr", ErrUnsupported, shown(c))
	}
	iv, err := hexBytes(crypto.Get("cipherparams").Get("iv"), 16, 16)
	if err != nil {
		return fmt.Errorf("%w: iv %w", ErrFormat, err)
	}
	f.iv = [16]byte(iv)
	// Old wallets left out the leading zero bytes of the key.
	if f.ciphertext, err = hexBytes(crypto.Get("ciphertext"), 1, keySize); err != nil {
		return fmt.Errorf("%w: ciphertext %w", ErrFormat, err)
	}
	mac, err := hexBytes(crypto.Get("mac"), 32, 32)
	if err != nil {
		return fmt.Errorf("%w: mac %w", ErrFormat, err)
	}
	f.mac = [32]byte(mac)
	return f.kdf.parse(crypto.Get("kdf"), crypto.Get("kdfparams"))
}

func (k *kdf) parse(name, params strictjson.Value) error {
	var err error
	number := func(member string) int {
		n, e := strconv.ParseInt(params.Get(member).Text, 10, 32)
		if err == nil && (e != nil || params.Get(member).Kind != strictjson.Number) {
			err = fmt.Errorf("%w: kdfparams.%s is %s, want a whole number below 2^31", ErrFormat, member, shown(params.Get(member)))
		}
		return int(n)
	}
	switch name.Text {
	case "scrypt":
		k.scrypt = ScryptParams{N: number("n"), R: number("r"), P: number("p")}
		if err == nil {
			err = k.scrypt.check()
		}
	case "pbkdf2":
		k.pbkdf2 = number("c")
		if prf := params.Get("prf"); prf.Text != "hmac-sha256" {
			return fmt.Errorf("%w: prf %s, want hmac-sha256", ErrUnsupported, shown(prf))
		}
		if err == nil && (k.pbkdf2 < 1 || k.pbkdf2 > maxIterations) {
			err = fmt.Errorf("%w: pbkdf2 c=%d, want 1 to %d", ErrUnsupported, k.pbkdf2, maxIterations)
		}
	default:
		return fmt.Errorf("%w: kdf %s, want scrypt or pbkdf2", ErrUnsupported, shown(name))
	}
	k.length = number("dklen")
	if err != nil {
		return err
	}
	if k.length < minDerivedKey || k.length > maxDerivedKey {
		return fmt.Errorf("%w: dklen %d, want %d to %d", ErrUnsupported, k.length, minDerivedKey, maxDerivedKey)
	}
	if k.salt, err = hexBytes(params.Get("salt"), 1, maxSalt); err != nil {
		return fmt.Errorf("%w: salt %w", ErrFormat, err)
	}
	return nil
}

// hexBytes reads from shortest to longest bytes of hex, with or without 0x. The
// error does not repeat the value.
func hexBytes(v strictjson.Value, shortest, longest int) ([]byte, error) {
	if v.Kind != strictjson.String {
		return nil, fmt.Errorf("is %s, want a string of hex digits", v.Kind)
	}
	b, err := hex.DecodeString(strings.TrimPrefix(v.Text, "0x"))
	switch {
	case err != nil:
		return nil, errors.New("is not hex")
	case len(b) >= shortest && len(b) <= longest:
		return b, nil
	case shortest == longest:
		return nil, fmt.Errorf("has %d bytes, want %d", len(b), longest)
	default:
		return nil, fmt.Errorf("has %d bytes, want %d to %d", len(b), shortest, longest)
	}
}

// shown is a value of the file as an error may quote it: short, and on one line.
func shown(v strictjson.Value) string {
	if v.Kind != strictjson.String && v.Kind != strictjson.Number {
		return v.Kind.String()
	}
	text := v.Text
	if len(text) > 32 {
		text = text[:32] + "…"
	}
	if v.Kind == strictjson.String {
		return strconv.QuoteToASCII(text)
	}
	return text
}
