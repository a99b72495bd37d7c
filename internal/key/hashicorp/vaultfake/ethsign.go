// SPDX-License-Identifier: Apache-2.0

package vaultfake

import (
	"encoding/json"
	"math/big"
	"net/http"
	"strings"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/common/hexutil"
	"github.com/ethereum/go-ethereum/common/math"
	"github.com/ethereum/go-ethereum/core/types"
)

// ethsign behaves as Kaleido's plugin does, faults and all: it drops signs,
// fills in a gas limit, signs for every chain without a chain id, and knows
// lower case only.
func (s *Server) ethsign(w http.ResponseWriter, r *http.Request, path string) {
	if path == "accounts" && r.URL.Query().Get("list") == "true" {
		all := s.Addresses()
		if len(all) == 0 {
			Refuse(w, http.StatusNotFound)
			return
		}
		s.answer(w, map[string]any{"keys": all})
		return
	}
	address, isSign := strings.CutSuffix(strings.TrimPrefix(path, "accounts/"), "/sign")
	s.mu.Lock()
	k := s.keys[address] // no other spelling
	s.mu.Unlock()
	if !isSign {
		Refuse(w, http.StatusNotFound, "1 error occurred:\n\t* unsupported path\n\n")
		return
	}
	if k == nil {
		w.WriteHeader(http.StatusNoContent)
		return
	}
	var body map[string]string
	if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
		Refuse(w, http.StatusBadRequest, "error parsing JSON")
		return
	}
	data, err := hexutil.Decode(body["data"])
	if err != nil {
		Refuse(w, http.StatusInternalServerError, "1 error occurred:\n\t* empty hex string\n\n")
		return
	}
	if body["gas"] == "" {
		body["gas"] = "90000"
	}
	var to *common.Address
	if text := body["to"]; text != "" {
		a := common.HexToAddress(text)
		to = &a
	}
	unsigned := types.NewTx(&types.LegacyTx{
		Nonce: number(body["nonce"]).Uint64(), GasPrice: number(body["gasPrice"]), Gas: number(body["gas"]).Uint64(),
		To: to, Value: number(body["value"]), Data: data,
	})
	var signer types.Signer = types.HomesteadSigner{}
	if chainID := number(body["chainId"]); chainID.Sign() != 0 {
		signer = types.NewEIP155Signer(chainID)
	}
	signed, err := types.SignTx(unsigned, signer, k)
	if err != nil {
		Refuse(w, http.StatusInternalServerError, "1 error occurred:\n\t* "+err.Error()+"\n\n")
		return
	}
	raw, _ := signed.MarshalBinary()
	s.answer(w, map[string]any{"transaction_hash": signed.Hash().Hex(), "signed_transaction": hexutil.Encode(raw)})
}

func number(text string) *big.Int {
	if text == "" {
		return new(big.Int)
	}
	n := math.MustParseBig256(text)
	return n.Abs(n)
}
