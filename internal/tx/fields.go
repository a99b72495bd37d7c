// SPDX-License-Identifier: Apache-2.0

package tx

import (
	"encoding/hex"
	"errors"
	"fmt"
	"math/big"
	"strings"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/common/hexutil"
	"github.com/ethereum/go-ethereum/core/types"
	"github.com/ethereum/go-ethereum/crypto/kzg4844"
	"github.com/ethereum/go-ethereum/params"
	"github.com/holiman/uint256"

	"github.com/hsmsigner/hsmsigner/internal/strictjson"
)

// maxData is the most calldata that is read: more than fits into a
// transaction that nodes take.
const maxData = MaxSize

// reader reads members of one object. It keeps the first error, so that a
// row of reads needs one check.
type reader struct {
	v    strictjson.Value
	path string // prefix of field names in errors, such as "accessList[0]."
	err  *ArgError
}

func (r *reader) fail(field, format string, args ...any) {
	if r.err == nil {
		r.err = argErr(r.path+field, format, args...)
	}
}

// text returns the member's string, or false if it is absent or no string.
func (r *reader) text(field, want string) (string, bool) {
	v := r.v.Get(field)
	if !v.Present() {
		return "", false
	}
	if v.Kind != strictjson.String {
		r.fail(field, "want %s, got %s", want, v.Kind)
		return "", false
	}
	return v.Text, true
}

const wantQuantity = `a hexadecimal quantity such as "0x1a"`

// quantityFault says what is wrong with a quantity in words for the caller.
func quantityFault(s string, err error) string {
	switch {
	case strings.HasPrefix(s, "-"):
		return fmt.Sprintf("must not be negative; want %s, got %q", wantQuantity, excerpt(s))
	case errors.Is(err, hexutil.ErrLeadingZero):
		return fmt.Sprintf("must not have leading zeros; want %s, got %q", wantQuantity, excerpt(s))
	case errors.Is(err, hexutil.ErrBig256Range):
		return "larger than 256 bits"
	case errors.Is(err, hexutil.ErrUint64Range):
		return "larger than 64 bits"
	case s != "" && strings.Trim(s, "0123456789") == "":
		return fmt.Sprintf("want %s, got the decimal string %q", wantQuantity, excerpt(s))
	}
	return fmt.Sprintf("want %s, got %q", wantQuantity, excerpt(s))
}

func (r *reader) big(field string) *big.Int {
	s, ok := r.text(field, wantQuantity)
	if !ok {
		return nil
	}
	n, err := hexutil.DecodeBig(s)
	if err != nil {
		r.fail(field, "%s", quantityFault(s, err))
		return nil
	}
	return n
}

func (r *reader) uint64(field string) *uint64 {
	s, ok := r.text(field, wantQuantity)
	if !ok {
		return nil
	}
	n, err := hexutil.DecodeUint64(s)
	if err != nil {
		r.fail(field, "%s", quantityFault(s, err))
		return nil
	}
	return &n
}

func (r *reader) txType(field string) *uint8 {
	n := r.uint64(field)
	if n == nil {
		return nil
	}
	if *n > types.SetCodeTxType {
		r.fail(field, "transaction type %#x is not supported; want 0x0 to 0x4", *n)
		return nil
	}
	t := uint8(*n)
	return &t
}

// bytes reads DATA. The empty string counts as empty data, as it does for
// every node: some old clients send it.
func (r *reader) bytes(field string) []byte {
	const want = `hexadecimal data such as "0x" or "0x60fe"`
	s, ok := r.text(field, want)
	if !ok {
		return nil
	}
	if s == "" {
		return []byte{}
	}
	if len(s) > 2+2*maxData {
		r.fail(field, "%d bytes are more than fit into a transaction (%d)", len(s)/2-1, maxData)
		return nil
	}
	b, err := hexutil.Decode(s)
	if err != nil {
		if errors.Is(err, hexutil.ErrOddLength) {
			r.fail(field, "want whole bytes, got an odd number of hexadecimal digits")
		} else {
			r.fail(field, "want %s, got %q", want, excerpt(s))
		}
		return nil
	}
	return b
}

// address reads an address of 20 bytes. Letters of one case carry no
// checksum; mixed case must match EIP-55, since a wrong checksum is the mark
// of a mistyped address. bare allows the 0x to be missing.
func (r *reader) address(field string, bare bool) *common.Address {
	const want = "an address, 0x and 40 hexadecimal digits"
	s, ok := r.text(field, want)
	if !ok {
		return nil
	}
	digits, prefixed := strings.CutPrefix(s, "0x")
	if !prefixed && !bare {
		r.fail(field, "want %s, got %q", want, excerpt(s))
		return nil
	}
	raw, err := hex.DecodeString(digits)
	if err != nil || len(raw) != common.AddressLength {
		r.fail(field, "want %s, got %q", want, excerpt(s))
		return nil
	}
	a := common.Address(raw)
	if digits != strings.ToLower(digits) && digits != strings.ToUpper(digits) && a.Hex()[2:] != digits {
		r.fail(field, "%q has a wrong checksum (EIP-55); check for a typing error, or write it in lower case", s)
		return nil
	}
	return &a
}

// fixed reads exactly len(out) bytes of 0x-prefixed hexadecimal data.
func fixed(s string, out []byte) error {
	digits, ok := strings.CutPrefix(s, "0x")
	if !ok || len(digits) != 2*len(out) {
		return fmt.Errorf("want %d bytes, 0x and %d hexadecimal digits, got %q", len(out), 2*len(out), excerpt(s))
	}
	if _, err := hex.Decode(out, []byte(digits)); err != nil {
		return fmt.Errorf("want %d bytes, 0x and %d hexadecimal digits, got %q", len(out), 2*len(out), excerpt(s))
	}
	return nil
}

// list returns the elements of an array member, nil if it is absent, and an
// empty slice if it is empty.
func (r *reader) list(field, what string, most int) []strictjson.Value {
	v := r.v.Get(field)
	if !v.Present() {
		return nil
	}
	if v.Kind != strictjson.Array {
		r.fail(field, "want an array of %s, got %s", what, v.Kind)
		return nil
	}
	if len(v.Elems) > most {
		r.fail(field, "want at most %d %s, got %d", most, what, len(v.Elems))
		return nil
	}
	if v.Elems == nil {
		return []strictjson.Value{}
	}
	return v.Elems
}

// fixedList reads an array of equally long byte strings.
func fixedList[T kzg4844.Blob | kzg4844.Commitment | kzg4844.Proof | common.Hash](r *reader, field string, most int) []T {
	elems := r.list(field, "byte strings", most)
	if elems == nil {
		return nil
	}
	out := make([]T, len(elems))
	for i, e := range elems {
		if e.Kind != strictjson.String {
			r.fail(fmt.Sprintf("%s[%d]", field, i), "want a byte string, got %s", e.Kind)
			return nil
		}
		if err := fixed(e.Text, bytesOf(&out[i])); err != nil {
			r.fail(fmt.Sprintf("%s[%d]", field, i), "%s", err)
			return nil
		}
	}
	return out
}

func bytesOf(v any) []byte {
	switch v := v.(type) {
	case *kzg4844.Blob:
		return v[:]
	case *kzg4844.Commitment:
		return v[:]
	case *kzg4844.Proof:
		return v[:]
	case *common.Hash:
		return v[:]
	}
	return nil
}

func (r *reader) hashes(field string) []common.Hash {
	list := fixedList[common.Hash](r, field, params.BlobTxMaxBlobs)
	for i, h := range list {
		if !kzg4844.IsValidVersionedHash(h[:]) {
			r.fail(fmt.Sprintf("%s[%d]", field, i), "want a versioned hash, which begins with 0x01, got %s", h)
			return nil
		}
	}
	return list
}

// object returns a reader of list element i, after checking that it has
// exactly the members named.
func (r *reader) object(field string, i int, v strictjson.Value, names ...string) *reader {
	path := fmt.Sprintf("%s[%d]", field, i)
	if v.Kind != strictjson.Object {
		r.fail(path, "want an object, got %s", v.Kind)
		return nil
	}
	for _, m := range v.Members {
		known := false
		for _, n := range names {
			known = known || n == m.Name
		}
		if !known {
			r.fail(path+"."+excerpt(m.Name), "unknown field")
			return nil
		}
	}
	for _, n := range names {
		if !v.Get(n).Present() {
			r.fail(path+"."+n, "missing")
			return nil
		}
	}
	return &reader{v: v, path: r.path + path + "."}
}

func (r *reader) accessList(field string) *types.AccessList {
	elems := r.list(field, "objects with address and storageKeys", maxData/common.AddressLength)
	if elems == nil {
		return nil
	}
	out := make(types.AccessList, len(elems))
	for i, e := range elems {
		o := r.object(field, i, e, "address", "storageKeys")
		if o == nil {
			return nil
		}
		addr := o.address("address", false)
		keys := fixedList[common.Hash](o, "storageKeys", maxData/common.HashLength)
		if o.err != nil {
			r.keep(o.err)
			return nil
		}
		out[i] = types.AccessTuple{Address: *addr, StorageKeys: keys}
	}
	return &out
}

func (r *reader) authorizations(field string) []types.SetCodeAuthorization {
	elems := r.list(field, "signed authorizations", maxData/100)
	if elems == nil {
		return nil
	}
	out := make([]types.SetCodeAuthorization, len(elems))
	for i, e := range elems {
		o := r.object(field, i, e, "chainId", "address", "nonce", "yParity", "r", "s")
		if o == nil {
			return nil
		}
		chain, addr, nonce := o.big("chainId"), o.address("address", false), o.uint64("nonce")
		parity, sigR, sigS := o.uint64("yParity"), o.word("r"), o.word("s")
		if parity != nil && *parity > 1 {
			o.fail("yParity", "want 0x0 or 0x1, got %#x", *parity)
		}
		if o.err != nil {
			r.keep(o.err)
			return nil
		}
		out[i] = types.SetCodeAuthorization{
			ChainID: *uint256.MustFromBig(chain), Address: *addr, Nonce: *nonce,
			V: uint8(*parity), R: *sigR, S: *sigS,
		}
	}
	return out
}

// word reads half of a signature: clients write it as a quantity or as 32 bytes.
func (r *reader) word(field string) *uint256.Int {
	if s := r.v.Get(field); s.Kind == strictjson.String && len(s.Text) == 66 {
		var b [32]byte
		if fixed(s.Text, b[:]) == nil {
			return new(uint256.Int).SetBytes32(b[:])
		}
	}
	n := r.big(field)
	if n == nil {
		return nil
	}
	return uint256.MustFromBig(n)
}

func (r *reader) keep(err *ArgError) {
	if r.err == nil {
		r.err = err
	}
}
