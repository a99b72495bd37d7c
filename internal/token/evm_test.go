// SPDX-License-Identifier: Apache-2.0

package token_test

import (
	"encoding/json"
	"errors"
	"math/big"
	"testing"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/core/state"
	"github.com/ethereum/go-ethereum/core/types"
	"github.com/ethereum/go-ethereum/core/vm"
	"github.com/ethereum/go-ethereum/core/vm/runtime"
	"github.com/ethereum/go-ethereum/params"

	"github.com/hsmsigner/hsmsigner/internal/abi"
	"github.com/hsmsigner/hsmsigner/internal/strictjson"
	"github.com/hsmsigner/hsmsigner/internal/token"
)

var (
	alice = common.HexToAddress("0xa11ce00000000000000000000000000000000001")
	bob   = common.HexToAddress("0xb0b0000000000000000000000000000000000002")
)

// chain runs contracts as a chain did that had the merge and no later fork.
type chain struct {
	t  *testing.T
	db *state.StateDB
}

func newChain(t *testing.T) *chain {
	db, err := state.New(types.EmptyRootHash, state.NewDatabaseForTesting())
	if err != nil {
		t.Fatal(err)
	}
	return &chain{t, db}
}

func (c *chain) config(from common.Address) *runtime.Config {
	forks := *params.MergedTestChainConfig
	forks.ShanghaiTime, forks.CancunTime, forks.PragueTime, forks.OsakaTime = nil, nil, nil, nil
	forks.BPO1Time, forks.BPO2Time, forks.BPO3Time, forks.BPO4Time, forks.BPO5Time = nil, nil, nil, nil, nil
	forks.AmsterdamTime, forks.UBTTime, forks.BlobScheduleConfig = nil, nil, nil
	return &runtime.Config{
		ChainConfig: &forks, Origin: from, State: c.db, GasLimit: 15_000_000, Random: &common.Hash{},
		BlockNumber: new(big.Int), BaseFee: new(big.Int), GasPrice: new(big.Int),
	}
}

// made is a token that was deployed.
type made struct {
	*chain
	kind    token.Kind
	abi     *abi.Contract
	address common.Address
}

func (c *chain) deploy(o token.Options) (made, error) {
	c.t.Helper()
	p, err := o.Plan(alice)
	if err != nil {
		c.t.Fatalf("%+v: %v", o, err)
	}
	parsed, err := abi.Parse(p.Artifact.ABI)
	if err != nil {
		c.t.Fatalf("%s: %v", p.Artifact.Name, err)
	}
	args, err := abi.EncodeConstructor(parsed, abi.Args{List: p.Args})
	if err != nil {
		c.t.Fatalf("%s: %v", p.Artifact.Name, err)
	}
	_, address, _, err := runtime.Create(append(append([]byte(nil), p.Artifact.Bytecode...), args...), c.config(alice))
	return made{c, o.Kind, parsed, address}, err
}

// do calls a method and gives what it says; a revert is an error with its name.
func (m made) do(from common.Address, op token.Operation, given map[token.Field]string) (string, error) {
	m.t.Helper()
	var fields []token.Field
	for f := range given {
		fields = append(fields, f)
	}
	way, err := op.Of(m.kind, m.abi, fields...)
	if err != nil {
		return "", err
	}
	args := []strictjson.Value{}
	for _, f := range way.Fields {
		text, ok := given[f]
		if !ok {
			text = from.Hex()
		}
		args = append(args, strictjson.StringValue(text))
	}
	data, err := way.Method.Encode(abi.Args{List: args})
	if err != nil {
		m.t.Fatal(err)
	}
	out, _, err := runtime.Call(m.address, data, m.config(from))
	if errors.Is(err, vm.ErrExecutionReverted) {
		r, _ := m.abi.DecodeRevert(out)
		return "", errors.New(r.Name)
	}
	if err != nil {
		return "", err
	}
	back, err := way.Method.DecodeOutputs(out)
	if err != nil {
		m.t.Fatal(err)
	}
	var values map[string]any
	if err := json.Unmarshal(back, &values); err != nil {
		m.t.Fatal(err)
	}
	for _, v := range values {
		text, _ := v.(string)
		return text, nil
	}
	return "", nil
}

// must has an operation succeed with this answer; none with "" is not looked at.
func (m made) must(want string, from common.Address, op token.Operation, given map[token.Field]string) {
	m.t.Helper()
	got, err := m.do(from, op, given)
	if err != nil || want != "" && got != want {
		m.t.Errorf("%s %v: got %q, %v; want %q", op, given, got, err, want)
	}
}

// fails has an operation revert with an error of this name.
func (m made) fails(name string, from common.Address, op token.Operation, given map[token.Field]string) {
	m.t.Helper()
	if got, err := m.do(from, op, given); err == nil || err.Error() != name {
		m.t.Errorf("%s %v: got %q, %v; want %s", op, given, got, err, name)
	}
}

type g = map[token.Field]string

func TestEveryFungibleTokenDoesWhatWasAskedForAndNoMore(t *testing.T) {
	for bits := range 16 {
		o := token.Options{Kind: token.ERC20, Name: "Gold Ω", Symbol: "GLD", Supply: "1000.5", Mintable: bits&1 != 0, Burnable: bits&4 != 0, Pausable: bits&8 != 0}
		if bits&2 != 0 {
			o.Cap = "1001"
		}
		if o.Cap != "" && !o.Mintable {
			continue
		}
		m, err := newChain(t).deploy(o)
		if err != nil {
			t.Fatalf("%+v: %v", o, err)
		}
		if kind, ok := token.KindOf(m.abi); !ok || kind != token.ERC20 {
			t.Errorf("%+v is taken for %q", o, kind)
		}
		m.must("Gold Ω", bob, token.Name, nil)
		m.must("GLD", bob, token.Symbol, nil)
		m.must("18", bob, token.Decimals, nil)
		m.must("1000500000000000000000", bob, token.Balance, g{token.Account: alice.Hex()})
		m.must("", alice, token.Transfer, g{token.To: bob.Hex(), token.Value: "7"})
		m.must("7", bob, token.Balance, g{token.Account: bob.Hex()})
		m.fails("ERC20InsufficientBalance", bob, token.Transfer, g{token.To: alice.Hex(), token.Value: "8"})
		m.fails("ERC20InsufficientAllowance", bob, token.Transfer, g{token.From: alice.Hex(), token.To: bob.Hex(), token.Value: "1"})
		m.must("", alice, token.Approve, g{token.To: bob.Hex(), token.Value: "3"})
		m.must("3", bob, token.Allowance, g{token.Account: alice.Hex(), token.Spender: bob.Hex()})
		m.must("", bob, token.Transfer, g{token.From: alice.Hex(), token.To: bob.Hex(), token.Value: "2"})
		m.optional(o.Mintable, func() {
			m.must("", alice, token.Mint, g{token.To: bob.Hex(), token.Value: "500000000000000000"})
			m.fails("OwnableUnauthorizedAccount", bob, token.Mint, g{token.To: bob.Hex(), token.Value: "1"})
		}, token.Mint, g{token.To: bob.Hex(), token.Value: "1"})
		m.optional(o.Cap != "", func() {
			m.must("1001000000000000000000", bob, token.Cap, nil)
			m.fails("ERC20ExceededCap", alice, token.Mint, g{token.To: bob.Hex(), token.Value: "1"})
		}, token.Cap, nil)
		m.optional(o.Burnable, func() {
			m.must("", bob, token.Burn, g{token.Value: "4"})
			m.must("", bob, token.Burn, g{token.From: alice.Hex(), token.Value: "1"})
			m.fails("ERC20InsufficientAllowance", bob, token.Burn, g{token.From: alice.Hex(), token.Value: "1"})
		}, token.Burn, g{token.Value: "1"})
		m.pausing(o.Pausable, g{token.To: alice.Hex(), token.Value: "1"})
		m.must("", bob, token.Transfer, g{token.To: alice.Hex(), token.Value: "1"})
	}
}

func TestEveryCollectionDoesWhatWasAskedForAndNoMore(t *testing.T) {
	for bits := range 8 {
		o := token.Options{Kind: token.ERC721, Name: "Art", Symbol: "ART", Supply: "2", BaseURI: "https://example.org/t/", Mintable: bits&1 != 0, Burnable: bits&2 != 0, Pausable: bits&4 != 0}
		m, err := newChain(t).deploy(o)
		if err != nil {
			t.Fatalf("%+v: %v", o, err)
		}
		if kind, ok := token.KindOf(m.abi); !ok || kind != token.ERC721 {
			t.Errorf("%+v is taken for %q", o, kind)
		}
		m.must("2", bob, token.Balance, g{token.Account: alice.Hex()})
		m.must("https://example.org/t/2", bob, token.TokenURI, g{token.ID: "2"})
		m.fails("ERC721NonexistentToken", bob, token.OwnerOf, g{token.ID: "3"})
		m.must("", alice, token.Transfer, g{token.To: bob.Hex(), token.ID: "1"})
		owner, err := m.do(bob, token.OwnerOf, g{token.ID: "1"})
		if err != nil || common.HexToAddress(owner) != bob {
			t.Errorf("token 1 is %s's: %v", owner, err)
		}
		m.fails("ERC721InsufficientApproval", bob, token.Transfer, g{token.From: alice.Hex(), token.To: bob.Hex(), token.ID: "2"})
		m.must("", alice, token.ApproveAll, g{token.To: bob.Hex(), token.Flag: "true"})
		m.must("", bob, token.Transfer, g{token.From: alice.Hex(), token.To: bob.Hex(), token.ID: "2"})
		m.optional(o.Mintable, func() {
			m.must("3", alice, token.Mint, g{token.To: bob.Hex()})
			m.must("4", alice, token.Mint, g{token.To: bob.Hex()})
			m.fails("OwnableUnauthorizedAccount", bob, token.Mint, g{token.To: bob.Hex()})
			m.fails("ERC721InvalidReceiver", alice, token.Mint, g{token.To: m.address.Hex()})
		}, token.Mint, g{token.To: bob.Hex()})
		m.optional(o.Burnable, func() {
			m.must("", bob, token.Burn, g{token.ID: "1"})
			m.fails("ERC721NonexistentToken", bob, token.OwnerOf, g{token.ID: "1"})
		}, token.Burn, g{token.ID: "1"})
		m.pausing(o.Pausable, g{token.To: alice.Hex(), token.ID: "2"})
		m.must("", bob, token.Transfer, g{token.To: alice.Hex(), token.ID: "2"})
	}
}

// optional has work done if the token has the feature; else the operation is not
// offered at all.
func (m made) optional(has bool, work func(), op token.Operation, given g) {
	m.t.Helper()
	if has {
		work()
		return
	}
	_, err := m.do(alice, op, given)
	var refused *token.OperationError
	if !errors.As(err, &refused) || refused.Offered() {
		m.t.Errorf("%s is offered, though nobody asked for it: %v", op, err)
	}
}

// pausing stops bob's transfers for a moment.
func (m made) pausing(has bool, transfer g) {
	m.t.Helper()
	m.optional(has, func() {
		m.must("", alice, token.Pause, nil)
		m.fails("EnforcedPause", bob, token.Transfer, transfer)
		m.must("", alice, token.Unpause, nil)
		m.fails("OwnableUnauthorizedAccount", bob, token.Pause, nil)
	}, token.Pause, nil)
}

func TestOwnerOfATokenMayBeSomebodyElse(t *testing.T) {
	o := token.Options{Kind: token.ERC20, Name: "Gold", Symbol: "GLD", Supply: "1", Mintable: true, Owner: &bob}
	m, err := newChain(t).deploy(o)
	if err != nil {
		t.Fatal(err)
	}
	m.must("1000000000000000000", alice, token.Balance, g{token.Account: bob.Hex()})
	m.must("0", alice, token.Balance, g{token.Account: alice.Hex()})
	m.fails("OwnableUnauthorizedAccount", alice, token.Mint, g{token.To: alice.Hex(), token.Value: "1"})
}

func TestLargestCollectionFitsIntoATransaction(t *testing.T) {
	o := token.Options{Kind: token.ERC721, Name: "Art", Symbol: "ART", Supply: "256", Mintable: true, Burnable: true, Pausable: true}
	m, err := newChain(t).deploy(o)
	if err != nil {
		t.Fatal(err)
	}
	m.must("256", alice, token.Balance, g{token.Account: alice.Hex()})
	m.must("257", alice, token.Mint, g{token.To: bob.Hex()})
}

// Were the chain of these tests newer than it says, they would show nothing about
// older ones.
func TestChainOfTheseTestsIsAnOldOne(t *testing.T) {
	for code, name := range map[string]string{"\x5f": "PUSH0", "\x60\x00\x60\x00\x60\x00\x5e": "MCOPY"} {
		_, _, _, err := runtime.Create([]byte(code), newChain(t).config(alice))
		var unknown *vm.ErrInvalidOpCode
		if !errors.As(err, &unknown) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
