// SPDX-License-Identifier: Apache-2.0

package gateway_test

import (
	"fmt"
	"math/big"
	"net/http"
	"strings"
	"testing"

	"github.com/ethereum/go-ethereum"
	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/common/hexutil"
	"github.com/ethereum/go-ethereum/crypto"

	"github.com/hsmsigner/hsmsigner/e2e/harness"
	"github.com/hsmsigner/hsmsigner/internal/key/hashicorp/vaulttest"
	"github.com/hsmsigner/hsmsigner/internal/key/pkcs11/softhsm"
)

// A token is deployed by an account whose key is in a PKCS#11 token.
func TestTokensOfAnAccountInAPKCS11Token(t *testing.T) {
	t.Parallel()
	token, err := softhsm.New(t.Context(), "signing")
	must(t, err)
	t.Cleanup(func() { _ = token.Close() })
	name, value, _ := strings.Cut(token.Env()[0], "=")
	r := start(t, harness.StartAnvil(t, 0), fmt.Sprintf("pkcs11_modules: {softhsm: {path: %q, protection: software, environment: {%s: %q}}}\ngrants: [{membership: %s, pkcs11: [{module: softhsm, token_label: signing}]}]\n",
		token.Module, name, value, membership))
	w := r.wallet("hsm", nil, fmt.Sprintf(`{"provider":"pkcs11","module":"softhsm","token_label":"signing","user_secret":%q,"admin":{"user_secret":%q}}`, token.PIN, token.PIN))
	for _, key := range []string{"issuer", "customer"} {
		made := r.Want(http.StatusCreated, "POST", place+"/services/"+w.id+"/accounts", fmt.Sprintf(`{"name":%q}`, key))
		w.accounts = append(w.accounts, common.HexToAddress(made["address"].(string)))
	}
	w.fund()
	w.fungible()
	w.collectible()
	w.fromTheConsole()
}

// The same by an account whose key is in Vault, with our plugin.
func TestTokensOfAnAccountInVault(t *testing.T) {
	t.Parallel()
	server, err := vaulttest.Start(t.Context())
	must(t, err)
	t.Cleanup(func() { _ = server.Close() })
	role, err := server.AppRole(t.Context(), "signer", []string{vaulttest.DigestSigner}, nil)
	must(t, err)
	secret, err := server.SecretID(t.Context(), role)
	must(t, err)
	var accounts []common.Address
	for _, key := range []string{"issuer", "customer"} {
		a, err := server.CreateKey(t.Context(), vaulttest.Mount, key)
		must(t, err)
		accounts = append(accounts, a)
	}
	r := start(t, harness.StartAnvil(t, 0), "")
	w := r.wallet("vault", accounts, fmt.Sprintf(`{"provider":"hashicorp","target_address":%q,"mount":%q,"role_id":%q,"user_secret":%q}`, server.URL(), vaulttest.Mount, role.RoleID, secret))
	w.fund()
	w.collectible()
	w.fungible()
	w.fromTheConsole()
}

// fund has anvil give each account 10,000 ether.
func (w *wallet) fund() {
	w.Helper()
	for _, a := range w.accounts {
		must(w.T, w.node.RPC.CallContext(w.Context(), nil, "anvil_setBalance", a, (*hexutil.Big)(harness.Rich())))
	}
}

// mint deploys a token under a name and returns its address.
func (w *wallet) mint(name string, options map[string]any) common.Address {
	w.Helper()
	made := w.want(http.StatusOK, "POST", "/tokens?fly-sync&fly-from="+w.from(0)+"&fly-register="+name, options)
	w.expect(made, "TransactionSuccess", "headers", "type")
	address := common.HexToAddress(made.say("contractAddress"))
	shown := w.want(http.StatusOK, "GET", "/tokens/"+name, nil)
	w.expect(shown, strings.ToLower(address.Hex()), "address")
	w.expect(shown, options["name"].(string), "options", "name")
	return address
}

// does has an operation done by one of the accounts, which has to succeed.
func (w *wallet) does(account int, token, operation string, body map[string]any) answer {
	w.Helper()
	a := w.want(http.StatusOK, "POST", "/tokens/"+token+"/"+operation+"?fly-sync&fly-from="+w.from(account), body)
	w.expect(a, "TransactionSuccess", "headers", "type")
	return a
}

// mayNot has an operation tried that the contract refuses with an error of its own.
func (w *wallet) mayNot(account int, token, operation string, body map[string]any, want string) {
	w.Helper()
	a := w.want(http.StatusBadRequest, "POST", "/tokens/"+token+"/"+operation+"?fly-sync&fly-from="+w.from(account), body)
	w.expect(a, want, "revert", "name")
}

func (w *wallet) answers(token, question, want string) {
	w.Helper()
	w.expect(w.want(http.StatusOK, "GET", "/tokens/"+token+"/"+question, nil), want, "output")
}

// held asks the node itself how much an account has.
func (r *rig) held(token, account common.Address) *big.Int {
	r.Helper()
	data := append(crypto.Keccak256([]byte("balanceOf(address)"))[:4], common.LeftPadBytes(account[:], 32)...)
	out, err := r.node.Eth.CallContract(r.Context(), ethereum.CallMsg{To: &token, Data: data}, nil)
	must(r.T, err)
	return new(big.Int).SetBytes(out)
}

func (w *wallet) fungible() {
	w.Helper()
	token := w.mint("points", map[string]any{
		"type": "erc20", "name": "Bonus Points", "symbol": "PTS", "decimals": 6, "supply": "1000.5", "cap": "1001",
		"mintable": true, "burnable": true, "pausable": true,
	})
	for question, want := range map[string]string{
		"name": "Bonus Points", "symbol": "PTS", "decimals": "6", "supply": "1000500000", "cap": "1001000000", "paused": "false",
		"owner": w.from(0), "balance?account=" + w.from(0): "1000500000",
	} {
		w.answers("points", question, want)
	}
	w.does(0, "points", "mint", map[string]any{"to": w.from(1), "amount": "500000"})
	w.mayNot(0, "points", "mint", map[string]any{"to": w.from(1), "amount": "1"}, "ERC20ExceededCap")
	w.mayNot(1, "points", "mint", map[string]any{"to": w.from(1), "amount": "1"}, "OwnableUnauthorizedAccount")
	moved := w.does(0, "points", "transfer", map[string]any{"to": w.from(1), "amount": "100"})
	w.expect(moved, "100", "events", 0, "data", "value")
	w.does(0, "points", "approve", map[string]any{"to": w.from(1), "amount": 40})
	w.answers("points", "allowance?account="+w.from(0)+"&spender="+w.from(1), "40")
	w.does(1, "points", "transfer", map[string]any{"from": w.from(0), "to": w.from(1), "amount": "40"})
	w.does(1, "points", "burn", map[string]any{"amount": "140"})
	w.does(0, "points", "pause", map[string]any{})
	w.mayNot(0, "points", "transfer", map[string]any{"to": w.from(1), "amount": "1"}, "EnforcedPause")
	w.does(0, "points", "unpause", map[string]any{})
	if a, b := w.held(token, w.accounts[0]), w.held(token, w.accounts[1]); a.Int64() != 1_000_499_860 || b.Int64() != 500_000 {
		w.Errorf("the accounts have %d and %d", a, b)
	}
}

func (w *wallet) collectible() {
	w.Helper()
	token := w.mint("tickets", map[string]any{
		"type": "ERC-721", "name": "Tickets", "symbol": "TIX", "supply": "2", "baseURI": "https://example.org/ticket/",
		"mintable": true, "burnable": true, "pausable": true,
	})
	w.answers("tickets", "balance?account="+w.from(0), "2")
	made := w.does(0, "tickets", "mint", map[string]any{"to": w.from(1)})
	id := made.say("events", 0, "data", "tokenId")
	w.answers("tickets", "ownerof?tokenId="+id, w.from(1))
	w.answers("tickets", "uri?tokenId="+id, "https://example.org/ticket/"+id)
	w.mayNot(0, "tickets", "transfer", map[string]any{"from": w.from(1), "to": w.from(0), "tokenId": id}, "ERC721InsufficientApproval")
	w.does(1, "tickets", "approve", map[string]any{"to": w.from(0), "tokenId": id})
	w.does(0, "tickets", "transfer", map[string]any{"from": w.from(1), "to": w.from(0), "tokenId": id})
	w.does(0, "tickets", "approveall", map[string]any{"to": w.from(1), "approved": true})
	w.does(1, "tickets", "transfer", map[string]any{"from": w.from(0), "to": w.from(1), "tokenId": id})
	w.does(1, "tickets", "burn", map[string]any{"tokenId": id})
	if gone := w.want(http.StatusBadRequest, "GET", "/tokens/tickets/ownerof?tokenId="+id, nil); gone.say("revert", "name") != "ERC721NonexistentToken" {
		w.Errorf("the owner of what was burned: %s", gone.text)
	}
	w.does(0, "tickets", "pause", map[string]any{})
	w.mayNot(0, "tickets", "mint", map[string]any{"to": w.from(1)}, "EnforcedPause")
	if a, b := w.held(token, w.accounts[0]), w.held(token, w.accounts[1]); a.Int64() != 2 || b.Int64() != 0 {
		w.Errorf("the accounts have %d and %d", a, b)
	}
	if all := w.want(http.StatusOK, "GET", "/tokens?type=erc721", nil); len(all.list) != 1 {
		w.Errorf("tokens: %s", all.text)
	}
}
