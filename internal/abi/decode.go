// SPDX-License-Identifier: Apache-2.0

package abi

import (
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math/big"
	"math/bits"
	"strconv"
	"unicode/utf8"

	"github.com/hsmsigner/hsmsigner/internal/strictjson"
)

// What is decoded may be hostile: offsets may point several times to the same bytes,
// and by that a few hundred bytes can stand for a value of gigabytes. So the words that
// are read and the bytes that are written are counted. Data without shared parts stays
// below both, unless its contract's names are longer than the values.
const (
	maxData   = 4 << 20 // bytes
	someWords = 8192    // that may be read however short the data is
	reread    = 2       // how often each word of the data may be read besides
	someText  = 1 << 20 // bytes of JSON that may be written however short the data is
	growth    = 16      // bytes that may be written besides, for each byte of the data
)

// DecodeOutputs decodes what a call of the method returned: an object of the outputs
// by their keys, in order. The error is a [*DataError].
func (m *Method) DecodeOutputs(data []byte) (json.RawMessage, error) {
	return Decode(m.Outputs, data)
}

// DecodeInputs decodes the data of a call of the method: an object of the arguments
// by their keys, in order. The error is a [*DataError].
func (m *Method) DecodeInputs(calldata []byte) (json.RawMessage, error) {
	selector := m.Selector()
	if len(calldata) < 4 || [4]byte(calldata[:4]) != selector {
		return nil, &DataError{Msg: fmt.Sprintf("it does not begin with 0x%x, the selector of %s", selector, excerpt(m.Signature()))}
	}
	return Decode(m.Inputs, calldata[4:])
}

// Decode decodes values that were encoded as one tuple: an object of them by the
// parameters' keys, in order. Offsets may point anywhere within data, and what no
// offset leads to is ignored, as by Solidity's decoder. The error is a [*DataError].
func Decode(params []Param, data []byte) (json.RawMessage, error) {
	d, err := newDecoder(data)
	if err != nil {
		return nil, err
	}
	if err := d.tuple(data, params); err != nil {
		return nil, err
	}
	return d.out, nil
}

// decoder writes JSON as it reads.
type decoder struct {
	out   []byte
	words int // that may still be read
	most  int // bytes of out
}

func newDecoder(data []byte) (*decoder, error) {
	if len(data) > maxData {
		return nil, &DataError{Msg: fmt.Sprintf("longer than %d bytes", maxData)}
	}
	return &decoder{words: someWords + reread*(len(data)/word), most: someText + growth*len(data)}, nil
}

func (d *decoder) spend(words int) error {
	if d.words -= words; d.words < 0 || len(d.out) > d.most {
		return &DataError{Msg: "its offsets point to the same bytes too often, so that it stands for far more than it holds"}
	}
	return nil
}

// value decodes the value whose head is at the given place among others, which begin
// with data: where offsets count from.
func (d *decoder) value(data []byte, at int, t *Type) error {
	if !t.dynamic {
		if at > len(data) || len(data)-at < t.head {
			return tooShort(t.head, len(data)-at)
		}
		return d.body(data[at:], t)
	}
	offset, err := d.length(data, at)
	if err != nil {
		return err
	}
	if offset > uint64(len(data)) {
		return &DataError{Msg: fmt.Sprintf("its offset, %d, is past the end of the data", offset)}
	}
	return d.body(data[offset:], t)
}

func tooShort(want, have int) error {
	return &DataError{Msg: fmt.Sprintf("want %d bytes, there are %d", want, max(have, 0))}
}

// length reads an offset or a length. What does not fit 64 bits is given as the
// largest that does, which is past any end.
func (d *decoder) length(data []byte, at int) (uint64, error) {
	if err := d.spend(1); err != nil {
		return 0, err
	}
	if at > len(data) || len(data)-at < word {
		return 0, tooShort(word, len(data)-at)
	}
	for _, b := range data[at : at+word-8] {
		if b != 0 {
			return 1<<64 - 1, nil
		}
	}
	return binary.BigEndian.Uint64(data[at+word-8:]), nil
}

// body decodes the value that data begins with.
func (d *decoder) body(data []byte, t *Type) error {
	switch t.Kind {
	case Tuple:
		return d.tuple(data, t.Members)
	case FixedArray:
		return d.elems(data, t, t.Size)
	case Array:
		n, err := d.length(data, 0)
		if err != nil {
			return err
		}
		// Elements may take no bytes, and there can be no more of those than may be read.
		if data = data[word:]; n > uint64(len(data))/uint64(max(t.Elem.head, 1)) && (t.Elem.head > 0 || n > uint64(d.words)) {
			return &DataError{Msg: fmt.Sprintf("its length, %d, is more than the data holds", n)}
		}
		return d.elems(data, t, int(n))
	case Bytes, String:
		n, err := d.length(data, 0)
		if err != nil {
			return err
		}
		if data = data[word:]; n > uint64(len(data)) {
			return &DataError{Msg: fmt.Sprintf("its length, %d, is more than the data holds", n)}
		}
		if err := d.spend(int(n) / word); err != nil {
			return err
		}
		d.blob(t, data[:n])
		return nil
	default:
		if err := d.spend(1); err != nil {
			return err
		}
		return d.primitive(data[:word], t)
	}
}

func (d *decoder) tuple(data []byte, members []Param) error {
	// What has no bytes would otherwise cost nothing.
	if len(members) == 0 {
		if err := d.spend(1); err != nil {
			return err
		}
	}
	d.out = append(d.out, '{')
	at := 0
	for i := range members {
		m := &members[i]
		if i > 0 {
			d.out = append(d.out, ',')
		}
		d.out = append(strictjson.AppendString(d.out, m.Key), ':')
		if err := d.value(data, at, m.Type); err != nil {
			return within(m.Key, err)
		}
		at += m.Type.head
	}
	d.out = append(d.out, '}')
	return nil
}

func (d *decoder) elems(data []byte, t *Type, n int) error {
	if n == 0 {
		if err := d.spend(1); err != nil {
			return err
		}
	}
	d.out = append(d.out, '[')
	for i := range n {
		if i > 0 {
			d.out = append(d.out, ',')
		}
		if err := d.value(data, i*t.Elem.head, t.Elem); err != nil {
			return within("["+strconv.Itoa(i)+"]", err)
		}
	}
	d.out = append(d.out, ']')
	return nil
}

func (d *decoder) blob(t *Type, b []byte) {
	switch {
	case t.Kind == Bytes:
		d.hex(b)
	case utf8.Valid(b):
		d.out = strictjson.AppendString(d.out, string(b))
	default:
		d.out = append(d.out, `{"hex":`...)
		d.hex(b)
		d.out = append(d.out, '}')
	}
}

func (d *decoder) hex(b []byte) {
	d.out = append(d.out, `"0x`...)
	d.out = hex.AppendEncode(d.out, b)
	d.out = append(d.out, '"')
}

// primitive decodes a word. Bits that the type does not have must be those that an
// encoder writes, as Solidity's own decoder wants it.
func (d *decoder) primitive(w []byte, t *Type) error {
	switch t.Kind {
	case Bool:
		if !zero(w[:word-1]) || w[word-1] > 1 {
			return unclean(t, w)
		}
		d.out = strconv.AppendBool(d.out, w[word-1] == 1)
	case Address:
		if !zero(w[:12]) {
			return unclean(t, w)
		}
		d.hex(w[12:])
	case FixedBytes:
		if !zero(w[t.Size:]) {
			return unclean(t, w)
		}
		d.hex(w[:t.Size])
	default:
		if n := binary.BigEndian.Uint64(w[word-8:]); zero(w[:word-8]) && bits.Len64(n) < t.Size {
			d.out = append(d.out, '"')
			d.out = strconv.AppendUint(d.out, n, 10)
			d.out = append(d.out, '"')
			return nil
		}
		n := new(big.Int).SetBytes(w)
		if t.Kind == Int && w[0] >= 0x80 {
			n.Sub(n, two256)
		}
		if !fits(t, n) {
			return unclean(t, w)
		}
		d.out = append(d.out, '"')
		d.out = n.Append(d.out, 10)
		d.out = append(d.out, '"')
	}
	return nil
}

func zero(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}

func unclean(t *Type, w []byte) error {
	return &DataError{Msg: fmt.Sprintf("0x%x is no value of type %s", w, t.text)}
}
