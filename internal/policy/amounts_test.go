// SPDX-License-Identifier: Apache-2.0

package policy_test

import (
	"bytes"
	"fmt"
	"math/big"
	"strings"
	"testing"

	"github.com/ethereum/go-ethereum/common"

	"github.com/hsmsigner/hsmsigner/internal/policy"
)

func permitText(value string) string {
	return document712("Permit", "owner address,spender address,value uint256,nonce uint256,deadline uint256",
		`{"owner":"`+own.Hex()+`","spender":"`+friend.Hex()+`","value":`+value+`,"nonce":0,"deadline":99}`)
}

// document712 is typed data for token's domain, with a type "name type,…", and more types
// after it, each as "Name=name type,…".
func document712(primary, members, message string, more ...string) string {
	definition := func(members string) string {
		var list []string
		for _, m := range strings.Split(members, ",") {
			name, typ, _ := strings.Cut(m, " ")
			list = append(list, fmt.Sprintf(`{"name":%q,"type":%q}`, name, typ))
		}
		return "[" + strings.Join(list, ",") + "]"
	}
	types := fmt.Sprintf(`%q:%s`, primary, definition(members))
	for _, m := range more {
		name, members, _ := strings.Cut(m, "=")
		types += fmt.Sprintf(`,%q:%s`, name, definition(members))
	}
	return `{"types":{"EIP712Domain":[{"name":"name","type":"string"},{"name":"chainId","type":"uint256"},{"name":"verifyingContract","type":"address"}],` + types + `},
"primaryType":"` + primary + `","domain":{"name":"Coin","chainId":1,"verifyingContract":"` + token.Hex() + `"},"message":` + message + `}`
}

const (
	nothing   = "0"
	unlimited = "unlimited"
)

// most is more than any amount in these tests, but less than 2^255.
var most = new(big.Int).Lsh(big.NewInt(1), 254).String()

// counted is what a limit on the asset counts of a request: an amount, nothing, or unlimited.
func counted(t *testing.T, asset, extra string, r policy.Request) string {
	t.Helper()
	unit := ""
	if asset == "native" {
		unit = " wei"
	}
	d := rules(t, `limits: [{name: it, asset: "`+asset+`", per: account, max: `+most+unit+`, window: 24h`+extra+`}]`).Judge(r, noon)
	switch {
	case d.Effect == deny && d.Rule == "it" && strings.Contains(d.Reason, "unlimited"):
		return unlimited
	case d.Effect != allow || len(d.Takes) > 1:
		t.Fatalf("%+v", d)
	case len(d.Takes) == 0:
		return nothing
	}
	return d.Takes[0].Amount.String()
}

func TestAmountsOfTokenCalls(t *testing.T) {
	n := big.NewInt(500)
	full := new(big.Int).Sub(new(big.Int).Lsh(big.NewInt(1), 256), big.NewInt(1))
	half := new(big.Int).Lsh(big.NewInt(1), 255)
	full160 := new(big.Int).Sub(new(big.Int).Lsh(big.NewInt(1), 160), big.NewInt(1))
	two := []*big.Int{big.NewInt(2), big.NewInt(3)}
	for _, c := range []struct {
		data         []byte
		want, pieces string
	}{
		{call(t, "transfer(address,uint256)", friend, n), "500", "1"},
		{call(t, "transferFrom(address,address,uint256)", own, friend, n), "500", "1"},
		{call(t, "transferFrom(address,address,uint256)", own, friend, common.Big0), nothing, "1"}, // an id of ERC-721 may be 0
		{call(t, "approve(address,uint256)", friend, n), "500", "1"},
		{call(t, "approve(address,uint256)", friend, common.Big0), nothing, "1"},
		{call(t, "approve(address,uint256)", friend, full), unlimited, "1"},
		{call(t, "increaseAllowance(address,uint256)", friend, n), "500", "1"},
		{call(t, "increaseApproval(address,uint256)", friend, n), "500", "1"},
		{call(t, "decreaseAllowance(address,uint256)", friend, n), nothing, nothing},
		{call(t, "setApprovalForAll(address,bool)", friend, true), unlimited, unlimited},
		{call(t, "setApprovalForAll(address,bool)", friend, false), nothing, nothing},
		{call(t, "safeTransferFrom(address,address,uint256)", own, friend, n), "1", "1"},
		{call(t, "safeTransferFrom(address,address,uint256,bytes)", own, friend, n, []byte{1}), "1", "1"},
		{call(t, "safeTransferFrom(address,address,uint256,uint256,bytes)", own, friend, common.Big1, n, []byte{}), "500", "500"},
		{call(t, "safeBatchTransferFrom(address,address,uint256[],uint256[],bytes)", own, friend, two, two, []byte{}), "5", "5"},
		{call(t, "transferAndCall(address,uint256,bytes)", friend, n, []byte{1, 2}), "500", "1"},
		{call(t, "approveAndCall(address,uint256,bytes)", friend, n, []byte{}), "500", "1"},
		{call(t, "approve(address)", friend), unlimited, unlimited},
		{call(t, "authorizeOperator(address)", friend), unlimited, unlimited},
		{call(t, "send(address,uint256,bytes)", friend, n, []byte{}), "500", "1"},
		{call(t, "burn(uint256)", n), "500", "1"},
		{call(t, "push(address,uint256)", friend, n), "500", "1"},
		{call(t, "redeem(uint256,address,address)", n, friend, own), "500", "1"},
		{call(t, "withdraw(uint256,address,address)", n, friend, own), unlimited, unlimited},
		{call(t, "multicall(bytes[])", [][]byte{call(t, "transfer(address,uint256)", friend, n)}), unlimited, unlimited},
		{call(t, "setOperator(address,bool)", friend, true), unlimited, unlimited},
		{call(t, "setOperator(address,bool)", friend, false), nothing, nothing},
		{call(t, "transfer(address,uint256,uint256)", friend, common.Big1, n), "500", "500"},
		{call(t, "transferFrom(address,address,uint256,uint256)", own, friend, common.Big1, n), "500", "500"},
		{call(t, "approve(address,uint256,uint256)", friend, common.Big1, n), "500", "500"},
		{call(t, "approve(address,uint256,uint256)", friend, common.Big1, full), unlimited, unlimited},
		{call(t, "balanceOf(address)", friend), nothing, nothing},
		{nil, nothing, nothing},
		{[]byte{0xa9, 0x05}, nothing, nothing},
	} {
		r := send(&token, ether("0"), c.data)
		if got := counted(t, token.Hex(), "", r); got != c.want {
			t.Errorf("%x: counted %s, want %s", c.data, got, c.want)
		}
		if got := counted(t, "any-token", "", r); got != c.want {
			t.Errorf("%x: of any token %s, want %s", c.data, got, c.want)
		}
		if got := counted(t, token.Hex(), ", count: pieces", r); got != c.pieces {
			t.Errorf("%x: %s pieces, want %s", c.data, got, c.pieces)
		}
		for asset, r := range map[string]policy.Request{stranger.Hex(): r, "native": r} {
			if got := counted(t, asset, "", r); got != nothing {
				t.Errorf("%x: counted %s of %s", c.data, got, asset)
			}
		}
	}
	// Permit2 names the token in its arguments.
	for _, c := range []struct {
		data []byte
		want string
	}{
		{call(t, "approve(address,address,uint160,uint48)", token, friend, n, n), "500"},
		{call(t, "approve(address,address,uint160,uint48)", token, friend, full160, n), unlimited},
		{call(t, "transferFrom(address,address,uint160,address)", own, friend, n, token), "500"},
	} {
		if got := counted(t, token.Hex(), "", send(&stranger, ether("0"), c.data)); got != c.want {
			t.Errorf("%x: counted %s, want %s", c.data, got, c.want)
		}
	}
	// An amount that no maximum reaches is refused, not wrapped around.
	r := send(&token, ether("0"), call(t, "transfer(address,uint256)", friend, half))
	want(t, rules(t, `limits: [{name: it, asset: any-token, per: account, max: 1000, window: total}]`).Judge(r, noon), deny, "it")
}

// TestCalldataThatContractsReadDifferentlyIsUnlimited spells a transfer as no
// compiler does.
func TestCalldataThatContractsReadDifferentlyIsUnlimited(t *testing.T) {
	good := call(t, "transfer(address,uint256)", friend, big.NewInt(5))
	change := func(at int, b byte) []byte { d := bytes.Clone(good); d[at] = b; return d }
	batch := call(t, "safeBatchTransferFrom(address,address,uint256[],uint256[],bytes)", own, friend, []*big.Int{common.Big1}, []*big.Int{common.Big1}, []byte{})
	shared := bytes.Clone(batch)
	copy(shared[4+3*32:], shared[4+2*32:4+3*32]) // both arrays at one place
	named := rules(t, `rules: [{name: pay, effect: allow, actions: transaction, methods: ["transfer(address,uint256)"]}]`)
	banned := rules(t, `rules: [{name: ban, effect: deny, methods: [{signature: "transfer(address to,uint256 n)", args: {n: {min: 1000}}}]}, {name: rest, effect: allow, actions: transaction}]`)
	want(t, named.Judge(send(&token, ether("0"), good), noon), allow, "pay")
	want(t, banned.Judge(send(&token, ether("0"), good), noon), allow, "rest")
	for name, data := range map[string][]byte{
		"dirty address":  change(4, 1),
		"bytes after it": append(bytes.Clone(good), 0),
		"a word after":   append(bytes.Clone(good), make([]byte, 32)...),
		"short amount":   good[:len(good)-1],
		"only selector":  good[:4],
	} {
		r := send(&token, ether("0"), data)
		if got := counted(t, token.Hex(), "", r); got != unlimited {
			t.Errorf("%s: counted %s", name, got)
		}
		want(t, named.Judge(r, noon), deny, "no match")
		want(t, banned.Judge(r, noon), deny, "ban")
	}
	if got := counted(t, token.Hex(), "", send(&token, ether("0"), shared)); got != unlimited {
		t.Errorf("arrays at one place: counted %s", got)
	}
	if got := counted(t, token.Hex(), "", send(&token, ether("0"), batch)); got != "1" {
		t.Errorf("batch: counted %s", got)
	}
}

func TestCalldataToTheAccountItselfIsUnlimited(t *testing.T) {
	for _, asset := range []string{"native", token.Hex(), "any-token"} {
		if got := counted(t, asset, "", send(&own, ether("0"), []byte{1, 2, 3, 4})); got != unlimited {
			t.Errorf("%s: counted %s", asset, got)
		}
	}
	if got := counted(t, "native", "", send(&own, ether("1"), nil)); got != ether("1").String() {
		t.Errorf("a plain transfer to itself: %s", got)
	}
}

func TestAmountsOfTypedData(t *testing.T) {
	full := new(big.Int).Sub(new(big.Int).Lsh(big.NewInt(1), 256), big.NewInt(1)).String()
	full160 := new(big.Int).Sub(new(big.Int).Lsh(big.NewInt(1), 160), big.NewInt(1)).String()
	addr, other := `"`+friend.Hex()+`"`, `"`+token.Hex()+`"`
	dai := func(allowed string) string {
		return document712("Permit", "holder address,spender address,nonce uint256,expiry uint256,allowed bool",
			`{"holder":`+addr+`,"spender":`+addr+`,"nonce":1,"expiry":1,"allowed":`+allowed+`}`)
	}
	details := func(amount string) string {
		return `{"token":` + other + `,"amount":` + amount + `,"expiration":1,"nonce":1}`
	}
	const (
		detailsType = "PermitDetails=token address,amount uint160,expiration uint48,nonce uint48"
		permitted   = "TokenPermissions=token address,amount uint256"
	)
	for name, c := range map[string]struct{ text, want string }{
		"permit":                         {permitText(`"500"`), "500"},
		"permit of nothing":              {permitText(`0`), nothing},
		"permit without end":             {permitText(`"` + full + `"`), unlimited},
		"permit, other order":            {document712("Permit", "deadline uint256,value uint256,nonce uint256,spender address,owner address", `{"owner":`+addr+`,"spender":`+addr+`,"value":7,"nonce":0,"deadline":99}`), "7"},
		"permit, one more":               {document712("Permit", "owner address,spender address,value uint256,nonce uint256,deadline uint256,x bool", `{"owner":`+addr+`,"spender":`+addr+`,"value":7,"nonce":0,"deadline":99,"x":true}`), unlimited},
		"permit, int value":              {document712("Permit", "owner address,spender address,value int256,nonce uint256,deadline uint256", `{"owner":`+addr+`,"spender":`+addr+`,"value":-7,"nonce":0,"deadline":99}`), unlimited},
		"permit within":                  {document712("Batch", "all Permit[]", `{"all":[]}`, "Permit=owner address,value uint256"), unlimited},
		"something to spend":             {document712("Order", "spender address,n uint256", `{"spender":`+addr+`,"n":1}`), unlimited},
		"dai":                            {dai("true"), unlimited},
		"dai revoked":                    {dai("false"), nothing},
		"ERC-721 permit":                 {document712("Permit", "spender address,tokenId uint256,nonce uint256,deadline uint256", `{"spender":`+addr+`,"tokenId":77,"nonce":0,"deadline":99}`), "1"},
		"ERC-3009":                       {document712("TransferWithAuthorization", "from address,to address,value uint256,validAfter uint256,validBefore uint256,nonce bytes32", `{"from":`+addr+`,"to":`+addr+`,"value":9,"validAfter":0,"validBefore":9,"nonce":"0x`+strings.Repeat("00", 32)+`"}`), "9"},
		"permit2":                        {document712("PermitSingle", "details PermitDetails,spender address,sigDeadline uint256", `{"details":`+details("500")+`,"spender":`+addr+`,"sigDeadline":1}`, detailsType), "500"},
		"permit2 without end":            {document712("PermitSingle", "details PermitDetails,spender address,sigDeadline uint256", `{"details":`+details(`"`+full160+`"`)+`,"spender":`+addr+`,"sigDeadline":1}`, detailsType), unlimited},
		"permit2 batch":                  {document712("PermitBatch", "details PermitDetails[],spender address,sigDeadline uint256", `{"details":[`+details("500")+`,`+details("1")+`],"spender":`+addr+`,"sigDeadline":1}`, detailsType), "501"},
		"permit2 batch, one without end": {document712("PermitBatch", "details PermitDetails[],spender address,sigDeadline uint256", `{"details":[`+details(`"`+full160+`"`)+`,`+details("1")+`,`+details("2")+`],"spender":`+addr+`,"sigDeadline":1}`, detailsType), unlimited},
		"permit2 odd details":            {document712("PermitSingle", "details PermitDetails,spender address,sigDeadline uint256", `{"details":{"token":`+other+`,"amount":1},"spender":`+addr+`,"sigDeadline":1}`, "PermitDetails=token address,amount uint160"), unlimited},
		"permit2 transfer":               {document712("PermitTransferFrom", "permitted TokenPermissions,spender address,nonce uint256,deadline uint256", `{"permitted":{"token":`+other+`,"amount":3},"spender":`+addr+`,"nonce":1,"deadline":1}`, permitted), "3"},
		"permit2 transfers":              {document712("PermitBatchTransferFrom", "permitted TokenPermissions[],spender address,nonce uint256,deadline uint256", `{"permitted":[{"token":`+other+`,"amount":3},{"token":`+addr+`,"amount":9}],"spender":`+addr+`,"nonce":1,"deadline":1}`, permitted), "3"},
		"permit2 with witness":           {document712("PermitWitnessTransferFrom", "permitted TokenPermissions,spender address,nonce uint256,deadline uint256,witness Order", `{"permitted":{"token":`+other+`,"amount":3},"spender":`+addr+`,"nonce":1,"deadline":1,"witness":{"n":5}}`, permitted, "Order=n uint256"), "3"},
		"meta-transaction":               {document712("MetaTransaction", "nonce uint256,from address,functionSignature bytes", `{"nonce":1,"from":`+addr+`,"functionSignature":"0x"}`), unlimited},
		"forwarded call":                 {document712("ForwardRequest", "from address,to address,value uint256,gas uint256,nonce uint256,data bytes", `{"from":`+addr+`,"to":`+addr+`,"value":0,"gas":1,"nonce":1,"data":"0x"}`), unlimited},
		"a login":                        {document712("Login", "nonce uint256", `{"nonce":5}`), nothing},
	} {
		r := typed(t, c.text)
		if got := counted(t, token.Hex(), "", r); got != c.want {
			t.Errorf("%s: counted %s, want %s", name, got, c.want)
		}
		if got := counted(t, "native", "", r); got != nothing {
			t.Errorf("%s: counted %s of native", name, got)
		}
	}
	// A domain that is bound to no contract, or names it as something else, permits for every token.
	unbound := strings.Replace(permitText("5"), `,"verifyingContract":"`+token.Hex()+`"`, "", 1)
	unbound = strings.Replace(unbound, `,{"name":"verifyingContract","type":"address"}`, "", 1)
	asText := strings.Replace(permitText("5"), `"verifyingContract","type":"address"`, `"verifyingContract","type":"string"`, 1)
	for _, text := range []string{unbound, asText} {
		if got := counted(t, stranger.Hex(), "", typed(t, text)); got != unlimited {
			t.Errorf("%s: counted %s", text, got)
		}
	}
}

func TestEachTokenIsCountedByItself(t *testing.T) {
	r := rules(t, `limits: [{name: each, asset: any-token, per: wallet, max: 10, window: 1h}]`)
	text := document712("PermitBatchTransferFrom", "permitted TokenPermissions[],spender address,nonce uint256,deadline uint256",
		`{"permitted":[{"token":"`+token.Hex()+`","amount":3},{"token":"`+friend.Hex()+`","amount":9},{"token":"`+token.Hex()+`","amount":4}],"spender":"`+own.Hex()+`","nonce":1,"deadline":1}`,
		"TokenPermissions=token address,amount uint256")
	d := r.Judge(typed(t, text), noon)
	if len(d.Takes) != 2 || d.Takes[0].Amount.Int64() != 7 || d.Takes[1].Amount.Int64() != 9 || d.Takes[0].Key == d.Takes[1].Key {
		t.Errorf("takes %+v", d.Takes)
	}
	if want := strings.ToLower(token.Hex()); d.Takes[0].Asset != want {
		t.Errorf("asset %s, want %s", d.Takes[0].Asset, want)
	}
}

func TestWhatIsCountedTogether(t *testing.T) {
	key := func(per, scope string, r policy.Request) string {
		d := rules(t, `limits: [{name: it, asset: native, per: `+per+`, max: 10 ether, window: 1h}]`).In(scope).Judge(r, noon)
		if len(d.Takes) != 1 {
			t.Fatalf("%+v", d)
		}
		return d.Takes[0].Key
	}
	base := send(&friend, ether("1"), nil)
	account, wallet, credential := base, base, base
	account.Account, wallet.Owner.Wallet, credential.Principal.Name = friend, "other", "app:2"
	for per, others := range map[string][]bool{"account": {true, false, false}, "wallet": {false, true, false}, "credential": {false, false, true}, "nothing": {false, false, false}} {
		for i, r := range []policy.Request{account, wallet, credential} {
			if differs := key(per, "x", base) != key(per, "x", r); differs != others[i] {
				t.Errorf("per %s, request %d: counted apart: %v", per, i, differs)
			}
		}
	}
	if key("account", "x", base) == key("account", "y", base) {
		t.Error("two scopes share what they count")
	}
	// A name cannot be chosen so that it looks like another key.
	a, b := base, base
	a.Principal.Name, b.Principal.Name = `x" native`, `x`
	if key("credential", "x", a) == key("credential", "x", b) {
		t.Error("two principals share what they count")
	}
}
