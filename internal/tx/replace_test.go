// SPDX-License-Identifier: Apache-2.0

package tx

import (
	"errors"
	"fmt"
	"math/big"
	"testing"

	"github.com/ethereum/go-ethereum/common"
)

func fees(fee, tip int64) Fees {
	return Fees{MaxFeePerGas: big.NewInt(fee), MaxPriorityFeePerGas: big.NewInt(tip)}
}

func TestReplacementNeedsTenPercentMore(t *testing.T) {
	list := oneOfEachType(t)
	old := list[2] // fee 100, tip 10
	for _, tt := range []struct {
		fee, tip int64
		ok       bool
	}{{110, 11, true}, {109, 11, false}, {110, 10, false}, {200, 10, false}, {100, 11, false}, {1000, 1000, true}} {
		if got := BumpOK(old, WithFees(old, fees(tt.fee, tt.tip))); got != tt.ok {
			t.Errorf("fee %d, tip %d: %v, want %v", tt.fee, tt.tip, got, tt.ok)
		}
	}
	for i, old := range list {
		next := WithFees(old, LeastBump(old))
		if !BumpOK(old, next) || next.Nonce() != old.Nonce() || next.Type() != old.Type() || next.Gas() != old.Gas() {
			t.Errorf("type %d: the least bump does not replace", i)
		}
		if BumpOK(old, old) {
			t.Errorf("type %d: replaces itself", i)
		}
	}
	if !BumpOK(list[0], WithFees(list[2], fees(110, 110))) {
		t.Error("a dynamic-fee transaction cannot replace a legacy one of equal price")
	}
	if BumpOK(list[0], WithFees(list[2], fees(110, 11))) {
		t.Error("a legacy transaction's price is its tip too")
	}
}

func TestZeroFeesNeedOneWeiMore(t *testing.T) {
	old := WithFees(oneOfEachType(t)[2], fees(0, 0))
	if f := LeastBump(old); f.MaxFeePerGas.Int64() != 1 || f.MaxPriorityFeePerGas.Int64() != 1 {
		t.Errorf("least bump %v", f)
	}
}

func TestBlobsNeedTwiceTheFeeAndStayBlobs(t *testing.T) {
	list := oneOfEachType(t)
	old := list[3] // fee 100, tip 10, blob fee 7
	f := LeastBump(old)
	if got := fmt.Sprint(f.MaxFeePerGas, f.MaxPriorityFeePerGas, f.MaxFeePerBlobGas); got != "200 20 14" {
		t.Errorf("least bump %s", got)
	}
	f.MaxFeePerBlobGas = big.NewInt(13)
	if BumpOK(old, WithFees(old, f)) {
		t.Error("replaced with too low a blob fee")
	}
	if BumpOK(old, WithFees(list[2], fees(1000, 1000))) || BumpOK(list[2], WithFees(old, fees(1000, 1000))) {
		t.Error("blob and other transactions replace each other")
	}
	_, err := SelfTransfer(old, common.HexToAddress(alice), big.NewInt(1), 3, fees(1000, 1000))
	if !errors.Is(err, ErrBlobReplacement) {
		t.Errorf("error %v", err)
	}
}

func TestSelfTransferFillsANonce(t *testing.T) {
	from, chain := common.HexToAddress(alice), big.NewInt(1)
	list := oneOfEachType(t)
	fill, err := SelfTransfer(nil, from, chain, 9, fees(5, 1))
	if err != nil {
		t.Fatal(err)
	}
	if fill.Nonce() != 9 || *fill.To() != from || fill.Value().Sign() != 0 || fill.Gas() != 21000 || fill.Type() != 2 || len(fill.Data()) != 0 {
		t.Errorf("self-transfer %+v", fill)
	}
	legacy := FeesOf(list[0])
	if !legacy.Legacy {
		t.Error("the fees of a legacy transaction are not legacy")
	}
	legacy = LeastBump(list[0])
	cancel, err := SelfTransfer(list[0], from, chain, 3, legacy)
	if err != nil || cancel.Type() != 0 || cancel.GasPrice().Int64() != 110 {
		t.Errorf("cancel: error %v", err)
	}
	_, err = SelfTransfer(list[2], from, chain, 3, fees(109, 11))
	if !errors.Is(err, ErrUnderpriced) || err.Error() != "fees too low to replace the transaction: it takes at least 110 wei per gas with a tip of 11" {
		t.Errorf("error %v", err)
	}
	if tx, err := SelfTransfer(nil, from, chain, 3, fees(1, 2)); err == nil {
		t.Errorf("a tip above the fee was accepted: %v", tx)
	}
}
