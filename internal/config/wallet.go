// SPDX-License-Identifier: Apache-2.0

package config

import (
	"errors"
	"fmt"
	"math"
	"math/big"
	"net/url"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
	"time"
)

func readWallet(v value) (Wallet, error) {
	w := Wallet{
		Confirmations:   12,
		SignTransaction: SignObject,
		RawOwn:          RawAdopt,
		TxFeeCap:        big.NewInt(1e18),
		Expires:         10 * time.Minute,
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
	field(o, "concurrency", &w.Concurrency, integer(1, 1024))
	field(o, "refresh", &w.Refresh, duration(time.Second, 24*time.Hour))
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

var (
	instancePattern = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,31}$`)
	headerName      = regexp.MustCompile("^[!#$%&'*+.^_`|~0-9A-Za-z-]+$") // RFC 9110 §5.6.2: token
	headerValue     = regexp.MustCompile(`^[\t\x20-\x7e\x80-\xff]*$`)
)

// maxChainID is the bound of EIP-2294: above it the v of EIP-155 overflows
// 64 bits in some clients.
const maxChainID = math.MaxUint64/2 - 36

func readNode(v value) (Node, error) {
	n := Node{Timeout: 10 * time.Second, MaxResponse: 32 << 20, Poll: time.Second}
	o := v.object()
	need(o, "url", &n.URL, nodeURL("http", "https"))
	field(o, "ws_url", &n.WSURL, nodeURL("ws", "wss"))
	need(o, "chain_id", &n.ChainID, integer[uint64](1, maxChainID))
	field(o, "instance", &n.Instance, matching(instancePattern, "1 to 32 of a-z, 0-9 and -, not - first"))
	field(o, "timeout", &n.Timeout, duration(100*time.Millisecond, 5*time.Minute))
	field(o, "headers", &n.Headers, readHeaders)
	field(o, "max_response", &n.MaxResponse, size(64<<10, 1<<30))
	field(o, "poll", &n.Poll, duration(50*time.Millisecond, 5*time.Minute))
	o.done()
	return n, nil
}

// nodeURL reads a URL as a [Secret]. Its text never shows in a message, since
// it may carry an API key.
func nodeURL(schemes ...string) parser[Secret] {
	return func(v value) (Secret, error) {
		inline := v.r.inlineSecrets
		s, err := secret(v)
		if err != nil || !s.Set() {
			return s, err
		}
		plain, err := s.Reveal()
		if err != nil {
			return s, nil //nolint:nilerr // secret has reported it, with the file
		}
		want := fmt.Sprintf("want %s://host:port/…", strings.Join(schemes, ":// or "))
		u, err := url.Parse(plain)
		switch {
		case err != nil || u.Scheme == "" || u.Opaque != "":
			return s, errors.New("is not a URL: " + want)
		case !slices.Contains(schemes, u.Scheme):
			return s, fmt.Errorf("has the scheme %q: %s", u.Scheme, want)
		case u.Hostname() == "":
			return s, errors.New("has no host: " + want)
		case u.Fragment != "":
			return s, errors.New("has a #fragment, which is never sent: leave it out")
		case u.User == nil && len(u.Path) <= 1 && u.RawQuery == "":
			v.r.inlineSecrets = inline // a bare host and port is no secret
		}
		return s, nil
	}
}

func readHeaders(v value) (map[string]Secret, error) {
	if v.node.Kind != yamlMapping {
		return nil, fmt.Errorf("want a mapping (name: value), not %s", v.kind())
	}
	headers := make(map[string]Secret)
	o := v.object()
	for name, item := range o.values {
		if !headerName.MatchString(name) {
			item.fail("is not the name of an HTTP header")
			continue
		}
		switch strings.ToLower(name) {
		case "host", "content-length", "content-type", "transfer-encoding", "connection", "upgrade":
			item.fail("is set by the signer itself: leave it out")
			continue
		}
		var s Secret
		field(o, name, &s, secret)
		if plain, err := s.Reveal(); err == nil && !headerValue.MatchString(plain) {
			item.fail("holds characters that an HTTP header cannot have")
		}
		headers[name] = s
	}
	return headers, nil
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
