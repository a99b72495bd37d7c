// SPDX-License-Identifier: Apache-2.0

package config

// ServiceWallet is a wallet that was made by the management API, where no
// settings are given: with the defaults of the config file.
func ServiceWallet(name string, n Node, d Details) Wallet {
	w := defaultWallet()
	w.Name, w.Node, w.Details = name, n, d
	w.suit()
	return w
}

// MaxChainID is the largest chain id that a node may have.
const MaxChainID uint64 = maxChainID
