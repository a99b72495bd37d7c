// SPDX-License-Identifier: Apache-2.0

package openapi_test

import (
	"encoding/json"
	"errors"
	"testing"

	"github.com/ethereum/go-ethereum/common"

	"github.com/hsmsigner/hsmsigner/internal/abi"
	"github.com/hsmsigner/hsmsigner/internal/gateway/openapi"
)

// Whatever ABI is taken, and whatever its author says, makes valid documents.
func FuzzDocuments(f *testing.F) {
	f.Add(market, marketDocs)
	f.Add(`[{"type":"function","name":"$","inputs":[{"type":"tuple[2][]","name":"a b","components":[]}],"outputs":[],"stateMutability":"view"}]`, `{"devdoc":{"methods":{"$(()[2][])":{"returns":{"_0":"x"}}}}}`)
	f.Add(`[{"type":"function","name":"Error","inputs":[{"type":"tuple","internalType":"struct Reply","components":[{"name":"x","type":"uint256[65536]"}]}],"outputs":[],"stateMutability":"nonpayable"}]`, `{"userdoc":{"methods":{"Error((uint256[65536]))":{"notice":"\u0000\u2028"}}}}`)
	f.Fuzz(func(t *testing.T, text, docs string) {
		c, err := abi.Parse([]byte(text))
		if err != nil {
			return
		}
		s := openapi.Service{Name: docs, Chain: "1", Base: "/x/gateway"}
		of := openapi.Subject{ABI: "u0", Name: docs, Contract: c, Docs: json.RawMessage(docs), Deployable: true}
		one, err := openapi.Interface(s, of)
		if errors.Is(err, openapi.ErrTooLarge) {
			return
		}
		valid(t, read(t, one, err))
		of.Address, of.Path = &common.Address{}, "/contracts/x"
		two, err := openapi.Contract(s, of)
		valid(t, read(t, two, err))
	})
}
