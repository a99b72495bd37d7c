// SPDX-License-Identifier: Apache-2.0

package console

import (
	"context"
	"net/url"
	"strings"

	"github.com/hsmsigner/hsmsigner/internal/platform"
)

// connectPage is what the page shows that says how programs use a wallet.
type connectPage struct {
	URLs     []namedURL
	Made     *platform.AppCred // just made: its password is shown this once
	Snippets []snippet
	Account  string // of the wallet, for the examples
}

type namedURL struct{ Name, URL, Use string }

// snippet is a piece of program that sends a transaction.
type snippet struct{ Name, Text string }

func connect(ctx context.Context, v *visit) (view, error) {
	p, err := v.wallet(ctx, "connect")
	if err != nil {
		return view{}, err
	}
	return v.connectPage(ctx, p, nil)
}

func makeCredentialHere(ctx context.Context, v *visit) (view, error) {
	p, err := v.wallet(ctx, "connect")
	if err != nil {
		return view{}, err
	}
	is, err := v.create(ctx, platform.AppCreds, map[string]any{"name": v.text("name"), "membership_id": p.MembershipID})
	if f, ok := v.refused(err, "name"); ok {
		p.form = f
		return v.connectPage(ctx, p, nil)
	}
	if err != nil {
		return view{}, err
	}
	made, _ := is.(*platform.AppCred)
	return v.connectPage(ctx, p, made)
}

func (v *visit) connectPage(ctx context.Context, p walletPage, made *platform.AppCred) (view, error) {
	page := connectPage{Made: made, Account: "0x…"}
	for _, u := range []struct{ key, name, use string }{
		{"http", "RPC", "JSON-RPC over HTTP, for every Ethereum program"},
		{"ws", "WSS", "the same over WebSocket, with subscriptions"},
		{"rest", "REST", "the gateway for contracts"},
	} {
		if p.URLs[u.key] != "" {
			page.URLs = append(page.URLs, namedURL{u.name, p.URLs[u.key], u.use})
		}
	}
	all, err := v.c.cfg.Platform.Accounts(ctx, v.who, v.here(), platform.AccountQuery{})
	if err != nil {
		return view{}, err
	}
	if len(all) > 0 {
		page.Account = all[0].Address
	}
	user, password := "USER", "PASSWORD"
	if made != nil {
		user, password = made.Username, made.Password
	}
	page.Snippets = snippets(p.URLs["http"], user, password, page.Account)
	p.Content = page
	return v.inside(p, "wallet-connect", "connect"), nil
}

// snippets are ready to be pasted. Where a client takes the credential in the URL
// it stands there, else in the header that HTTP Basic wants (RFC 7617).
func snippets(rpc, user, password, from string) []snippet {
	whole := rpc
	if u, err := url.Parse(rpc); err == nil {
		u.User = url.UserPassword(user, password)
		whole = u.String()
	}
	fill := strings.NewReplacer("$RPC", rpc, "$URL", whole, "$USER", user, "$PASSWORD", password, "$FROM", from)
	texts := []snippet{
		{"curl", `curl -u '$USER:$PASSWORD' -H 'Content-Type: application/json' $RPC -d '{
  "jsonrpc": "2.0", "id": 1, "method": "eth_sendTransaction",
  "params": [{"from": "$FROM", "to": "0x000000000000000000000000000000000000dEaD", "value": "0x1"}]
}'`},
		{"ethers", `import { FetchRequest, JsonRpcProvider } from "ethers";

const request = new FetchRequest("$RPC");
request.setCredentials("$USER", "$PASSWORD");
const provider = new JsonRpcProvider(request);
const signer = await provider.getSigner("$FROM");
const tx = await signer.sendTransaction({ to: "0x000000000000000000000000000000000000dEaD", value: 1n });
console.log((await tx.wait()).hash);`},
		{"viem", `import { createWalletClient, http } from "viem";

const client = createWalletClient({
  account: "$FROM",
  transport: http("$RPC", {
    fetchOptions: { headers: { Authorization: "Basic " + btoa("$USER:$PASSWORD") } },
  }),
});
const hash = await client.sendTransaction({ chain: null, to: "0x000000000000000000000000000000000000dEaD", value: 1n });`},
		{"web3.js", `import { Web3, HttpProvider } from "web3";

const web3 = new Web3(new HttpProvider("$RPC", {
  providerOptions: { headers: { Authorization: "Basic " + btoa("$USER:$PASSWORD") } },
}));
await web3.eth.sendTransaction({ from: "$FROM", to: "0x000000000000000000000000000000000000dEaD", value: "1" });`},
		{"Hardhat", `// hardhat.config.js: the accounts are those of the wallet.
networks: {
  signer: {
    url: "$RPC",
    accounts: "remote",
    httpHeaders: { Authorization: "Basic " + btoa("$USER:$PASSWORD") },
  },
},`},
		{"Foundry", `cast send --unlocked --rpc-url '$URL' \
  --from $FROM 0x000000000000000000000000000000000000dEaD --value 1wei

forge script script/Deploy.s.sol --broadcast --unlocked --sender $FROM --rpc-url '$URL'`},
		{"Go", `client, err := rpc.DialOptions(ctx, "$RPC", rpc.WithHTTPAuth(func(h http.Header) error {
	h.Set("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte("$USER:$PASSWORD")))
	return nil
}))
if err != nil {
	return err
}
var hash common.Hash
err = client.CallContext(ctx, &hash, "eth_sendTransaction", map[string]any{
	"from": "$FROM", "to": "0x000000000000000000000000000000000000dEaD", "value": "0x1",
})`},
	}
	for i := range texts {
		texts[i].Text = fill.Replace(texts[i].Text)
	}
	return texts
}
