// SPDX-License-Identifier: Apache-2.0

package config

import (
	"math/big"
	"time"
)

func defaultWallet() Wallet {
	return Wallet{
		Confirmations:   12,
		SignTransaction: SignObject,
		RawOwn:          RawAdopt,
		TxFeeCap:        big.NewInt(1e18),
		Expires:         10 * time.Minute,
		BumpAfter:       5 * time.Minute,
		FeeCeiling:      3,
		Refresh:         time.Minute,
	}
}

// suit sets the defaults that depend on the node and the backend.
func (w *Wallet) suit() {
	w.Window = UnknownWindow
	if publicChain(w.Node.ChainID) {
		w.Window = PublicWindow
	}
	w.Concurrency = w.Details.concurrency()
}

func readWallet(v value) (Wallet, error) {
	w := defaultWallet()
	o := v.object()
	need(o, "name", &w.Name, matching(walletName, walletNameWant))
	need(o, "node", &w.Node, readNode)
	need(o, "details", &w.Details, readDetails)
	w.suit()
	field(o, "window", &w.Window, integer(1, 4096))
	field(o, "confirmations", &w.Confirmations, integer[uint64](0, 100_000))
	field(o, "sign_transaction", &w.SignTransaction, oneOf(SignObject, SignHex))
	field(o, "raw_own", &w.RawOwn, oneOf(RawAdopt, RawRefuse))
	field(o, "max_fee_per_gas", &w.MaxFeePerGas, amount("", "200 gwei"))
	field(o, "tx_fee_cap", &w.TxFeeCap, amount("ether", "0.5 (ether)"))
	field(o, "expires", &w.Expires, duration(time.Second, 7*24*time.Hour))
	field(o, "bump_after", &w.BumpAfter, orZero(duration(5*time.Second, 24*time.Hour)))
	field(o, "fee_ceiling", &w.FeeCeiling, integer(1, 100))
	field(o, "concurrency", &w.Concurrency, integer(1, 1024))
	field(o, "refresh", &w.Refresh, duration(time.Second, 24*time.Hour))
	field(o, "webhooks", &w.Webhooks, list(readWebhook))
	checkWebhooks(o, w.Webhooks)
	field(o, "policy", &w.Policy, readPolicy)
	o.done()
	if o == nil {
		return w, nil
	}

	if w.MaxFeePerGas != nil && w.MaxFeePerGas.Sign() == 0 {
		o.at("max_fee_per_gas").fail("is 0, so nothing could be sent: leave it out for no limit")
	}
	if w.TxFeeCap.Sign() == 0 {
		w.TxFeeCap = nil
	}
	if window, given := o.given("window"); given && w.Window > PublicWindow && publicChain(w.Node.ChainID) {
		window.warn("nodes of public chains guarantee room for %d transactions of one sender only", PublicWindow)
	}
	return w, nil
}
