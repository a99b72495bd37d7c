// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"fmt"
	"math/big"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/ethereum/go-ethereum/common"
)

// options are what a request says beside the arguments of a method. They stand in
// the query as fly-NAME or kld-NAME, or in headers as X-Firefly-NAME or
// X-Kaleido-NAME; capitals do not count, and the query goes before the headers.
type options struct {
	from      *common.Address
	wei       *big.Int // sent with it
	gas       *uint64
	gasPrice  *big.Int // wei per gas
	maxFee    *big.Int // wei per gas
	tip       *big.Int // wei per gas
	nonce     *uint64
	block     string // a tag, or a number as JSON-RPC writes it; empty: the latest
	register  string
	id        string
	sync      bool
	call      bool
	described *common.Hash // a transaction of which the input is to be decoded

	given map[string]given // as the caller wrote them
}

// nameOf is how the caller has called an option, or might.
func (o *options) nameOf(option string) string {
	if g, is := o.given[option]; is {
		return g.name
	}
	return "fly-" + option
}

const (
	optionFrom     = "from"
	optionValue    = "ethvalue"
	optionGas      = "gas"
	optionGasPrice = "gasprice"
	optionMaxFee   = "maxfeepergas"
	optionTip      = "maxpriorityfeepergas"
	optionNonce    = "nonce"
	optionSync     = "sync"
	optionCall     = "call"
	optionBlock    = "blocknumber"
	optionRegister = "register"
	optionID       = "id"
	optionAck      = "acktype"
	optionNoAck    = "noack"
	optionHash     = "transaction"
)

// optionNames are all options there are.
func optionNames() []string {
	return []string{
		optionFrom, optionValue, optionGas, optionGasPrice, optionMaxFee, optionTip, optionNonce, optionSync,
		optionCall, optionBlock, optionRegister, optionID, optionAck, optionNoAck, optionHash,
	}
}

// privateNames are options by which a private transaction was asked for. One that
// was meant to be private is never sent in the open.
func privateNames() []string { return []string{"privatefrom", "privatefor", "privacygroupid"} }

// given is an option as it was written.
type given struct {
	name string // as the caller wrote it, for errors
	text string
}

// readOptions takes the options out of a request. What is left of the query is of
// the route: arguments, or flags.
func readOptions(r *http.Request) (o options, rest url.Values, err error) {
	rest, err = url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return o, nil, bad("the query cannot be read: %%, ; and other signs must be escaped")
	}
	all := map[string]given{}
	for name, values := range rest {
		option, is, err := optionName(name, "fly-", "kld-")
		if err != nil {
			return o, nil, err
		}
		if !is {
			continue
		}
		delete(rest, name)
		if err := put(all, option, name, values); err != nil {
			return o, nil, err
		}
	}
	headers := map[string]given{}
	for name, values := range r.Header {
		option, is, err := optionName(name, "x-firefly-", "x-kaleido-")
		if err != nil {
			return o, nil, err
		}
		if !is {
			continue
		}
		if err := put(headers, option, name, values); err != nil {
			return o, nil, err
		}
	}
	for option, g := range headers {
		if _, said := all[option]; !said {
			all[option] = g
		}
	}
	if err := o.read(all); err != nil {
		return o, nil, err
	}
	return o, rest, o.readKey(r.Header)
}

// optionName finds out which option a name means. One that has the prefix and is
// none is refused: misspelt, it would mean something else.
func optionName(name string, prefixes ...string) (option string, is bool, err error) {
	small := strings.ToLower(name)
	for _, prefix := range prefixes {
		option, is = strings.CutPrefix(small, prefix)
		switch {
		case !is:
			continue
		case slices.Contains(optionNames(), option):
			return option, true, nil
		case slices.Contains(privateNames(), option):
			return "", false, bad("%s: private transactions are not supported", quote(name))
		}
		return "", false, bad("%s: there is no such parameter: want one of %s", quote(name), prefix+strings.Join(optionNames(), ", "+prefix))
	}
	return "", false, nil
}

func put(all map[string]given, option, name string, values []string) error {
	if len(values) > 1 {
		return bad("%s: is given %d times", name, len(values))
	}
	if had, twice := all[option]; twice && had.text != values[0] {
		first, second := had.name, name
		if first > second {
			first, second = second, first
		}
		return bad("%s: is not the same as %s: want one of them", first, second)
	}
	all[option] = given{name, values[0]}
	return nil
}

// read understands the options.
func (o *options) read(all map[string]given) (err error) {
	r := optionReader{all: all}
	o.from = r.address(optionFrom)
	o.wei = r.amount(optionValue, "wei")
	o.gas = r.whole(optionGas, "an amount of gas")
	o.gasPrice = r.amount(optionGasPrice, "wei per gas")
	o.maxFee = r.amount(optionMaxFee, "wei per gas")
	o.tip = r.amount(optionTip, "wei per gas")
	o.nonce = r.whole(optionNonce, "a nonce")
	o.sync, o.call = r.flag(optionSync), r.flag(optionCall)
	o.block = r.block(optionBlock)
	o.register = r.text(optionRegister, "a name for the contract")
	o.id = r.text(optionID, "an id for the request")
	o.given = all
	o.described = r.hash(optionHash)
	switch {
	case o.gasPrice != nil && (o.maxFee != nil || o.tip != nil):
		r.fail(all[optionGasPrice], "goes with no other fee: want this, or the fees of EIP-1559")
	case o.maxFee != nil && o.tip != nil && o.tip.Cmp(o.maxFee) > 0:
		r.fail(all[optionTip], "%s is above the whole fee, %s (wei per gas)", o.tip, o.maxFee)
	}
	// A reply is kept in any case, and the transaction is stored before the answer:
	// both are understood, and change nothing.
	r.flag(optionNoAck)
	if g, ok := r.get(optionAck); ok && g.text != "" && !strings.EqualFold(g.text, "receipt") {
		r.fail(g, "want receipt, the only kind there is")
	}
	return r.err
}

// readKey takes the header Idempotency-Key for the id.
func (o *options) readKey(h http.Header) error {
	keys := h.Values("Idempotency-Key")
	switch {
	case len(keys) == 0:
		return nil
	case len(keys) > 1:
		return bad("Idempotency-Key: is given %d times", len(keys))
	case keys[0] == "":
		return bad("Idempotency-Key: is empty: want an id for the request")
	}
	if g, twice := o.given[optionID]; twice && o.id != keys[0] {
		return bad("%s: is not the same as Idempotency-Key: want one of them", g.name)
	}
	o.id, o.given[optionID] = keys[0], given{"Idempotency-Key", keys[0]}
	return nil
}

// optionReader reads options; the first mistake is in err.
type optionReader struct {
	all map[string]given
	err error
}

func (r *optionReader) get(option string) (given, bool) {
	g, ok := r.all[option]
	return g, ok
}

func (r *optionReader) fail(g given, format string, args ...any) {
	if r.err == nil {
		r.err = bad("%s: %s", g.name, fmt.Sprintf(format, args...))
	}
}

func (r *optionReader) address(option string) *common.Address {
	g, ok := r.get(option)
	if !ok {
		return nil
	}
	a, ok := parseAddress(g.text)
	if !ok {
		r.fail(g, "want an address, 0x and 40 hex digits, got %s", quote(g.text))
		return nil
	}
	return &a
}

func (r *optionReader) amount(option, unit string) *big.Int {
	g, ok := r.get(option)
	if !ok {
		return nil
	}
	n, ok := parseWhole(g.text)
	if !ok {
		r.fail(g, "want a whole number of %s, in decimal or as 0x and hex digits, got %s", unit, quote(g.text))
		return nil
	}
	if n.BitLen() > 256 {
		r.fail(g, "is too large: want at most 256 bits")
		return nil
	}
	return n
}

func (r *optionReader) whole(option, what string) *uint64 {
	g, ok := r.get(option)
	if !ok {
		return nil
	}
	n, ok := parseWhole(g.text)
	if !ok || !n.IsUint64() {
		r.fail(g, "want %s, in decimal or as 0x and hex digits, got %s", what, quote(g.text))
		return nil
	}
	u := n.Uint64()
	return &u
}

func (r *optionReader) flag(option string) bool {
	g, ok := r.get(option)
	if !ok {
		return false
	}
	switch strings.ToLower(g.text) {
	case "", "true":
		return true
	case "false":
		return false
	}
	r.fail(g, "want true or false, or nothing, which is true, got %s", quote(g.text))
	return false
}

func (r *optionReader) text(option, what string) string {
	g, ok := r.get(option)
	if ok && g.text == "" {
		r.fail(g, "is empty: want %s", what)
	}
	return g.text
}

func (r *optionReader) hash(option string) *common.Hash {
	g, ok := r.get(option)
	if !ok {
		return nil
	}
	h, ok := parseHash(g.text)
	if !ok {
		r.fail(g, "want the hash of a transaction, 0x and 64 hex digits, got %s", quote(g.text))
		return nil
	}
	return &h
}

func (r *optionReader) block(option string) string {
	g, ok := r.get(option)
	if !ok {
		return ""
	}
	switch small := strings.ToLower(g.text); small {
	case "latest", "earliest", "pending", "safe", "finalized":
		return small
	}
	n, ok := parseWhole(g.text)
	if !ok || !n.IsUint64() {
		r.fail(g, "want the number of a block, latest, earliest, pending, safe or finalized, got %s", quote(g.text))
		return ""
	}
	return "0x" + strconv.FormatUint(n.Uint64(), 16)
}

// parseAddress reads 40 hex digits, with or without 0x.
func parseAddress(text string) (common.Address, bool) {
	digits := text
	if len(text) == 42 && (text[:2] == "0x" || text[:2] == "0X") {
		digits = text[2:]
	}
	if len(digits) != 40 || !isHex(digits) {
		return common.Address{}, false
	}
	return common.HexToAddress(digits), true
}

func parseHash(text string) (common.Hash, bool) {
	digits := strings.TrimPrefix(text, "0x")
	if len(digits) != 64 || !isHex(digits) {
		return common.Hash{}, false
	}
	return common.HexToHash(digits), true
}

func isHex(text string) bool {
	for i := 0; i < len(text); i++ {
		c := text[i]
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') && (c < 'A' || c > 'F') {
			return false
		}
	}
	return true
}

// parseWhole reads a number that is not negative, in decimal or in hex.
func parseWhole(text string) (*big.Int, bool) {
	if len(text) == 0 || len(text) > 100 {
		return nil, false
	}
	if digits, hex := strings.CutPrefix(text, "0x"); hex {
		if digits == "" || !isHex(digits) {
			return nil, false
		}
		return new(big.Int).SetString(digits, 16)
	}
	for i := 0; i < len(text); i++ {
		if text[i] < '0' || text[i] > '9' {
			return nil, false
		}
	}
	return new(big.Int).SetString(text, 10)
}
