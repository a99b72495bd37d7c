// SPDX-License-Identifier: Apache-2.0

package oversight_test

import (
	"crypto/ecdsa"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/ethereum/go-ethereum/accounts/keystore"
	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/common/hexutil"
	"github.com/ethereum/go-ethereum/rpc"

	"github.com/hsmsigner/hsmsigner/e2e/harness"
)

// ownMethods reads the door's table of its own methods out of its source, so that
// one which is added and left out here is found.
func ownMethods(t *testing.T) []string {
	t.Helper()
	root, err := harness.Root()
	must(t, err)
	file, err := parser.ParseFile(token.NewFileSet(), filepath.Join(root, "internal", "rpc", "methods.go"), nil, parser.SkipObjectResolution)
	must(t, err)
	var names []string
	for _, d := range file.Decls {
		if f, ok := d.(*ast.FuncDecl); ok && f.Name.Name == "ownMethods" {
			ast.Inspect(f, func(n ast.Node) bool {
				if pair, ok := n.(*ast.KeyValueExpr); ok {
					if key, ok := pair.Key.(*ast.BasicLit); ok && key.Kind == token.STRING {
						name, err := strconv.Unquote(key.Value)
						must(t, err)
						names = append(names, name)
					}
				}
				return true
			})
		}
	}
	if len(names) < 10 {
		t.Fatalf("the table of the door has %d methods: where is it?", len(names))
	}
	return names
}

// key is that of the first account, with which somebody who stole it would sign.
func (r *rig) key() *ecdsa.PrivateKey {
	r.Helper()
	files, err := filepath.Glob(filepath.Join(r.keys.Dir, "*"))
	must(r.T, err)
	password, err := os.ReadFile(r.keys.PasswordFile)
	must(r.T, err)
	for _, name := range files {
		text, err := os.ReadFile(name)
		must(r.T, err)
		k, err := keystore.DecryptKey(text, strings.TrimSpace(string(password)))
		must(r.T, err)
		if k.Address == r.keys.Addresses[0] {
			return k.PrivateKey
		}
	}
	r.Fatal("no key")
	return nil
}

// requests are what each method that signs can be asked, by method, and what does
// not sign, with nothing.
func (r *rig) requests() map[string][][]any {
	from := r.keys.Addresses[0]
	typed := map[string]any{
		"types":       map[string]any{"EIP712Domain": []any{map[string]any{"name": "name", "type": "string"}}, "Mail": []any{map[string]any{"name": "text", "type": "string"}}},
		"primaryType": "Mail", "domain": map[string]any{"name": "test"}, "message": map[string]any{"text": "hello"},
	}
	all := map[string][][]any{
		"eth_sign":             {{from, "0x68656c6c6f"}},
		"personal_sign":        {{"0x68656c6c6f", from}, {"0x68656c6c6f", from, "password"}, {from, "0x68656c6c6f"}},
		"eth_signTypedData":    {{from, typed}},
		"eth_signTypedData_v3": {{from, typed}},
		"eth_signTypedData_v4": {{from, typed}},

		"eth_accounts": nil, "personal_listAccounts": nil, "personal_accounts": nil, "eth_fillTransaction": nil,
		"eth_getTransactionCount": nil, "eth_chainId": nil, "eth_subscribe": nil, "eth_unsubscribe": nil, "health_status": nil,
	}
	for name, args := range r.transactions() {
		all["eth_sendTransaction"] = append(all["eth_sendTransaction"], []any{args})
		signed := maps.Clone(args)
		signed["nonce"] = "0x0"
		all["eth_signTransaction"] = append(all["eth_signTransaction"], []any{signed})
		if name != "blob" { // each takes much time to prove
			all["eth_sendTransaction"] = append(all["eth_sendTransaction"], []any{signed}, []any{args, map[string]string{"idempotencyKey": name}})
		}
	}
	for _, raw := range r.raw() {
		all["eth_sendRawTransaction"] = append(all["eth_sendRawTransaction"], []any{hexutil.Bytes(raw)})
	}
	return all
}

// A rule denies everything: each method of the door that signs, with each type of
// transaction, alone, in a batch and over a WebSocket, and the signing of documents,
// answer by that rule; no backend is asked, and nothing reaches the chain.
func TestEveryMethodAndTransactionTypeIsJudged(t *testing.T) {
	r := newRig(t, built.Of(t), 1)
	d := r.start("policy: {version: hsmsigner-policy-v1, rules: [{name: nothing-leaves, effect: deny}]}\n")
	r.manage()
	const rule = "declared/nothing-leaves"
	web := r.dial(d)
	socket, err := rpc.DialContext(t.Context(), d.WSURL)
	must(t, err)
	defer socket.Close()

	all := r.requests()
	table := ownMethods(t)
	count := 0
	for _, method := range table {
		requests, known := all[method]
		if !known {
			t.Errorf("the door has a method %s: say here how it is asked to sign, or that it never does", method)
		}
		var batch []rpc.BatchElem
		for _, params := range requests {
			count++
			for way, c := range map[string]*rpc.Client{"HTTP": web, "WebSocket": socket} {
				var result any
				if err := c.CallContext(t.Context(), &result, method, params...); !strings.Contains(denied(err), rule) {
					t.Errorf("%s over %s: want error -32003 that names the rule, got %v %v\n%.300s", method, way, err, result, fmt.Sprint(params))
				}
			}
			batch = append(batch, rpc.BatchElem{Method: method, Args: params, Result: new(any)})
		}
		for way, c := range map[string]*rpc.Client{"HTTP": web, "WebSocket": socket} {
			if len(batch) == 0 {
				continue
			}
			must(t, c.BatchCallContext(t.Context(), batch))
			for i := range batch {
				if !strings.Contains(denied(batch[i].Error), rule) {
					t.Errorf("%s in a batch over %s: want error -32003 that names the rule, got %v\n%.300s", method, way, batch[i].Error, fmt.Sprint(batch[i].Args))
				}
			}
		}
	}
	for method := range all {
		if !slices.Contains(table, method) {
			t.Errorf("the door has no method %s any more", method)
		}
	}
	document := fmt.Sprintf(`{"sha256":"%064x","size":5,"name":"a.txt","media_type":"text/plain","account":%q}`, 1, r.keys.Addresses[0].Hex())
	if code, text := r.ask(d, r.root, "POST", r.service+"/signatures", document); code != http.StatusForbidden || !strings.Contains(string(text), rule) {
		t.Errorf("a document: %d %s", code, text)
	}
	if on := r.chain(); len(on) != 0 {
		t.Errorf("%d transactions are on the chain", len(on))
	}
	intents := 0
	for _, one := range r.audited() {
		switch {
		case one.Kind == "outcome":
			t.Errorf("a backend was asked: %+v", one)
		case one.Kind == "intent" && one.Verdict != "deny: "+rule:
			t.Errorf("an intent with another verdict: %+v", one)
		case one.Kind == "intent":
			intents++
		}
	}
	if want := 4*count + 1; intents != want {
		t.Errorf("%d refusals are on record, want %d", intents, want)
	}
	t.Logf("%d requests of %d methods, in 4 ways each", count, len(table))
}

// to is nobody's.
func to() *common.Address {
	a := common.HexToAddress("0x00000000000000000000000000000000000000aa")
	return &a
}
