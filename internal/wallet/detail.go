// SPDX-License-Identifier: Apache-2.0

package wallet

import (
	"encoding/hex"
	"math/big"
	"strconv"
	"strings"

	"github.com/ethereum/go-ethereum/core/types"
	"github.com/ethereum/go-ethereum/crypto"

	"github.com/hsmsigner/hsmsigner/internal/policy"
	"github.com/hsmsigner/hsmsigner/internal/strictjson"
)

// Detail says for people what a request wants signed, as the JSON of
// audit.Intent: of a transaction the chain, recipient, value in wei, and of its
// data the size, the method's selector and the keccak256; of a message its size;
// of typed data its domain and primary type. What is in it that may be private
// stands there as a hash at most.
func (w *Wallet) Detail(r policy.Request) string {
	b := make([]byte, 0, 256)
	b = append(b, `{"chain":"`...)
	b = w.cfg.ChainID.Append(b, 10)
	b = append(b, '"')
	switch {
	case r.Transaction != nil:
		b = appendTransaction(b, r.Transaction)
	case r.TypedData != nil:
		d := r.TypedData.Domain
		b = appendText(b, "domain", d.Name)
		b = appendText(b, "version", d.Version)
		b = appendText(b, "contract", d.VerifyingContract)
		b = appendText(b, "type", r.TypedData.PrimaryType)
	case r.Document != nil:
		b = appendText(b, "name", r.Document.Name)
		b = appendText(b, "media_type", r.Document.MediaType)
		b = appendText(b, "sha256", hex.EncodeToString(r.Document.SHA256[:]))
		b = appendNumber(b, "bytes", r.Document.Size)
	default:
		b = appendNumber(b, "bytes", int64(len(r.Message)))
	}
	return string(append(b, '}'))
}

func appendTransaction(b []byte, t *types.Transaction) []byte {
	if to := t.To(); to != nil {
		b = append(b, `,"to":"`...)
		b = append(b, to.Hex()...)
		b = append(b, '"')
	} else {
		b = append(b, `,"create":true`...)
	}
	b = append(b, `,"value":"`...)
	b = decimal(b, t.Value())
	b = append(b, '"')
	if t.Type() != types.LegacyTxType {
		b = appendNumber(b, "type", int64(t.Type()))
	}
	data := t.Data()
	if len(data) == 0 {
		return b
	}
	if t.To() != nil && len(data) >= 4 {
		b = append(b, `,"method":"0x`...)
		b = hex.AppendEncode(b, data[:4])
		b = append(b, '"')
	}
	b = appendNumber(b, "bytes", int64(len(data)))
	b = append(b, `,"data":"0x`...)
	b = hex.AppendEncode(b, crypto.Keccak256(data))
	return append(b, '"')
}

func decimal(b []byte, n *big.Int) []byte {
	if n == nil {
		return append(b, '0')
	}
	return n.Append(b, 10)
}

func appendNumber(b []byte, name string, n int64) []byte {
	b = append(b, `,"`...)
	b = append(b, name...)
	b = append(b, `":`...)
	return strconv.AppendInt(b, n, 10)
}

// maxDetail is how much of a text that a caller chose is kept, in bytes.
const maxDetail = 128

func appendText(b []byte, name, text string) []byte {
	if text == "" {
		return b
	}
	if len(text) > maxDetail {
		text = text[:maxDetail] + "…"
	}
	text = strings.ToValidUTF8(text, "")
	b = append(b, `,"`...)
	b = append(b, name...)
	b = append(b, `":`...)
	return strictjson.AppendString(b, text)
}
