// SPDX-License-Identifier: Apache-2.0

package config

import (
	"fmt"
	"math/big"
	"os"
	"path"
	"time"
)

func readWallet(v value) (Wallet, error) {
	w := Wallet{
		Confirmations:   12,
		SignTransaction: SignObject,
		RawOwn:          RawAdopt,
		TxFeeCap:        big.NewInt(1e18),
		Expires:         10 * time.Minute,
		BumpAfter:       5 * time.Minute,
		FeeCeiling:      3,
		Concurrency:     8,
		Refresh:         time.Minute,
	}
	o := v.object()
	need(o, "name", &w.Name, matching(walletName, walletNameWant))
	need(o, "node", &w.Node, readNode)
	need(o, "details", &w.Details, readDetails)
	w.Window = UnknownWindow
	if publicChain(w.Node.ChainID) {
		w.Window = PublicWindow
	}
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

func readDetails(v value) (Details, error) {
	var d Details
	o := v.object()
	need(o, "provider", &d.Provider, oneOf("keystore", "azure", "aws_kms", "aws_cloudhsm", "hashicorp", "gcp_kms", "pkcs11"))
	if d.Provider != "" && d.Provider != "keystore" {
		o.at("provider").fail("%s is not built yet in this version: want keystore", d.Provider)
		return d, nil // its fields are not known yet either
	}
	need(o, "path", &d.Path, filePath)
	if d.Path != "" {
		if info, err := os.Stat(d.Path); err != nil || !info.IsDir() {
			o.at("path").warn("no such folder: %s", d.Path)
		}
	}
	field(o, "user_secret", &d.UserSecret, secret)
	field(o, "include", &d.Include, list(glob))
	field(o, "exclude", &d.Exclude, list(glob))
	field(o, "require_hsm", &d.RequireHSM, boolean)
	field(o, "rate_limit", &d.RateLimit, number(0, 1e6))
	o.done()
	if d.RequireHSM && d.Provider == "keystore" {
		o.at("require_hsm").fail("is true, but a keystore keeps its keys in software")
	}
	return d, nil
}

func glob(v value) (string, error) {
	s, err := text(v)
	if err != nil {
		return "", err
	}
	if _, err := path.Match(s, ""); err != nil {
		return "", fmt.Errorf("%q is not a pattern: want a name or address with * and ?, like ops-*", s)
	}
	return s, nil
}
