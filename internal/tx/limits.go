// SPDX-License-Identifier: Apache-2.0

package tx

import (
	"fmt"
	"math/big"
	"strings"

	"github.com/ethereum/go-ethereum/params"
)

// Limits are the most that a transaction may cost. Nil or zero means no limit.
type Limits struct {
	// Legacy fills in a gas price where the caller leaves the kind of transaction
	// open, also on a chain with a base fee: for a signer that signs nothing newer.
	Legacy bool
	// EstimateTransfers asks the node what a plain transfer needs, on chains
	// that charge for its data in gas, where 21,000 are not enough.
	EstimateTransfers bool
	MaxFeePerGas      *big.Int // wei per gas; setting "max_fee_per_gas"
	MaxFee            *big.Int // wei for gas × fee and blob gas × blob fee, without the value; setting "max_fee"
}

// CheckLimits refuses fees above the limits with a *[LimitError], whoever
// chose them. Fields not filled yet are not judged.
func CheckLimits(a Args, lim Limits) error {
	price := a.GasPrice
	field := "gasPrice"
	if price == nil {
		price, field = a.MaxFeePerGas, "maxFeePerGas"
	}
	if price == nil {
		return nil
	}
	if given(lim.MaxFeePerGas) && price.Cmp(lim.MaxFeePerGas) > 0 {
		return &LimitError{
			Setting: "max_fee_per_gas",
			Msg:     fmt.Sprintf("%s of %s wei exceeds the configured max_fee_per_gas of %s wei", field, price, lim.MaxFeePerGas),
		}
	}
	if a.Gas == nil || !given(lim.MaxFee) {
		return nil
	}
	fee := new(big.Int).Mul(price, new(big.Int).SetUint64(*a.Gas))
	if a.MaxFeePerBlobGas != nil {
		blobs := max(len(a.BlobHashes), len(a.Blobs))
		blobGas := big.NewInt(int64(blobs) * params.BlobTxBlobGasPerBlob)
		fee.Add(fee, blobGas.Mul(blobGas, a.MaxFeePerBlobGas))
	}
	if fee.Cmp(lim.MaxFee) > 0 {
		return &LimitError{
			Setting: "max_fee",
			Msg:     fmt.Sprintf("tx fee (%s ether) exceeds the configured cap (%s ether)", Ether(fee), Ether(lim.MaxFee)),
		}
	}
	return nil
}

func given(n *big.Int) bool { return n != nil && n.Sign() > 0 }

// proposal judges a number that the node proposed.
func proposal(what string, wei *big.Int, lim Limits) error {
	if wei.Sign() < 0 || wei.BitLen() > 128 {
		return &LimitError{Msg: fmt.Sprintf("the node's %s of %s wei is absurd", what, excerpt(wei.String()))}
	}
	if given(lim.MaxFeePerGas) && wei.Cmp(lim.MaxFeePerGas) > 0 {
		return &LimitError{
			Setting: "max_fee_per_gas",
			Msg:     fmt.Sprintf("the node's %s of %s wei exceeds the configured max_fee_per_gas of %s wei", what, wei, lim.MaxFeePerGas),
		}
	}
	return nil
}

// Ether writes wei as a decimal number of ether, exactly.
func Ether(wei *big.Int) string {
	whole, rest := new(big.Int).QuoRem(wei, big.NewInt(params.Ether), new(big.Int))
	if rest.Sign() == 0 {
		return whole.String()
	}
	return whole.String() + "." + strings.TrimRight(fmt.Sprintf("%018d", rest), "0")
}
