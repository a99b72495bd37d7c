// SPDX-License-Identifier: Apache-2.0

package main

import (
	"strings"
	"text/template"
)

const bannerText = `
────────────────────────────────────────────────────────────────────────────────
  HSM Signer is running. Any Ethereum program can send through it: it looks like
  a node that has the key.

  Console    http://{{.Admin}}/console/sign-in#{{.Key}}
             (this link fills in the API key: press Sign in)
  JSON-RPC   http://{{.RPC}}        WebSocket  ws://{{.RPC}}
  Metrics    http://{{.Admin}}/metrics
  Account    {{.Account}}   (funded with 10,000 ether on chain {{.Chain}})

  Send with curl:

curl -s http://{{.RPC}} -H 'content-type: application/json' -d '{"jsonrpc":"2.0","id":1,
"method":"eth_sendTransaction","params":[{"from":"{{.Account}}",
"to":"{{.Target}}","value":"0x1"}]}'

  Send with cast:

cast send --rpc-url http://{{.RPC}} --unlocked --from {{.Account}} \
  {{.Target}} --value 1gwei

  Send with viem (after npm install viem):

node --input-type=module -e '
import { createWalletClient, http } from "viem"
const wallet = createWalletClient({ account: "{{.Account}}", transport: http("http://{{.RPC}}") })
console.log(await wallet.sendTransaction({ to: "{{.Target}}", value: 1n, chain: null }))'

{{if .Once}}  Without --once it keeps running until Ctrl-C.{{else}}  Files and logs: {{.Dir}}
  Ctrl-C stops everything{{if .Temporary}} and removes the files{{end}}.{{end}}
────────────────────────────────────────────────────────────────────────────────
`

func (d *demo) banner() {
	var b strings.Builder
	// The template is a constant and its data has no methods: it cannot fail.
	_ = template.Must(template.New("banner").Parse(bannerText)).Execute(&b, map[string]any{
		"RPC": d.rpc, "Admin": d.http, "Key": d.key, "Account": d.account.Hex(), "Chain": d.chain,
		"Target": demoTarget, "Dir": d.dir, "Temporary": d.temporary, "Once": d.once,
	})
	_, _ = d.out.Write([]byte(b.String()))
}
