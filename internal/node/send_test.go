// SPDX-License-Identifier: Apache-2.0

package node_test

import (
	"context"
	"errors"
	"fmt"
	"math/big"
	"net/http"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/core/types"

	"github.com/hsmsigner/hsmsigner/internal/node"
	"github.com/hsmsigner/hsmsigner/internal/node/nodetest"
)

func revertAll(*types.Transaction) bool { return true }

func TestSendRawKeepsOrderInOneRequest(t *testing.T) {
	chain, c := pair(t, nodetest.Options{})
	key, rich := nodetest.Key(0)
	raws := make([][]byte, 80)
	for i := range raws {
		raws[i] = raw(t, transfer(t, key, uint64(i)))
	}
	for i, err := range c.SendRaw(ctx(t), raws) {
		if err != nil {
			t.Fatal(i, err)
		}
	}
	if n := chain.Requests(); n != 1 {
		t.Errorf("%d requests", n)
	}
	for i, b := range chain.Received() {
		if string(b) != string(raws[i]) {
			t.Fatalf("transaction %d is out of order", i)
		}
	}
	chain.Mine()
	if n := len(chain.Mined(rich)); n != 80 {
		t.Errorf("%d mined", n)
	}
}

// TestVerdictsOfARealConversation sends what a pool answers in different ways.
func TestVerdictsOfARealConversation(t *testing.T) {
	chain, c := pair(t, nodetest.Options{MinTip: big.NewInt(1000), FeeCap: nodetest.Ether(1)})
	key, _ := nodetest.Key(0)
	poor, _ := nodetest.Key(1)
	done := transfer(t, key, 0)
	c.SendRaw(ctx(t), [][]byte{raw(t, done)})
	chain.Mine()
	pooled := transfer(t, key, 1)
	c.SendRaw(ctx(t), [][]byte{raw(t, pooled)})
	otherChain := func(tx *types.DynamicFeeTx) { tx.ChainID = big.NewInt(7) }
	for name, x := range map[string]struct {
		tx   *types.Transaction
		want node.SendVerdict
	}{
		"fresh":                  {transfer(t, key, 2), node.Accepted},
		"pooled":                 {pooled, node.Known},
		"mined":                  {done, node.NonceTooLow},
		"other chain":            {transfer(t, key, 3, otherChain), node.Impossible},
		"little gas":             {transfer(t, key, 3, func(tx *types.DynamicFeeTx) { tx.Gas = 20999 }), node.Impossible},
		"tip above cap":          {transfer(t, key, 3, func(tx *types.DynamicFeeTx) { tx.GasTipCap = big.NewInt(9e9) }), node.Impossible},
		"too large":              {transfer(t, key, 3, func(tx *types.DynamicFeeTx) { tx.Data, tx.Gas = make([]byte, 129<<10), 5e6 }), node.Impossible},
		"above the node's cap":   {transfer(t, key, 3, func(tx *types.DynamicFeeTx) { tx.GasFeeCap = big.NewInt(1e17) }), node.Impossible},
		"poor":                   {transfer(t, poor, 0), node.Rejected},
		"underpriced":            {transfer(t, key, 3, func(tx *types.DynamicFeeTx) { tx.GasTipCap = big.NewInt(1) }), node.Rejected},
		"replacement too cheap":  {transfer(t, key, 1, func(tx *types.DynamicFeeTx) { tx.Value = big.NewInt(2) }), node.Rejected},
		"above the gas of block": {transfer(t, key, 3, func(tx *types.DynamicFeeTx) { tx.Gas = 30_000_001 }), node.Rejected},
	} {
		err := c.SendRaw(ctx(t), [][]byte{raw(t, x.tx)})[0]
		if got := node.Classify(err, x.tx.Hash()); got != x.want {
			t.Errorf("%s: %s, want %s (%v)", name, got, x.want, err)
		}
	}
}

func TestLostAnswerIsUnknownAndThenKnown(t *testing.T) {
	chain, c := pair(t, nodetest.Options{})
	key, _ := nodetest.Key(0)
	tx := transfer(t, key, 0)
	chain.Drop("eth_sendRawTransaction", 1)
	err := c.SendRaw(ctx(t), [][]byte{raw(t, tx)})[0]
	if v := node.Classify(err, tx.Hash()); v != node.Unknown {
		t.Fatal(v, err)
	}
	err = c.SendRaw(ctx(t), [][]byte{raw(t, tx)})[0]
	if v := node.Classify(err, tx.Hash()); v != node.Known {
		t.Fatal(v, err)
	}
}

func TestDeadNodeCostsOneTimeoutForManyTransactions(t *testing.T) {
	chain := nodetest.New(t, nodetest.Options{BatchLimit: -1})
	c := client(t, node.Config{URL: chain.URL(), Timeout: time.Second})
	defer chain.Hang("eth_sendRawTransaction")()
	key, _ := nodetest.Key(0)
	raws := make([][]byte, 20)
	for i := range raws {
		raws[i] = raw(t, transfer(t, key, uint64(i)))
	}
	start := time.Now()
	for i, err := range c.SendRaw(context.Background(), raws) {
		if !errors.Is(err, node.ErrTimeout) || node.Classify(err, common.Hash{}) != node.Unknown {
			t.Error(i, err)
		}
	}
	if took := time.Since(start); took > 15*time.Second { // of 20 timeouts
		t.Errorf("took %v", took)
	}
	if n := chain.Calls("eth_sendRawTransaction"); n > 1 {
		t.Errorf("%d calls", n)
	}
}

func TestHashOfAnotherTransactionIsBad(t *testing.T) {
	c := client(t, node.Config{URL: answering(t, func(w http.ResponseWriter, body []byte) {
		answerTo(w, body, `"0x`+fmt.Sprintf("%064d", 1)+`"`)
	})})
	key, _ := nodetest.Key(0)
	tx := transfer(t, key, 0)
	err := c.SendRaw(ctx(t), [][]byte{raw(t, tx)})[0]
	if !errors.Is(err, node.ErrBadResponse) || node.Classify(err, tx.Hash()) != node.Unknown {
		t.Error(err)
	}
}

// TestVerdicts has the words of real nodes, as their sources and users have them.
func TestVerdicts(t *testing.T) {
	hash := common.HexToHash("0x7f657507aee0511e36d2d1972a6b22e917cc89f92b6c12c4dbd57eaabb236960")
	for _, c := range []struct {
		code    int
		message string
		want    node.SendVerdict
	}{
		// geth
		{-32000, "already known", node.Known},
		{-32000, "nonce too low: next nonce 5, tx nonce 3", node.NonceTooLow},
		{-32000, "nonce too high: tx nonce 5, gapped nonce 3", node.Rejected},
		{-32000, "invalid sender: invalid chain id for signer: have 7 want 1337", node.Impossible},
		{-32000, "transaction type not supported: type 3 rejected, pool not yet in Cancun", node.Impossible},
		{-32000, "oversized data: transaction size 131200, limit 131072", node.Impossible},
		{-32000, "intrinsic gas too low: gas 20000, minimum needed 21000", node.Impossible},
		{-32000, "insufficient gas for floor data gas cost: gas 30000, minimum needed 40000", node.Impossible},
		{-32000, "max priority fee per gas higher than max fee per gas: address 0x1, maxPriorityFeePerGas: 2, maxFeePerGas: 1", node.Impossible},
		{-32000, "max priority fee per gas higher than 2^256-1", node.Rejected},
		{-32000, "tx fee (21.00 ether) exceeds the configured cap (1.00 ether)", node.Impossible},
		{-32000, "insufficient funds for gas * price + value: balance 0, tx cost 1, overshot 1", node.Rejected},
		{-32000, "transaction underpriced", node.Rejected},
		{-32000, "transaction gas price below minimum: gas tip cap 1, minimum needed 1000000", node.Rejected},
		{-32000, "replacement transaction underpriced", node.Rejected},
		{-32000, "txpool is full", node.Rejected},
		{-32000, "address already reserved", node.Rejected},
		{-32000, "in-flight transaction limit reached for delegated accounts", node.Rejected},
		{-32000, "exceeds block gas limit", node.Rejected},
		{-32000, "max initcode size exceeded: code size 60000, limit 49152", node.Rejected},
		{-32000, "only replay-protected (EIP-155) transactions allowed over RPC", node.Rejected},
		{-32002, "request timed out", node.Unknown},
		{-32003, "response too large", node.Unknown},
		{-32000, "known transaction: 7f657507aee0511e36d2d1972a6b22e917cc89f92b6c12c4dbd57eaabb236960", node.Known},
		{-32000, "known transaction: 0f657507aee0511e36d2d1972a6b22e917cc89f92b6c12c4dbd57eaabb236960", node.Rejected},
		// Besu
		{-32000, "Known transaction", node.Known},
		{-32001, "Nonce too low", node.NonceTooLow},
		{-32002, "Invalid signature", node.Impossible},
		{-32602, "Invalid transaction type", node.Impossible},
		{-32003, "Intrinsic gas exceeds gas limit", node.Impossible},
		{-32000, "Wrong chainId", node.Impossible},
		{-32000, "Max priority fee per gas exceeds max fee per gas", node.Impossible},
		{-32000, "Transaction fee cap exceeded", node.Impossible},
		{-32004, "Upfront cost exceeds account balance", node.Rejected},
		{-32005, "Transaction gas limit exceeds block gas limit", node.Rejected},
		{-32006, "Nonce too high", node.Rejected},
		{-32007, "Sender account not authorized to send transactions", node.Rejected},
		{-32009, "Gas price below configured minimum gas price", node.Rejected},
		{-32000, "Transaction nonce is too distant from current sender nonce", node.Rejected},
		{-32603, "Internal error", node.Unknown},
		{-32603, "Timeout expired", node.Unknown},
		// Nethermind, before and since 2026
		{-32010, "AlreadyKnown", node.Known},
		{-32010, "OldNonce, Current nonce: 5, nonce of rejected tx: 3.", node.NonceTooLow},
		{-32010, "Invalid, InvalidTxSignature: Signature is invalid.", node.Impossible},
		{-32010, "Invalid, InvalidTxChainId: Expected 1, got 7.", node.Impossible},
		{-32010, "Invalid, IntrinsicGasTooLow: Gas limit is too low.", node.Impossible},
		{-32010, "Invalid, InvalidMaxPriorityFeePerGas: Cannot be higher than maxFeePerGas.", node.Impossible},
		{-32010, "NotSupportedTxType", node.Impossible},
		{-32010, "MaxTxSizeExceeded, tx size 200000", node.Impossible},
		{-32010, "FailedToResolveSender", node.Impossible},
		{-32010, "FeeTooLow, MaxFeePerGas too low.", node.Rejected},
		{-32010, "NonceGap, Future nonce. Expected nonce: 5", node.Rejected},
		{-32010, "InsufficientFunds, Account balance: 0", node.Rejected},
		{-32010, "transaction invalid, intrinsic gas too low", node.Impossible},
		{-32010, "transaction invalid, gas below floor data cost", node.Impossible},
		{-32010, "unsupported transaction type", node.Impossible},
		{-32010, "nonce too far in future", node.Rejected},
		{-32010, "pending transaction type conflict", node.Rejected},
		// Erigon
		{-32000, "ALREADY_EXISTS: already known", node.Known},
		{-32000, "INTERNAL_ERROR: existing tx with same hash", node.Known},
		{-32000, "STALE: nonce too low", node.NonceTooLow},
		{-32000, "INTERNAL_ERROR: mined", node.NonceTooLow},
		{-32000, "INVALID: IntrinsicGas", node.Impossible},
		{-32000, "INVALID: RLPTooLong", node.Impossible},
		{-32000, "FEE_TOO_LOW: underpriced", node.Rejected},
		{-32000, "INTERNAL_ERROR: could not replace existing tx", node.Rejected},
		{-32000, "INTERNAL_ERROR: pending sub-pool is full", node.Rejected},
		// Reth
		{-32000, "invalid chain ID", node.Impossible},
		{-32602, "invalid transaction signature", node.Impossible},
		{-32000, "tx fee (2100000000000000000 wei) exceeds the configured cap (1000000000000000000 wei)", node.Impossible},
		{-32003, "transaction type not supported", node.Impossible},
		{-32003, "transaction priority fee below minimum required priority fee 1", node.Rejected},
		{-32000, "nonce too low: next nonce 1, tx nonce 0", node.NonceTooLow},
		// anvil
		{-32003, "transaction already imported", node.Known},
		{-32003, "nonce too low", node.NonceTooLow},
		{-32003, "intrinsic gas too low", node.Impossible},
		{-32000, "invalid chain id for signer", node.Impossible},
		{-32000, "Incompatible EIP-155 transaction, signed for another chain", node.Impossible},
		{-32003, "Insufficient funds for gas * price + value", node.Rejected},
		{-32003, "max fee per gas less than block base fee", node.Rejected},
		{-32003, "replacement transaction underpriced", node.Rejected},
		// Hardhat
		{-32000, "Known transaction: " + hash.Hex(), node.Known},
		{-32000, "Nonce too low. Expected nonce to be 5 but got 3. Note that transactions can't be queued when automining.", node.NonceTooLow},
		{-32000, "Nonce too high. Expected nonce to be 5 but got 7. Note that transactions can't be queued when automining.", node.Rejected},
		{-32602, "Trying to send an incompatible EIP-155 transaction, signed for another chain.", node.Impossible},
		{-32000, "Transaction requires at least 21000 gas but got 20000", node.Impossible},
		{-32000, "Sender doesn't have enough funds to send tx. The max upfront cost is: 2 and the sender's balance is: 1.", node.Rejected},
		{-32000, "Transaction gas limit is 31000000 and exceeds block gas limit of 30000000", node.Rejected},
		// gateways and the unknown
		{-32005, "daily request count exceeded, request rate limited", node.Unknown},
		{429, "Too Many Requests", node.Unknown},
		{-32000, "something that nobody has said before", node.Rejected},
		{-32603, "something that nobody has said before", node.Unknown},
		{0, "", node.Rejected},
		{-32000, "the sender is not invalid sender, intrinsic gas too low or not", node.Rejected}, // words in the middle prove nothing
	} {
		err := fmt.Errorf("wrapped: %w", &node.Error{Code: c.code, Message: c.message})
		if got := node.Classify(err, hash); got != c.want {
			t.Errorf("%d %q: %s, want %s", c.code, c.message, got, c.want)
		}
	}
	for _, err := range []error{node.ErrUnavailable, node.ErrTimeout, node.ErrBadResponse, node.ErrTooLarge, context.Canceled, errors.New("?")} {
		if got := node.Classify(err, hash); got != node.Unknown {
			t.Errorf("%v: %s", err, got)
		}
	}
	if node.Classify(nil, hash) != node.Accepted {
		t.Error("nil is not accepted")
	}
}
