// SPDX-License-Identifier: Apache-2.0

package tx

import (
	"crypto/sha256"
	"encoding/hex"
	"math/big"
	"strconv"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/core/types"
)

// RequestHash identifies what the caller asked for: equal for arguments of
// equal meaning, however they were spelt (order of members, case of
// addresses, null or absent, data or input, value absent or zero). It is
// meant for idempotency, and must be taken before anything is filled in.
func (a Args) RequestHash() [32]byte {
	if a.Value != nil && a.Value.Sign() == 0 {
		a.Value = nil
	}
	if kind, err := a.impliedType(); err == nil && kind != undecided {
		t := uint8(kind)
		a.Type = &t
	}
	h := sha256.New()
	h.Write([]byte("hsmsigner transaction request v1\n"))
	b, _ := a.MarshalJSON()
	h.Write(b)
	return [32]byte(h.Sum(nil))
}

// MarshalJSON writes the arguments as a JSON object in canonical form: fixed
// order, absent fields left out, lower-case hexadecimal, calldata as "input".
// ParseArgs reads it back to equal arguments. The error is always nil.
func (a Args) MarshalJSON() ([]byte, error) {
	w := writer{b: []byte{'{'}}
	w.call(&a, "input")
	w.uint64("nonce", a.Nonce)
	w.big("chainId", a.ChainID)
	if a.Type != nil {
		t := uint64(*a.Type)
		w.uint64("type", &t)
	}
	writeList(&w, "blobs", a.Blobs, func(i int) []byte { return a.Blobs[i][:] })
	writeList(&w, "commitments", a.Commitments, func(i int) []byte { return a.Commitments[i][:] })
	writeList(&w, "proofs", a.Proofs, func(i int) []byte { return a.Proofs[i][:] })
	return append(w.b, '}'), nil
}

// CallJSON writes the arguments as the call object of eth_estimateGas and
// eth_call: without nonce, chain id, type and blobs, and with the calldata as
// "data", the name that old nodes know too.
func (a Args) CallJSON() []byte {
	w := writer{b: []byte{'{'}}
	w.call(&a, "data")
	return append(w.b, '}')
}

// writer writes the members of an object.
type writer struct{ b []byte }

func (w *writer) name(name string) {
	if last := w.b[len(w.b)-1]; last != '{' {
		w.b = append(w.b, ',')
	}
	w.b = append(append(append(w.b, '"'), name...), `":`...)
}

func (w *writer) bytes(b []byte) {
	w.b = append(w.b, `"0x`...)
	w.b = hex.AppendEncode(w.b, b)
	w.b = append(w.b, '"')
}

func (w *writer) big(name string, n *big.Int) {
	if n == nil {
		return
	}
	w.name(name)
	w.b = append(w.b, `"0x`...)
	w.b = n.Append(w.b, 16)
	w.b = append(w.b, '"')
}

func (w *writer) uint64(name string, n *uint64) {
	if n == nil {
		return
	}
	w.name(name)
	w.b = append(w.b, `"0x`...)
	w.b = strconv.AppendUint(w.b, *n, 16)
	w.b = append(w.b, '"')
}

func writeList[T any](w *writer, name string, list []T, at func(int) []byte) {
	if list == nil {
		return
	}
	w.name(name)
	w.b = append(w.b, '[')
	for i := range list {
		if i > 0 {
			w.b = append(w.b, ',')
		}
		w.bytes(at(i))
	}
	w.b = append(w.b, ']')
}

// call writes the members that a call object has.
func (w *writer) call(a *Args, data string) {
	w.name("from")
	w.bytes(a.From[:])
	if a.To != nil {
		w.name("to")
		w.bytes(a.To[:])
	}
	w.uint64("gas", a.Gas)
	w.big("gasPrice", a.GasPrice)
	w.big("maxFeePerGas", a.MaxFeePerGas)
	w.big("maxPriorityFeePerGas", a.MaxPriorityFeePerGas)
	w.big("value", a.Value)
	if len(a.Data) > 0 {
		w.name(data)
		w.bytes(a.Data)
	}
	if a.AccessList != nil {
		w.accessList(*a.AccessList)
	}
	w.big("maxFeePerBlobGas", a.MaxFeePerBlobGas)
	writeList(w, "blobVersionedHashes", a.BlobHashes, func(i int) []byte { return a.BlobHashes[i][:] })
	if a.AuthorizationList != nil {
		w.authorizations(a.AuthorizationList)
	}
}

func (w *writer) accessList(list types.AccessList) {
	w.name("accessList")
	w.b = append(w.b, '[')
	for i, t := range list {
		if i > 0 {
			w.b = append(w.b, ',')
		}
		w.b = append(w.b, '{')
		w.name("address")
		w.bytes(t.Address[:])
		keys := t.StorageKeys
		if keys == nil {
			keys = []common.Hash{}
		}
		writeList(w, "storageKeys", keys, func(i int) []byte { return keys[i][:] })
		w.b = append(w.b, '}')
	}
	w.b = append(w.b, ']')
}

func (w *writer) authorizations(list []types.SetCodeAuthorization) {
	w.name("authorizationList")
	w.b = append(w.b, '[')
	for i := range list {
		auth := &list[i]
		if i > 0 {
			w.b = append(w.b, ',')
		}
		w.b = append(w.b, '{')
		parity := uint64(auth.V)
		w.big("chainId", auth.ChainID.ToBig())
		w.name("address")
		w.bytes(auth.Address[:])
		w.uint64("nonce", &auth.Nonce)
		w.uint64("yParity", &parity)
		w.big("r", auth.R.ToBig())
		w.big("s", auth.S.ToBig())
		w.b = append(w.b, '}')
	}
	w.b = append(w.b, ']')
}
