// SPDX-License-Identifier: Apache-2.0

package tx

import (
	"errors"
	"fmt"
	"math/big"
	"strings"
	"testing"

	"github.com/ethereum/go-ethereum/rpc"
)

const (
	berlinHead  = `{"number":"0x10","gasLimit":"0x1c9c380"}`
	freeHead    = `{"number":"0x10","baseFeePerGas":"0x0","gasLimit":"0x1c9c380"}`
	someAuth    = `"authorizationList":[{"chainId":"0x0","address":"` + bob + `","nonce":"0x0","yParity":"0x0","r":"0x1","s":"0x1"}]`
	oneStorage  = `"accessList":[{"address":"` + bob + `","storageKeys":[]}]`
	threeFields = "type %d, gasPrice %v, maxFee %v, tip %v, blob %v"
)

var oneBlobHash = `"blobVersionedHashes":["0x01` + strings.Repeat("ab", 31) + `"]`

func TestFeesAreFilledAsGethDoes(t *testing.T) {
	tests := []struct {
		name  string
		node  answers
		args  string
		limit int64 // max_fee_per_gas, wei
		want  string
		asks  string
	}{
		{
			"nothing given, base fee", london(), "", 0,
			"type 2, gasPrice <nil>, maxFee 15000000000, tip 1000000000, blob <nil>",
			"[eth_getBlockByNumber eth_maxPriorityFeePerGas]",
		},
		{
			"tip given", london(), `"maxPriorityFeePerGas":"0x2"`, 0,
			"type 2, gasPrice <nil>, maxFee 14000000002, tip 2, blob <nil>", "[eth_getBlockByNumber]",
		},
		{
			"fee given, above the tip", london(), `"maxFeePerGas":"0x3b9aca01"`, 0,
			"type 2, gasPrice <nil>, maxFee 1000000001, tip 1000000000, blob <nil>", "[eth_getBlockByNumber eth_maxPriorityFeePerGas]",
		},
		{
			"fee given, below the tip", london(), `"maxFeePerGas":"0x5"`, 0,
			"type 2, gasPrice <nil>, maxFee 5, tip 5, blob <nil>", "[eth_getBlockByNumber eth_maxPriorityFeePerGas]",
		},
		{
			"both given", london(), `"maxFeePerGas":"0x5","maxPriorityFeePerGas":"0x1"`, 0,
			"type 2, gasPrice <nil>, maxFee 5, tip 1, blob <nil>", "[]",
		},
		{"gas price given", london(), `"gasPrice":"0x5"`, 0, "type 0, gasPrice 5, maxFee <nil>, tip <nil>, blob <nil>", "[]"},
		{"gas price and access list", london(), `"gasPrice":"0x5",` + oneStorage, 0, "type 1, gasPrice 5, maxFee <nil>, tip <nil>, blob <nil>", "[]"},
		{
			"legacy asked for", london(), `"type":"0x0"`, 0,
			"type 0, gasPrice 8000000000, maxFee <nil>, tip <nil>, blob <nil>", "[eth_getBlockByNumber eth_gasPrice]",
		},
		{
			"access list asked for", london(), `"type":"0x1"`, 0,
			"type 1, gasPrice 8000000000, maxFee <nil>, tip <nil>, blob <nil>", "[eth_getBlockByNumber eth_gasPrice]",
		},
		{
			"access list on London", london(), oneStorage, 0,
			"type 2, gasPrice <nil>, maxFee 15000000000, tip 1000000000, blob <nil>", "[eth_getBlockByNumber eth_maxPriorityFeePerGas]",
		},
		{
			"blob hashes", london(), oneBlobHash, 0,
			"type 3, gasPrice <nil>, maxFee 15000000000, tip 1000000000, blob 10", "[eth_blobBaseFee eth_getBlockByNumber eth_maxPriorityFeePerGas]",
		},
		{
			"blob base fee of zero", london().with("eth_blobBaseFee", `"0x0"`), oneBlobHash, 0,
			"type 3, gasPrice <nil>, maxFee 15000000000, tip 1000000000, blob 1", "[eth_blobBaseFee eth_getBlockByNumber eth_maxPriorityFeePerGas]",
		},
		{
			"authorisations", london(), someAuth, 0,
			"type 4, gasPrice <nil>, maxFee 15000000000, tip 1000000000, blob <nil>", "[eth_getBlockByNumber eth_maxPriorityFeePerGas]",
		},
		{
			"no base fee", london().with("eth_getBlockByNumber", berlinHead), "", 0,
			"type 0, gasPrice 8000000000, maxFee <nil>, tip <nil>, blob <nil>", "[eth_getBlockByNumber eth_gasPrice]",
		},
		{
			"no base fee, access list", london().with("eth_getBlockByNumber", berlinHead), oneStorage, 0,
			"type 1, gasPrice 8000000000, maxFee <nil>, tip <nil>, blob <nil>", "[eth_getBlockByNumber eth_gasPrice]",
		},
		{
			"free gas, no base fee", london().with("eth_getBlockByNumber", berlinHead).with("eth_gasPrice", `"0x0"`), "", 0,
			"type 0, gasPrice 0, maxFee <nil>, tip <nil>, blob <nil>", "[eth_getBlockByNumber eth_gasPrice]",
		},
		{
			"free gas, base fee of zero", london().with("eth_getBlockByNumber", freeHead).with("eth_maxPriorityFeePerGas", `"0x0"`), "", 0,
			"type 2, gasPrice <nil>, maxFee 0, tip 0, blob <nil>", "[eth_getBlockByNumber eth_maxPriorityFeePerGas]",
		},
		{
			"free gas, caller says zero", london().with("eth_getBlockByNumber", freeHead), `"gasPrice":"0x0"`, 0,
			"type 0, gasPrice 0, maxFee <nil>, tip <nil>, blob <nil>", "[eth_getBlockByNumber]",
		},
		{
			"free gas, caller says zero twice", london().with("eth_getBlockByNumber", freeHead), `"maxFeePerGas":"0x0","maxPriorityFeePerGas":"0x0"`, 0,
			"type 2, gasPrice <nil>, maxFee 0, tip 0, blob <nil>", "[eth_getBlockByNumber]",
		},
		{
			"tip method missing", london().without("eth_maxPriorityFeePerGas"), "", 0,
			"type 2, gasPrice <nil>, maxFee 15000000000, tip 1000000000, blob <nil>", "[eth_getBlockByNumber eth_maxPriorityFeePerGas eth_gasPrice]",
		},
		{
			"tip method missing, gas price below the base fee", london().without("eth_maxPriorityFeePerGas").with("eth_gasPrice", `"0x0"`), "", 0,
			"type 2, gasPrice <nil>, maxFee 14000000000, tip 0, blob <nil>", "[eth_getBlockByNumber eth_maxPriorityFeePerGas eth_gasPrice]",
		},
		{
			"limit shortens the head room", london(), "", 9e9,
			"type 2, gasPrice <nil>, maxFee 9000000000, tip 1000000000, blob <nil>", "[eth_getBlockByNumber eth_maxPriorityFeePerGas]",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			node := startNode(t, tt.node)
			a := mustArgs(t, args(tt.args))
			if err := FillFees(t.Context(), node, &a, Limits{MaxFeePerGas: big.NewInt(tt.limit)}); err != nil {
				t.Fatal(err)
			}
			if got := fmt.Sprintf(threeFields, *a.Type, a.GasPrice, a.MaxFeePerGas, a.MaxPriorityFeePerGas, a.MaxFeePerBlobGas); got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
			if got := fmt.Sprint(node.asked); got != tt.asks {
				t.Errorf("asked %s, want %s", got, tt.asks)
			}
			gas := uint64(100_000)
			a.Gas = &gas
			if u, err := a.Unsigned(big.NewInt(1), 0); err != nil || u.Type() != *a.Type {
				t.Errorf("unsigned: %v", err)
			}
		})
	}
}

func TestFeesThatCannotBeFilledAreRefused(t *testing.T) {
	huge := `"0x` + strings.Repeat("f", 40) + `"`
	tests := []struct {
		name  string
		node  answers
		args  string
		limit int64
		want  string
	}{
		{"1559 before London", london().with("eth_getBlockByNumber", berlinHead), `"maxFeePerGas":"0x1"`, 0, "type: 0x2 needs a chain with a base fee (London), which this one is not; use gasPrice"},
		{"authorisations before London", london().with("eth_getBlockByNumber", berlinHead), someAuth, 0, "type: 0x4 needs a chain with a base fee (London), which this one is not; use gasPrice"},
		{"zero gas price", london(), `"gasPrice":"0x0"`, 0, "gasPrice: must not be zero: this chain has a base fee of 7000000000 wei per gas"},
		{"zero fee", london(), `"maxFeePerGas":"0x0"`, 0, "maxFeePerGas: must not be zero: this chain has a base fee of 7000000000 wei per gas"},
		{"absurd gas price", london().with("eth_gasPrice", huge), `"type":"0x0"`, 0, "the node's gas price of 146150163733090291820368483271628301965593254297… wei is absurd"},
		{"absurd tip", london().with("eth_maxPriorityFeePerGas", huge), "", 0, "the node's priority fee of 146150163733090291820368483271628301965593254297… wei is absurd"},
		{"absurd base fee", london().with("eth_getBlockByNumber", `{"number":"0x1","gasLimit":"0x1","baseFeePerGas":`+huge+`}`), "", 0, "the node's base fee with the priority fee of 146150163733090291820368483271628301965693254297… wei is absurd"},
		{"absurd blob fee", london().with("eth_blobBaseFee", huge), oneBlobHash, 0, "the node's blob base fee of 146150163733090291820368483271628301965593254297… wei is absurd"},
		{"tip over the limit", london(), "", 9e8, "the node's priority fee of 1000000000 wei exceeds the configured max_fee_per_gas of 900000000 wei"},
		{"base fee over the limit", london(), "", 7e9, "the node's base fee with the priority fee of 8000000000 wei exceeds the configured max_fee_per_gas of 7000000000 wei"},
		{"gas price over the limit", london(), `"type":"0x0"`, 7e9, "the node's gas price of 8000000000 wei exceeds the configured max_fee_per_gas of 7000000000 wei"},
		{"the caller's fee over the limit", london(), `"gasPrice":"0x2"`, 1, "gasPrice of 2 wei exceeds the configured max_fee_per_gas of 1 wei"},
		{"node lacks everything", answers{}, "", 0, "read the latest block: unsupported operation: the method does not exist"},
		{"node lacks tip and price", london().without("eth_maxPriorityFeePerGas", "eth_gasPrice"), "", 0, "ask the node for a gas price: unsupported operation: the method does not exist"},
		{"tip fails", london().with("eth_maxPriorityFeePerGas", "revert"), "", 0, "ask the node for a priority fee: execution reverted: no"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a := mustArgs(t, args(tt.args))
			err := FillFees(t.Context(), startNode(t, tt.node), &a, Limits{MaxFeePerGas: big.NewInt(tt.limit)})
			if err == nil || err.Error() != tt.want {
				t.Errorf("got  %v\nwant %s", err, tt.want)
			}
		})
	}
}

func TestGasIsFilled(t *testing.T) {
	contract := `{"from":"` + alice + `","data":"0x6000"}`
	tests := []struct {
		name string
		node answers
		args string
		want uint64
		asks string
	}{
		{"given", london(), args(`"gas":"0x5"`), 5, "[]"},
		{"plain transfer", london(), args(""), 21000, "[eth_getCode]"},
		{"transfer to a contract", london().with("eth_getCode", `"0x60"`), args(""), 60000, "[eth_getCode eth_estimateGas eth_getBlockByNumber]"},
		{"calldata", london(), args(`"data":"0x01"`), 60000, "[eth_estimateGas eth_getBlockByNumber]"},
		{"access list", london(), args(oneStorage), 60000, "[eth_estimateGas eth_getBlockByNumber]"},
		{"authorisations", london(), args(someAuth), 60000, "[eth_estimateGas eth_getBlockByNumber]"},
		{"creation", london(), contract, 60000, "[eth_estimateGas eth_getBlockByNumber]"},
		{"precompiled contract", london(), `{"from":"` + alice + `","to":"0x0000000000000000000000000000000000000002"}`, 60000, "[eth_estimateGas eth_getBlockByNumber]"},
		{"margin at EIP-7825's cap", london().with("eth_estimateGas", `"0xf00000"`), contract, 1 << 24, "[eth_estimateGas eth_getBlockByNumber]"},
		{"margin at the block gas limit", london().with("eth_estimateGas", `"0x1c9c37f"`), contract, 30_000_000, "[eth_estimateGas eth_getBlockByNumber]"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			node := startNode(t, tt.node)
			a := mustArgs(t, tt.args)
			if err := FillGas(t.Context(), node, &a, Limits{}); err != nil {
				t.Fatal(err)
			}
			if *a.Gas != tt.want || fmt.Sprint(node.asked) != tt.asks {
				t.Errorf("gas %d, asked %s; want %d, %s", *a.Gas, node.asked, tt.want, tt.asks)
			}
			for i, m := range node.asked {
				if m == "eth_estimateGas" && !strings.HasSuffix(string(node.params[i]), `,"pending"]`) {
					t.Errorf("estimated with %s", node.params[i])
				}
			}
		})
	}
}

func TestAbsurdGasEstimatesAreRefused(t *testing.T) {
	for result, want := range map[string]string{
		`"0x1c9c381"`:          "the node's gas estimate of 30000001 exceeds the block gas limit of 30000000",
		`"0xffffffffffffffff"`: "the node's gas estimate of 18446744073709551615 exceeds the block gas limit of 30000000",
		`"0x5207"`:             "the node's gas estimate of 20999 is below the 21000 that every transaction costs",
	} {
		a := mustArgs(t, args(`"data":"0x01"`))
		err := FillGas(t.Context(), startNode(t, london().with("eth_estimateGas", result)), &a, Limits{})
		if err == nil || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

func TestRevertKeepsItsData(t *testing.T) {
	a := mustArgs(t, args(`"data":"0x01"`))
	err := FillGas(t.Context(), startNode(t, london().with("eth_estimateGas", "revert")), &a, Limits{})
	var data rpc.DataError
	if !errors.As(err, &data) || data.ErrorData() != "0x08c379a0" || err.Error() != "estimate gas: execution reverted: no" {
		t.Errorf("error %v", err)
	}
}

func TestFeeCapIsEnforcedForWhoeverChoseTheFee(t *testing.T) {
	lim := Limits{MaxFee: big.NewInt(1e18)}
	a := mustArgs(t, args(`"gas":"0x5208","gasPrice":"0x2b5e3af16b18"`))
	err := CheckLimits(a, lim)
	var limit *LimitError
	if !errors.As(err, &limit) || limit.Setting != "max_fee" || err.Error() != "tx fee (1.001358032226552 ether) exceeds the configured cap (1 ether)" {
		t.Errorf("error %v", err)
	}
	if err := FillGas(t.Context(), startNode(t, london()), &a, lim); err == nil {
		t.Error("FillGas let it pass")
	}
	if err := FillFees(t.Context(), startNode(t, london()), &a, lim); err == nil {
		t.Error("FillFees let it pass")
	}
	blob := mustArgs(t, args(`"gas":"0x5208","maxFeePerGas":"0x1","maxPriorityFeePerGas":"0x1","maxFeePerBlobGas":"0x7a120000000",`+oneBlobHash))
	if err := CheckLimits(blob, lim); err == nil || !strings.HasPrefix(err.Error(), "tx fee (1.09") {
		t.Errorf("blob fee: error %v", err)
	}
	if err := CheckLimits(a, Limits{}); err != nil {
		t.Errorf("without limits: %v", err)
	}
}
