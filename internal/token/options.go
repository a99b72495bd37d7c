// SPDX-License-Identifier: Apache-2.0

package token

import (
	"encoding/json"
	"fmt"
	"math/big"
	"net/url"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/ethereum/go-ethereum/common"

	"github.com/hsmsigner/hsmsigner/internal/strictjson"
)

// What options may be at most.
const (
	MaxName     = 64  // characters
	MaxSymbol   = 32  // characters
	MaxBaseURI  = 512 // bytes
	MaxDecimals = 36
	MaxAtFirst  = 256 // tokens that an ERC-721 contract is made with: each costs about 27,000 gas

	DefaultDecimals = 18 // of ERC-20, as ether has
)

// Options say which token is to be made. Their JSON is what callers send, and what
// is remembered of a token.
type Options struct {
	Kind   Kind   `json:"type"`
	Name   string `json:"name"`
	Symbol string `json:"symbol"`
	// Decimals is how many digits after the point amounts of an ERC-20 token have;
	// nil for DefaultDecimals. ERC-721 has none.
	Decimals *int `json:"decimals,omitempty"`
	// Supply is what there is from the beginning, in whole tokens, decimal, with no
	// more digits after the point than Decimals: "1000000" or "0.5". Of ERC-721 it is
	// a number of tokens, at most MaxAtFirst. Empty is none.
	Supply string `json:"supply,omitempty"`
	// Cap is what there may be at most, in whole tokens; empty for no cap. ERC-20, and
	// with Mintable, only.
	Cap      string `json:"cap,omitempty"`
	Mintable bool   `json:"mintable,omitempty"`
	Burnable bool   `json:"burnable,omitempty"`
	Pausable bool   `json:"pausable,omitempty"`
	// BaseURI is what the URI of each token begins with; its id follows directly.
	// ERC-721 only.
	BaseURI string `json:"baseURI,omitempty"`
	// Owner gets the supply and is the one who may mint and pause; nil for the account
	// that deploys.
	Owner *common.Address `json:"owner,omitempty"`
}

// OptionError says which option is wrong, and what would be right.
type OptionError struct {
	Field string // as in the JSON of [Options]; empty for all of it
	Want  string
}

func (e *OptionError) Error() string {
	if e.Field == "" {
		return e.Want
	}
	return e.Field + ": " + e.Want
}

func wrong(field, format string, args ...any) error {
	return &OptionError{Field: field, Want: fmt.Sprintf(format, args...)}
}

// Plan is what is to be deployed.
type Plan struct {
	Artifact *Artifact
	Args     []strictjson.Value // of the constructor, in its order
	Owner    common.Address
}

// Plan chooses the contract and the arguments of its constructor. deployer is the
// account that signs the deployment. The error of a caller is an [*OptionError].
func (o Options) Plan(deployer common.Address) (Plan, error) {
	owner := deployer
	if o.Owner != nil {
		owner = *o.Owner
	}
	if owner == (common.Address{}) {
		return Plan{}, wrong("owner", "want an account, not the zero address")
	}
	args, err := o.args(owner)
	if err != nil {
		return Plan{}, err
	}
	all, err := Artifacts()
	if err != nil {
		return Plan{}, err
	}
	name := id(o.Kind, o.features())
	a, ok := all[name]
	if !ok {
		return Plan{}, fmt.Errorf("token: this program has no contract %s", name)
	}
	return Plan{Artifact: a, Args: args, Owner: owner}, nil
}

// Check reports whether there is such a token: nil, or an [*OptionError].
func (o Options) Check() error {
	_, err := o.args(common.Address{})
	return err
}

// features are those of the artifact, in the order of its name.
func (o Options) features() []string {
	var list []string
	for _, f := range []struct {
		name string
		on   bool
	}{{"mintable", o.Mintable}, {"capped", o.Cap != ""}, {"burnable", o.Burnable}, {"pausable", o.Pausable}} {
		if f.on {
			list = append(list, f.name)
		}
	}
	return list
}

// args checks the options and orders them as the constructor has them.
func (o Options) args(owner common.Address) ([]strictjson.Value, error) {
	if o.Kind != ERC20 && o.Kind != ERC721 {
		return nil, wrong("type", "want %s or %s", ERC20, ERC721)
	}
	if err := label("name", o.Name, MaxName); err != nil {
		return nil, err
	}
	if err := label("symbol", o.Symbol, MaxSymbol); err != nil {
		return nil, err
	}
	text := strictjson.StringValue
	args := []strictjson.Value{text(o.Name), text(o.Symbol)}
	holder := text(strings.ToLower(owner.Hex()))
	if o.Kind == ERC721 {
		supply, err := o.collection()
		if err != nil {
			return nil, err
		}
		return append(args, text(o.BaseURI), holder, text(supply.String())), nil
	}
	decimals, supply, most, err := o.fungible()
	if err != nil {
		return nil, err
	}
	args = append(args, text(strconv.Itoa(decimals)), holder, text(supply.String()))
	if most != nil {
		args = append(args, text(most.String()))
	}
	return args, nil
}

// fungible checks what is special to ERC-20. supply and most are in the smallest
// unit; most is nil without a cap.
func (o Options) fungible() (decimals int, supply, most *big.Int, err error) {
	if o.BaseURI != "" {
		return 0, nil, nil, wrong("baseURI", "only tokens of %s have one", ERC721)
	}
	decimals = DefaultDecimals
	if o.Decimals != nil {
		decimals = *o.Decimals
	}
	if decimals < 0 || decimals > MaxDecimals {
		return 0, nil, nil, wrong("decimals", "want a whole number from 0 to %d", MaxDecimals)
	}
	supply = new(big.Int)
	if o.Supply != "" {
		if supply, err = Units(o.Supply, decimals); err != nil {
			return 0, nil, nil, wrong("supply", "%s", err)
		}
	}
	if supply.Sign() == 0 && !o.Mintable {
		return 0, nil, nil, wrong("supply", "want more than 0, or mintable: else there never is a token")
	}
	if o.Cap == "" {
		return decimals, supply, nil, nil
	}
	if !o.Mintable {
		return 0, nil, nil, wrong("cap", "goes with mintable only: without it there never is more than the supply")
	}
	if most, err = Units(o.Cap, decimals); err != nil {
		return 0, nil, nil, wrong("cap", "%s", err)
	}
	if most.Sign() == 0 || most.Cmp(supply) < 0 {
		return 0, nil, nil, wrong("cap", "want more than 0, and no less than the supply")
	}
	return decimals, supply, most, nil
}

// collection checks what is special to ERC-721.
func (o Options) collection() (*big.Int, error) {
	switch {
	case o.Decimals != nil:
		return nil, wrong("decimals", "only tokens of %s have them", ERC20)
	case o.Cap != "":
		return nil, wrong("cap", "only tokens of %s have one", ERC20)
	}
	if err := baseURI(o.BaseURI); err != nil {
		return nil, err
	}
	supply := new(big.Int)
	if o.Supply != "" {
		var err error
		if supply, err = Units(o.Supply, 0); err != nil {
			return nil, wrong("supply", "%s", err)
		}
	}
	if supply.Cmp(big.NewInt(MaxAtFirst)) > 0 {
		return nil, wrong("supply", "want at most %d tokens from the beginning; more are minted one by one", MaxAtFirst)
	}
	if supply.Sign() == 0 && !o.Mintable {
		return nil, wrong("supply", "want more than 0, or mintable: else there never is a token")
	}
	return supply, nil
}

// label checks a text that people read in wallets and block explorers.
func label(field, s string, most int) error {
	n := utf8.RuneCountInString(s)
	if n == 0 || n > most || !utf8.ValidString(s) || strings.TrimSpace(s) != s ||
		strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return wrong(field, "want 1 to %d printable characters, without blanks at the ends", most)
	}
	return nil
}

func baseURI(s string) error {
	if s == "" {
		return nil
	}
	u, err := url.Parse(s)
	if err != nil || u.Scheme == "" || len(s) > MaxBaseURI || !utf8.ValidString(s) ||
		strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || !unicode.IsPrint(r) }) {
		return wrong("baseURI", "want a URI of at most %d bytes, such as https://example.org/token/", MaxBaseURI)
	}
	return nil
}

// optionNames are the members of the JSON of Options.
var optionNames = []string{"type", "name", "symbol", "decimals", "supply", "cap", "mintable", "burnable", "pausable", "baseURI", "owner"}

// ParseOptions reads options as a caller sends them. Supply and cap may be numbers
// as well as text, flags "true" and "false" as well as true and false. The error is
// an [*OptionError]. The options are not checked against each other yet: that is for
// [Options.Check] and [Options.Plan].
func ParseOptions(v strictjson.Value) (Options, error) {
	if v.Kind != strictjson.Object {
		return Options{}, wrong("", "want an object with the options of a token, not %s", v.Kind)
	}
	var o Options
	for _, m := range v.Members {
		if m.Value.Kind == strictjson.Null {
			continue
		}
		if err := o.set(m.Name, m.Value); err != nil {
			return Options{}, err
		}
	}
	return o, nil
}

func (o *Options) set(name string, v strictjson.Value) (err error) {
	switch name {
	case "type":
		var kind string
		err = text(name, v, &kind)
		o.Kind = Kind(strings.ReplaceAll(strings.ToLower(kind), "-", ""))
	case "name":
		err = text(name, v, &o.Name)
	case "symbol":
		err = text(name, v, &o.Symbol)
	case "baseURI":
		err = text(name, v, &o.BaseURI)
	case "supply":
		o.Supply, err = amount(name, v)
	case "cap":
		o.Cap, err = amount(name, v)
	case "mintable":
		o.Mintable, err = flag(name, v)
	case "burnable":
		o.Burnable, err = flag(name, v)
	case "pausable":
		o.Pausable, err = flag(name, v)
	case "decimals":
		n, bad := strconv.Atoi(v.Text)
		if bad != nil || v.Kind != strictjson.Number && v.Kind != strictjson.String {
			return wrong(name, "want a whole number from 0 to %d", MaxDecimals)
		}
		o.Decimals = &n
	case "owner":
		if v.Kind != strictjson.String || !strings.HasPrefix(v.Text, "0x") || !common.IsHexAddress(v.Text) {
			return wrong(name, "want an address: 0x and 40 hex digits")
		}
		a := common.HexToAddress(v.Text)
		o.Owner = &a
	default:
		return wrong("", "a token has no option %q: want some of %s", excerpt(name), strings.Join(optionNames, ", "))
	}
	return err
}

func text(field string, v strictjson.Value, to *string) error {
	if v.Kind != strictjson.String {
		return wrong(field, "want text, not %s", v.Kind)
	}
	*to = v.Text
	return nil
}

func amount(field string, v strictjson.Value) (string, error) {
	if v.Kind != strictjson.String && v.Kind != strictjson.Number {
		return "", wrong(field, "want a number of tokens, not %s", v.Kind)
	}
	return v.Text, nil
}

func flag(field string, v strictjson.Value) (bool, error) {
	if v.Text != "true" && v.Text != "false" || v.Kind != strictjson.Bool && v.Kind != strictjson.String {
		return false, wrong(field, "want true or false")
	}
	return v.Text == "true", nil
}

// excerpt shortens what a caller sent.
func excerpt(s string) string {
	if len(s) > 32 {
		return strings.ToValidUTF8(s[:32], "") + "…"
	}
	return s
}

// Detail is the JSON that is remembered of a token made with these options.
func (o Options) Detail() json.RawMessage {
	b, _ := json.Marshal(o) // it has texts, numbers and flags
	return b
}
