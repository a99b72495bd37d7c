// SPDX-License-Identifier: Apache-2.0

package console

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math/big"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/crypto"

	"github.com/hsmsigner/hsmsigner/internal/abi"
	"github.com/hsmsigner/hsmsigner/internal/auth"
	"github.com/hsmsigner/hsmsigner/internal/contract"
	"github.com/hsmsigner/hsmsigner/internal/eventstream"
	"github.com/hsmsigner/hsmsigner/internal/node"
	"github.com/hsmsigner/hsmsigner/internal/platform"
	rules "github.com/hsmsigner/hsmsigner/internal/policy"
	"github.com/hsmsigner/hsmsigner/internal/strictjson"
	"github.com/hsmsigner/hsmsigner/internal/token"
	"github.com/hsmsigner/hsmsigner/internal/txmgr"
)

// ledger stands for a wallet and its chain: it answers calls as it was told, by
// their selector, and keeps what is sent.
type ledger struct {
	name string
	hand *hand

	mu      sync.Mutex
	answers map[string]string // hex of what is returned, by selector in hex
	asked   []string          // hex of the calls' data
	input   []byte            // of the only transaction on the chain
}

func (l *ledger) Name() string              { return l.name }
func (l *ledger) ChainID() *big.Int         { return big.NewInt(1) }
func (l *ledger) Has(a common.Address) bool { return a == account }

func (l *ledger) Begin(ctx context.Context, p auth.Principal, r txmgr.SendRequest) func(context.Context) (common.Hash, error) {
	hash, err := l.hand.Send(ctx, p, l.name, r)
	return func(context.Context) (common.Hash, error) { return hash, err }
}

func (l *ledger) Forward(_ context.Context, method string, params []byte, _ http.Header) (node.Response, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch method {
	case "eth_getCode":
		return node.Response{Result: json.RawMessage(`"0x60"`)}, nil
	case "eth_call":
		var one []json.RawMessage
		if err := json.Unmarshal(params, &one); err != nil {
			return node.Response{}, err
		}
		var asked struct{ Data, Input string }
		if err := json.Unmarshal(one[0], &asked); err != nil {
			return node.Response{}, err
		}
		data := strings.TrimPrefix(asked.Data+asked.Input, "0x")
		l.asked = append(l.asked, data)
		if out, ok := l.answers[data[:8]]; ok {
			return node.Response{Result: json.RawMessage(`"0x` + out + `"`)}, nil
		}
		return node.Response{Error: json.RawMessage(`{"code":3,"message":"execution reverted","data":"0x"}`)}, nil
	}
	if method == "eth_getTransactionByHash" && l.input != nil {
		return node.Response{Result: fmt.Appendf(nil, `{"input":"0x%x"}`, l.input)}, nil
	}
	return node.Response{Result: json.RawMessage("null")}, nil
}

// says has the chain answer a method.
func (l *ledger) says(t testing.TB, signature, types string, values ...string) {
	t.Helper()
	var params []abi.Param
	if types != "" {
		for _, name := range strings.Split(types, ",") {
			is, err := abi.ParseType(name, nil)
			must(t, err)
			params = append(params, abi.Param{Type: is})
		}
	}
	args := abi.Args{List: []strictjson.Value{}}
	for _, v := range values {
		args.List = append(args.List, strictjson.StringValue(v))
	}
	out, err := abi.Encode(params, args)
	must(t, err)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.answers[hex.EncodeToString(crypto.Keccak256([]byte(signature))[:4])] = hex.EncodeToString(out)
}

// market has a method of each sort that a form can have.
const market = `{"contractName":"Market%s","abi":[
 {"type":"constructor","stateMutability":"payable","inputs":[{"name":"owner","type":"address"},{"name":"limits","type":"uint256[]"}]},
 {"type":"function","name":"price","stateMutability":"view","inputs":[{"name":"good","type":"bytes32"}],"outputs":[{"name":"","type":"uint256"}]},
 {"type":"function","name":"offer","stateMutability":"payable","outputs":[],"inputs":[
   {"name":"order","type":"tuple","internalType":"struct Market.Order","components":[{"name":"seller","type":"address"},{"name":"open","type":"bool"},{"name":"amounts","type":"uint64[2]"}]},
   {"name":"note","type":"string"}]},
 {"type":"function","name":"offer","stateMutability":"nonpayable","outputs":[],"inputs":[{"name":"id","type":"uint8"}]},
 {"type":"event","name":"Offered","inputs":[{"name":"seller","type":"address","indexed":true}]}],
 "bytecode":"0x6001"}`

const tokenAt = "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed"

// contracted makes an interface, a token that is on the chain, and one that is not
// yet.
func (r *rig) contracted(behind string) {
	r.Helper()
	ctx, who, id := r.Context(), auth.Principal{Name: "key:deployer"}, serviceID(r)
	w := r.ledger(id)
	for signature, is := range map[string][2]string{
		"name()": {"string", "Our Coin" + strings.ReplaceAll(behind, `\"`, `"`)}, "symbol()": {"string", "OUR"}, "decimals()": {"uint8", "2"},
		"totalSupply()": {"uint256", "123456"}, "balanceOf(address)": {"uint256", "70001"}, "owner()": {"address", account.Hex()}, "paused()": {"bool", "false"},
		"allowance(address,address)": {"uint256", "250"},
	} {
		w.says(r, signature, is[0], is[1])
	}
	place := contract.Place{Environment: platform.DefaultEnvironment, Membership: platform.DefaultMembership}
	u, err := contract.ParseArtifact(fmt.Appendf(nil, market, ""))
	must(r, err)
	u.Description = "of ours" + strings.ReplaceAll(behind, `\"`, `"`)
	kept, err := r.contracts.Book.Upload(ctx, who, place, u)
	must(r, err)
	r.abi = kept.ID
	three := 2
	plan, err := token.Options{Kind: token.ERC20, Name: "Our Coin", Symbol: "OUR", Decimals: &three, Supply: "5", Mintable: true, Burnable: true, Pausable: true}.Plan(account)
	must(r, err)
	coin, err := r.contracts.Book.KeepToken(ctx, who, place, plan.Artifact)
	must(r, err)
	target := contract.Target{Principal: who, Place: place, Wallet: w}
	_, _, err = r.contracts.Desk.Register(ctx, target, contract.Registration{ABI: coin.ID, Address: common.HexToAddress(tokenAt), Name: "coin", Kind: contract.KindERC20})
	must(r, err)
	sent, err := r.contracts.Desk.Deploy(ctx, target, contract.Deployment{Terms: contract.Terms{From: &account}, ABI: coin, Args: abi.Args{List: plan.Args}, Name: "next", Kind: contract.KindERC20})
	must(r, err)
	r.deploying = sent.Contract
	r.streamed(behind)
}

// streamed makes a stream with a subscription.
func (r *rig) streamed(behind string) {
	r.Helper()
	body, err := strictjson.Parse(fmt.Appendf(nil, `{"name":"shop%s","type":"webhook","webhook":{"url":"https://shop.example.org/events","headers":{"Authorization":"hunter2"}}}`, behind))
	must(r, err)
	who, at, id := auth.Principal{Name: "key:deployer"}, eventstream.Place{Environment: platform.DefaultEnvironment, Membership: platform.DefaultMembership}, serviceID(r)
	is, err := r.contracts.Streams.Create(r.Context(), who, at, id, body)
	must(r, err)
	_, err = r.contracts.Streams.Subscribe(r.Context(), who, at, id, eventstream.Wanted{
		Stream: is.ID, Event: json.RawMessage(`{"type":"event","name":"Offered","inputs":[{"name":"seller","type":"address","indexed":true}]}`), FromBlock: "7",
	})
	must(r, err)
	r.stream = is.ID
}

func TestStreamIsMadeAndSubscribed(t *testing.T) {
	r := newRig(t)
	r.fill()
	b := r.signedIn(r.root)
	at := home("/streams/" + serviceID(r))
	for field, value := range map[string]string{"webhook.url": "ftp://x", "batchSize": "many", "webhook.headers": "hunter3", "type": ""} {
		form := url.Values{"type": {"webhook"}, "name": {"kept"}, "webhook.url": {"https://shop.example.org/events"}, field: {value}}
		a := b.send(at+"/new", form)
		if a.code != http.StatusUnprocessableEntity || !strings.Contains(a.text, `value="kept"`) || strings.Contains(a.text, "hunter3") {
			t.Errorf("%s: %d", field, a.code)
		}
	}
	for kind, form := range map[string]url.Values{
		"webhook":   {"webhook.url": {"https://shop.example.org/events"}, "webhook.headers": {"Authorization: Bearer hunter3\r\nX-Two: 2"}, "batchSize": {"10"}, "timestamps": {"yes"}},
		"websocket": {"websocket.topic": {"sales"}, "websocket.distributionMode": {"broadcast"}, "errorHandling": {"skip"}, "confirmations": {"3"}},
	} {
		form.Set("type", kind)
		form.Set("name", "to "+kind)
		a := b.send(at+"/new", form)
		page, _, _ := strings.Cut(a.header.Get("Location"), "?")
		if a.code != http.StatusSeeOther {
			t.Fatalf("%s: %d %s", kind, a.code, a.text)
		}
		a = b.get(page)
		if !strings.Contains(a.text, "to "+kind) || strings.Contains(a.text, "hunter3") || kind == "webhook" && !strings.Contains(a.text, "Authorization, X-Two") || kind == "websocket" && !strings.Contains(a.text, "is skipped") {
			t.Errorf("%s: %s", kind, a.text)
		}
		offered := regexp.MustCompile(`<option value="([0-9a-f]{32} Offered\(address\))"`).FindStringSubmatch(a.text)
		if offered == nil || !strings.Contains(a.text, "coin: Transfer(address,address,uint256)") {
			t.Fatalf("%s: the events cannot be chosen", kind)
		}
		for _, c := range []struct {
			event, from string
			code        int
		}{
			{tokenAt + " Transfer(address,address,uint256)", "100", http.StatusSeeOther},
			{offered[1], "0x10", http.StatusSeeOther},
			{offered[1], "soon", http.StatusUnprocessableEntity},
			{tokenAt + " Offered(address)", "1", http.StatusUnprocessableEntity},
			{tokenAt, "1", http.StatusUnprocessableEntity},
		} {
			if a := b.send(page+"/subscribe", url.Values{"event": {c.event}, "fromBlock": {c.from}}); a.code != c.code {
				t.Errorf("%s from %s: %d %s", c.event, c.from, a.code, a.text)
			}
		}
		one := regexp.MustCompile(`/subscriptions/([0-9a-f]{32})/reset`).FindStringSubmatch(b.get(page).text)
		if one == nil {
			t.Fatalf("%s: there is no subscription", kind)
		}
		for _, do := range []string{"/suspend", "/resume", "/subscriptions/" + one[1] + "/reset", "/subscriptions/" + one[1] + "/delete", "/delete"} {
			if a := b.send(page+do, url.Values{"fromBlock": {"5"}}); a.code != http.StatusSeeOther {
				t.Errorf("%s %s: %d %s", kind, do, a.code, a.text)
			}
		}
		if a := b.get(page); a.code != http.StatusNotFound {
			t.Errorf("%s: %d after it was deleted", kind, a.code)
		}
	}
}

func TestContractIsUploadedAndDeployed(t *testing.T) {
	r := newRig(t)
	r.fill()
	b := r.signedIn(r.root)
	at := home("/contracts/" + serviceID(r))
	for text, says := range map[string]string{
		"": "", "contract X {}": "", "[]x": "", `{"abi":[{"type":"function","name":"f","inputs":[{"type":"uint7"}]}]}`: "uint7",
	} {
		if a := b.send(at+"/upload", url.Values{"artifact": {text}, "name": {"kept"}}); a.code != http.StatusUnprocessableEntity || !strings.Contains(a.text, `aria-invalid="true"`) || !strings.Contains(a.text, `value="kept"`) || !strings.Contains(a.text, says) {
			t.Errorf("%q: %d", text, a.code)
		}
	}
	a := b.send(at+"/upload", url.Values{"artifact": {fmt.Sprintf(market, "place")}, "description": {"a test"}})
	page, _, _ := strings.Cut(a.header.Get("Location"), "?")
	if a.code != http.StatusSeeOther || !strings.HasPrefix(page, at+"/interfaces/") {
		t.Fatalf("%d to %s: %s", a.code, page, a.text)
	}
	a = b.get(page)
	for _, want := range []string{"Marketplace", "offer((address,bool,uint64[2]),string)", "Offered(address)", "2 bytes of creation code", `name="arg.1"`} {
		if !strings.Contains(a.text, want) {
			t.Errorf("the page does not have %s", want)
		}
	}
	form := url.Values{"from": {account.Hex()}, "arg.0": {account.Hex()}, "arg.1": {"1, 2"}, "value": {"0.5"}, "name": {"shop"}, "key": {"console-1"}}
	first, again := b.send(page+"/deploy", form), b.send(page+"/deploy", form)
	to, _, _ := strings.Cut(first.header.Get("Location"), "?")
	if first.code != http.StatusSeeOther || again.header.Get("Location") != first.header.Get("Location") || !strings.HasPrefix(to, at+"/at/") {
		t.Fatalf("%d to %s, %d to %s: %s", first.code, to, again.code, again.header.Get("Location"), first.text)
	}
	sent := r.hand.sent[len(r.hand.sent)-1]
	if sent.Args.To != nil || sent.Args.Value.Cmp(big.NewInt(5e17)) != 0 || sent.Args.From != account || !strings.HasPrefix(hex.EncodeToString(sent.Args.Data), "6001") || len(sent.Args.Data) != 2+5*32 {
		t.Errorf("%+v", sent.Args)
	}
	if a := b.get(to); a.code != http.StatusOK || !strings.Contains(a.text, "It is being deployed") || !strings.Contains(a.text, "data-live") {
		t.Errorf("%d %s", a.code, a.text)
	}
	form.Set("arg.0", "0x1")
	form.Set("key", "console-2")
	if a := b.send(page+"/deploy", form); a.code != http.StatusUnprocessableEntity || !strings.Contains(a.text, "Want an address") || !strings.Contains(a.text, `value="shop"`) {
		t.Errorf("%d %s", a.code, a.text)
	}
	if a := b.send(page+"/register", url.Values{"address": {"0x00000000000000000000000000000000000000AA"}, "name": {"coin"}}); a.code != http.StatusUnprocessableEntity {
		t.Errorf("a name that is taken: %d", a.code)
	}
	a = b.send(page+"/register", url.Values{"address": {"0x00000000000000000000000000000000000000AA"}, "name": {"there"}})
	if a.code != http.StatusSeeOther {
		t.Fatalf("%d %s", a.code, a.text)
	}
	if a := b.send(page+"/delete", nil); a.code != http.StatusUnprocessableEntity && a.code != http.StatusConflict {
		t.Errorf("an interface in use was deleted: %d", a.code)
	}
	there, _, _ := strings.Cut(a.header.Get("Location"), "?")
	if a := b.send(there+"/forget", nil); a.code != http.StatusSeeOther {
		t.Errorf("%d %s", a.code, a.text)
	}
}

func TestMethodsAreAskedAndSent(t *testing.T) {
	r := newRig(t)
	r.fill()
	b := r.signedIn(r.root)
	w := r.ledger(serviceID(r))
	at := home("/contracts/" + serviceID(r))
	a := b.send(at+"/interfaces/"+r.abi+"/register", url.Values{"address": {"0x00000000000000000000000000000000000000AA"}, "name": {"there"}})
	page, _, _ := strings.Cut(a.header.Get("Location"), "?")
	w.says(t, "price(bytes32)", "uint256", "42")
	good := "0x" + strings.Repeat("ab", 32)
	a = b.get(page + "?" + url.Values{"call": {"price(bytes32)"}, "arg.0": {good}}.Encode())
	if a.code != http.StatusOK || !strings.Contains(a.text, "&#34;output&#34;: &#34;42&#34;") || !strings.HasSuffix(w.asked[len(w.asked)-1], strings.Repeat("ab", 32)) {
		t.Errorf("%d %s", a.code, a.text)
	}
	a = b.get(page + "?" + url.Values{"call": {"price(bytes32)"}, "arg.0": {"0xab"}}.Encode())
	if a.code != http.StatusUnprocessableEntity || !strings.Contains(a.text, "0x and 64 hexadecimal digits, got") {
		t.Errorf("%d %s", a.code, a.text)
	}
	offer := "offer((address,bool,uint64[2]),string)"
	form := url.Values{"method": {offer}, "from": {account.Hex()}, "key": {"console-a"}, "arg.0.0": {account.Hex()}, "arg.0.1": {"true"}, "arg.0.2": {"[1,2]"}, "arg.1": {"two\r\nlines"}, "value": {"1"}}
	a = b.send(page+"/send", form)
	if a.code != http.StatusSeeOther || !strings.HasPrefix(a.header.Get("Location"), home("/wallets/"+serviceID(r)+"/transactions/")) {
		t.Fatalf("%d to %s: %s", a.code, a.header.Get("Location"), a.text)
	}
	sent := r.hand.sent[len(r.hand.sent)-1]
	if !strings.Contains(string(sent.Args.Data), "two\nlines") || sent.Args.Value.Cmp(big.NewInt(1e18)) != 0 || *sent.Args.To != common.HexToAddress("0xaa") {
		t.Errorf("%+v", sent.Args)
	}
	for field, value := range map[string]string{"arg.0.0": "nobody", "arg.0.2": "1", "from": "0x1", "value": "x"} {
		wrong := url.Values{}
		for name, values := range form {
			wrong[name] = values
		}
		wrong.Set(field, value)
		wrong.Set("key", "console-"+strings.ReplaceAll(field, ".", ""))
		a := b.send(page+"/send", wrong)
		if a.code != http.StatusUnprocessableEntity || strings.Count(a.text, `<strong class="what">`) == 0 || !strings.Contains(a.text, `<details class="card method" open>`) {
			t.Errorf("%s: %d %s", field, a.code, a.text)
		}
	}
	form.Set("key", "console-b")
	r.hand.fail = &rules.PendingError{ID: r.waiting, Rule: "two", Need: 2}
	if a := b.send(page+"/send", form); a.header.Get("Location") != home("/approvals/"+serviceID(r)+"/"+r.waiting)+"?done=request-asked" {
		t.Errorf("%d to %s", a.code, a.header.Get("Location"))
	}
	r.hand.fail = &txmgr.RevertError{Reason: "closed"}
	if a := b.send(page+"/send", form); a.code != http.StatusUnprocessableEntity || !strings.Contains(a.text, "reverted") {
		t.Errorf("%d %s", a.code, a.text)
	}
	r.hand.fail = nil
	if a := b.send(page+"/send", url.Values{"method": {"nothing()"}, "from": {account.Hex()}}); a.code != http.StatusNotFound {
		t.Errorf("a method that is not there: %d", a.code)
	}
	reader := r.signedIn(r.key(`{"name":"reader","grants":[{"role":"auditor","consortium_id":"h0consort0","membership_id":"h0member00"}]}`))
	if a := reader.get(page + "?" + url.Values{"call": {"price(bytes32)"}, "arg.0": {good}}.Encode()); a.code != http.StatusOK || !strings.Contains(a.text, "42") || strings.Contains(a.text, ">Send</button>") {
		t.Errorf("an auditor: %d", a.code)
	}
}

func TestTokenIsMadeAndWorkedWith(t *testing.T) {
	r := newRig(t)
	r.fill()
	b := r.signedIn(r.root)
	w := r.ledger(serviceID(r))
	at := home("/tokens/" + serviceID(r))
	for _, kind := range []string{"erc20", "erc721"} {
		form := url.Values{"type": {kind}, "name": {"A Thing"}, "symbol": {"THG"}, "supply": {"3"}, "mintable": {"yes"}, "from": {account.Hex()}, "key": {"console-" + kind}, "register": {"thing-" + kind}}
		a := b.send(at+"/new", form)
		to, _, _ := strings.Cut(a.header.Get("Location"), "?")
		if a.code != http.StatusSeeOther || !strings.HasPrefix(to, at+"/at/") {
			t.Fatalf("%s: %d %s", kind, a.code, a.text)
		}
		if s := r.hand.sent[len(r.hand.sent)-1]; s.Args.To != nil || s.Args.From != account || len(s.Args.Data) < 1000 {
			t.Errorf("%s: %d bytes from %s", kind, len(s.Args.Data), s.Args.From)
		}
		if a := b.get(to); a.code != http.StatusOK || !strings.Contains(a.text, "It is being deployed") {
			t.Errorf("%s: %d", kind, a.code)
		}
		form.Set("symbol", "")
		if a := b.send(at+"/new", form); a.code != http.StatusUnprocessableEntity || !strings.Contains(a.text, `value="A Thing"`) {
			t.Errorf("%s without a symbol: %d", kind, a.code)
		}
	}
	page := at + "/at/" + tokenAt
	a := b.get(page)
	for _, want := range []string{"Our Coin", "1\u202f234.56 OUR", "700.01", ">Mint</button>", ">Pause</button>", "2 decimals"} {
		if !strings.Contains(a.text, want) {
			t.Errorf("the page does not have %s", want)
		}
	}
	if strings.Contains(a.text, ">Unpause</button>") {
		t.Error("what is not paused can be unpaused")
	}
	for do, c := range map[string]struct {
		form url.Values
		data string
	}{
		"transfer": {url.Values{"to": {tokenAt}, "amount": {"12.5"}}, "a9059cbbTOAMOUNT"},
		"mint":     {url.Values{"to": {tokenAt}, "amount": {"12.5"}}, "40c10f19TOAMOUNT"},
		"approve":  {url.Values{"to": {tokenAt}, "amount": {"12.5"}}, "095ea7b3TOAMOUNT"},
		"burn":     {url.Values{"amount": {"12.5"}}, "42966c68AMOUNT"},
		"pause":    {url.Values{}, "8456cb59"},
	} {
		c.form.Set("signer", account.Hex())
		c.form.Set("key", "console-"+do)
		a := b.send(page+"/"+do, c.form)
		want := strings.NewReplacer("TO", strings.Repeat("0", 24)+strings.ToLower(tokenAt[2:]), "AMOUNT", fmt.Sprintf("%064x", 1250)).Replace(c.data)
		got := hex.EncodeToString(r.hand.sent[len(r.hand.sent)-1].Args.Data)
		if a.code != http.StatusSeeOther || got != want {
			t.Errorf("%s: %d, %s, want %s", do, a.code, got, want)
		}
	}
	// Of somebody else, whose tokens the signer may move.
	b.send(page+"/transfer", url.Values{"signer": {account.Hex()}, "from": {tokenAt}, "to": {account.Hex()}, "amount": {"1"}, "key": {"console-x"}})
	if got := hex.EncodeToString(r.hand.sent[len(r.hand.sent)-1].Args.Data); !strings.HasPrefix(got, "23b872dd") {
		t.Error(got)
	}
	for field, value := range map[string]string{"amount": "0.001", "to": "me", "signer": ""} {
		form := url.Values{"signer": {account.Hex()}, "to": {tokenAt}, "amount": {"1"}, field: {value}}
		if a := b.send(page+"/transfer", form); a.code != http.StatusUnprocessableEntity || !regexp.MustCompile(`<strong class="what">[^<]`).MatchString(a.text) {
			t.Errorf("%s: %d", field, a.code)
		}
	}
	if a := b.get(page + "?ask=allowance&account=" + tokenAt + "&spender=" + account.Hex()); a.code != http.StatusOK || !strings.Contains(a.text, ">2.5</pre>") {
		t.Errorf("%d", a.code)
	}
	w.says(t, "paused()", "bool", "true")
	if a := b.get(page); !strings.Contains(a.text, ">Unpause</button>") || strings.Contains(a.text, ">Pause</button>") {
		t.Error("it is not said that the token is paused")
	}
	if a := b.send(page+"/destroy", url.Values{"signer": {account.Hex()}}); a.code != http.StatusNotFound {
		t.Errorf("%d", a.code)
	}
}

func TestTransactionToAKnownContractIsRead(t *testing.T) {
	r := newRig(t)
	r.fill()
	b := r.signedIn(r.root)
	r.hand.hash = common.Hash{7}
	a := b.send(home("/tokens/"+serviceID(r)+"/at/"+tokenAt+"/transfer"), url.Values{"signer": {account.Hex()}, "to": {tokenAt}, "amount": {"1"}, "key": {"console-t"}})
	page := a.header.Get("Location")
	if a.code != http.StatusSeeOther {
		t.Fatalf("%d %s", a.code, a.text)
	}
	r.ledger(serviceID(r)).input = r.hand.sent[len(r.hand.sent)-1].Args.Data
	a = b.get(page)
	for _, want := range []string{">coin</a>", "transfer(address,uint256)", "&#34;value&#34;: &#34;100&#34;"} {
		if a.code != http.StatusOK || !strings.Contains(a.text, want) {
			t.Errorf("%d, no %s: %s", a.code, want, a.text)
		}
	}
}

func TestNavigationLeadsToTheFirstWallet(t *testing.T) {
	r := newRig(t)
	b := r.signedIn(r.root)
	for _, section := range []string{"contracts", "streams", "tokens"} {
		a := b.get(home("/" + section))
		// The wallet of the config file is the only one.
		if to := a.header.Get("Location"); a.code != http.StatusSeeOther || !strings.HasPrefix(to, home("/"+section+"/")) {
			t.Errorf("%s: %d to %s", section, a.code, to)
		}
	}
	r.fill()
	if a := b.get(home("/contracts?wallet=" + serviceID(r))); a.header.Get("Location") != home("/contracts/"+serviceID(r)) {
		t.Error(a.header.Get("Location"))
	}
}
