// SPDX-License-Identifier: Apache-2.0

package rpc

import (
	"fmt"
	"regexp"
	"strings"
)

// passThrough lists the methods that the node answers by itself: reads,
// filters and what concerns nobody's key. eth_sendRawTransaction,
// eth_getTransactionCount and eth_chainId go through a look of ours first and
// stand in methods.go.
//
// Not here, though nodes have them: whatever steers a node or a development
// chain (evm_, anvil_, hardhat_), whatever uses a node's own keys, tracing,
// and whatever else sends. An operator may add exact names, but see
// [checkExtraMethod].
func passThrough() []string {
	return []string{
		"eth_baseFee",
		"eth_blobBaseFee",
		"eth_blockNumber",
		"eth_call",
		"eth_config",
		"eth_createAccessList",
		"eth_estimateGas",
		"eth_feeHistory",
		"eth_gasPrice",
		"eth_getBalance",
		"eth_getBlockByHash",
		"eth_getBlockByNumber",
		"eth_getBlockReceipts",
		"eth_getBlockTransactionCountByHash",
		"eth_getBlockTransactionCountByNumber",
		"eth_getCode",
		"eth_getFilterChanges",
		"eth_getFilterLogs",
		"eth_getHeaderByHash",
		"eth_getHeaderByNumber",
		"eth_getLogs",
		"eth_getProof",
		"eth_getRawTransactionByBlockHashAndIndex",
		"eth_getRawTransactionByBlockNumberAndIndex",
		"eth_getRawTransactionByHash",
		"eth_getStorageAt",
		"eth_getTransactionByBlockHashAndIndex",
		"eth_getTransactionByBlockNumberAndIndex",
		"eth_getTransactionByHash",
		"eth_getTransactionBySenderAndNonce",
		"eth_getTransactionReceipt",
		"eth_getUncleByBlockHashAndIndex",
		"eth_getUncleByBlockNumberAndIndex",
		"eth_getUncleCountByBlockHash",
		"eth_getUncleCountByBlockNumber",
		"eth_hashrate",
		"eth_maxPriorityFeePerGas",
		"eth_mining",
		"eth_newBlockFilter",
		"eth_newFilter",
		"eth_newPendingTransactionFilter",
		"eth_protocolVersion",
		"eth_simulateV1",
		"eth_syncing",
		"eth_uninstallFilter",
		"net_listening",
		"net_peerCount",
		"net_version",
		"txpool_status",
		"web3_clientVersion",
		"web3_sha3",
	}
}

// forbiddenPrefixes begin the methods that must not reach a node whatever the
// operator asks for: a node with keys of its own would sign, and one with an
// administrative interface would obey.
func forbiddenPrefixes() []string {
	return []string{
		"eth_send", "eth_sign", "eth_resend", "eth_submit", "eth_filltransaction",
		"personal_", "admin_", "debug_", "miner_", "engine_", "account_", "clef_",
	}
}

var methodName = regexp.MustCompile(`^[a-zA-Z][a-zA-Z0-9]*_[a-zA-Z0-9_]+$`)

// checkExtraMethod says why an operator may not add name to the pass-through.
func checkExtraMethod(name string) error {
	if !methodName.MatchString(name) {
		return fmt.Errorf("extra method %q: want an exact method name such as trace_block; patterns are not supported", name)
	}
	for _, p := range forbiddenPrefixes() {
		if len(name) >= len(p) && strings.EqualFold(name[:len(p)], p) {
			return fmt.Errorf("extra method %q: methods that begin with %s are never passed to the node", name, p)
		}
	}
	if _, own := ownMethods()[name]; own {
		return fmt.Errorf("extra method %q: is answered by the signer itself", name)
	}
	return nil
}
