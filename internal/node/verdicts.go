// SPDX-License-Identifier: Apache-2.0

package node

import "strings"

// sendRule maps words of a node, in lower case, to a verdict.
type sendRule struct {
	verdict SendVerdict
	how     match
	words   string
}

type match uint8

const (
	exact  match = iota
	prefix       // geth's "%w: details", Nethermind's "Name, details"
	within       // anywhere, where a node puts words of its own in front
)

func (r sendRule) matches(message string) bool {
	switch r.how {
	case exact:
		return message == r.words
	case prefix:
		return strings.HasPrefix(message, r.words)
	default:
		return strings.Contains(message, r.words)
	}
}

// wrappers are what nodes put before the words that matter: Erigon the name of
// the import result (turbo/jsonrpc/send_transaction.go), Nethermind the code
// of a result with details (AcceptTxResult.cs), Hardhat the kind of error.
var wrappers = []string{
	"already_exists: ", "fee_too_low: ", "stale: ", "invalid: ", "internal_error: ",
	"transaction invalid, ", "invalid, ", "invalidinputerror: ",
}

// sendRules are tried from the top; the first that matches decides. Sources:
//
//	geth        core/txpool/errors.go, core/txpool/validation.go, core/error.go, core/types/transaction_signing.go, internal/ethapi/api.go
//	Besu        RpcErrorType.java
//	Nethermind  TxPoolErrorMessages.cs, TxErrorMessages.cs; before 2026 AcceptTxResult.cs with names for words
//	Erigon      txnprovider/txpool/txpoolcfg/txpoolcfg.go
//	Reth        crates/rpc/rpc-eth-types/src/error/mod.rs
//	anvil       crates/anvil/src/eth/error.rs
//	Hardhat     edr: crates/edr_provider/src/error.rs
var sendRules = []sendRule{
	// The node says nothing of the transaction, which it may have taken.
	{Unknown, exact, "request timed out"},            // geth rpc/errors.go
	{Unknown, prefix, "response too large"},          // geth rpc/errors.go: executed, the answer left out
	{Unknown, within, "too many requests"},           // gateways
	{Unknown, within, "rate limit"},                  // gateways
	{Unknown, within, "but wasn't confirmed within"}, // anvil and Reth, when told to wait for a receipt

	// These very bytes are there.
	{Known, prefix, "already known"},               // geth, Erigon, Reth, Nethermind
	{Known, prefix, "known transaction"},           // Besu, Hardhat, old geth (with a hash)
	{Known, prefix, "alreadyknown"},                // Nethermind before 2026
	{Known, within, "already imported"},            // anvil: "transaction already imported", "Tx: [0x…] already Imported"
	{Known, prefix, "existing tx with same hash"},  // Erigon
	{Known, prefix, "existing txn with same hash"}, // Erigon

	{NonceTooLow, prefix, "nonce too low"},    // geth, Besu, Nethermind, Erigon, Reth, anvil, Hardhat
	{NonceTooLow, prefix, "nonce is too low"}, // gateways
	{NonceTooLow, prefix, "oldnonce"},         // Nethermind before 2026
	{NonceTooLow, exact, "mined"},             // Erigon

	// The closed list (TXMGR no. 15). Invalid sender or chain id:
	{Impossible, prefix, "invalid sender"},                   // geth (its chain id error is inside), Erigon, Reth
	{Impossible, exact, "invalid signature"},                 // Besu
	{Impossible, exact, "invalid transaction signature"},     // Reth
	{Impossible, prefix, "failed to recover sender"},         // Nethermind
	{Impossible, prefix, "failedtoresolvesender"},            // Nethermind before 2026
	{Impossible, prefix, "invalidtxsignature"},               // Nethermind
	{Impossible, prefix, "invalid chain id"},                 // Reth, anvil
	{Impossible, prefix, "invalid chainid"},                  // Hardhat
	{Impossible, prefix, "invalidtxchainid"},                 // Nethermind
	{Impossible, exact, "wrong chainid"},                     // Besu
	{Impossible, exact, "chainid not supported"},             // Besu
	{Impossible, within, "incompatible eip-155 transaction"}, // anvil, Hardhat
	// unsupported type:
	{Impossible, prefix, "transaction type not supported"},                             // geth, Reth
	{Impossible, prefix, "unsupported transaction type"},                               // Nethermind
	{Impossible, prefix, "notsupportedtxtype"},                                         // Nethermind before 2026
	{Impossible, prefix, "invalidtxtype"},                                              // Nethermind
	{Impossible, prefix, "invalid transaction type"},                                   // Besu, Hardhat
	{Impossible, prefix, "fork supporting this transaction type is not activated yet"}, // Erigon
	{Impossible, within, "supported by the current hardfork"},                          // anvil, Hardhat
	{Impossible, exact, "unknown transaction type not supported"},                      // anvil
	// too large:
	{Impossible, prefix, "oversized data"},        // geth, Erigon, Reth
	{Impossible, prefix, "transaction too large"}, // Nethermind
	{Impossible, prefix, "maxtxsizeexceeded"},     // Nethermind before 2026
	{Impossible, exact, "rlptoolong"},             // Erigon
	// intrinsic gas too low, or the floor of EIP-7623:
	{Impossible, prefix, "intrinsic gas too low"},                    // geth, Nethermind, Reth, anvil
	{Impossible, prefix, "intrinsicgastoolow"},                       // Nethermind before 2026
	{Impossible, exact, "intrinsicgas"},                              // Erigon
	{Impossible, prefix, "intrinsic gas exceeds gas limit"},          // Besu
	{Impossible, prefix, "insufficient gas for floor data gas cost"}, // geth
	{Impossible, prefix, "gas below floor data cost"},                // Nethermind
	{Impossible, prefix, "transaction requires at least "},           // Hardhat: "… N gas but got M"
	// tip above fee cap:
	{Impossible, prefix, "max priority fee per gas higher than max fee per gas"},      // geth, Reth, anvil
	{Impossible, prefix, "max priority fee per gas exceeds max fee per gas"},          // Besu
	{Impossible, prefix, "invalidmaxpriorityfeepergas"},                               // Nethermind
	{Impossible, within, "`max_priority_fee_per_gas` greater than `max_fee_per_gas`"}, // anvil
	{Impossible, prefix, "tip higher than fee cap"},                                   // Erigon
	// above the node's own fee cap:
	{Impossible, within, "exceeds the configured cap"},   // geth --rpc.txfeecap, Erigon, Reth
	{Impossible, prefix, "transaction fee cap exceeded"}, // Besu --rpc-tx-feecap

	// Refusals whose code alone would read as Unknown.
	{Rejected, within, "insufficient funds"},               // all of them
	{Rejected, within, "underpriced"},                      // all of them
	{Rejected, within, "exceeds block gas limit"},          // geth, Reth; Besu with -32005
	{Rejected, prefix, "transaction gas limit"},            // Besu with -32005, anvil, Hardhat
	{Rejected, prefix, "transaction pool not enabled"},     // Besu with -32002
	{Rejected, prefix, "nonce too high"},                   // all of them
	{Rejected, prefix, "sender doesn't have enough funds"}, // Hardhat
	{Rejected, prefix, "txpool is full"},                   // geth, Reth
}
