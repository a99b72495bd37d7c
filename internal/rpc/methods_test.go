// SPDX-License-Identifier: Apache-2.0

package rpc

import (
	"encoding/json"
	"fmt"
	"math/big"
	"strings"
	"testing"

	"github.com/ethereum/go-ethereum/accounts"
	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/common/hexutil"
	"github.com/ethereum/go-ethereum/core/types"
	"github.com/ethereum/go-ethereum/crypto"
)

func (r *rig) own() string { return strings.ToLower(r.hand.address.Hex()) }

func TestAccountsAnswerAlikeUnderAllTheirNames(t *testing.T) {
	r := newRig(t)
	for _, m := range []string{"eth_accounts", "personal_listAccounts", "personal_accounts"} {
		if got, want := result(t, r.call(m, "[]")), `["`+r.own()+`"]`; got != want {
			t.Errorf("%s: got %s, want %s", m, got, want)
		}
	}
	if len(r.wire.calls(t)) != 0 {
		t.Error("the node was asked for accounts")
	}
}

func TestHealthStatusIsAString(t *testing.T) {
	r := newRig(t)
	if got := result(t, r.call("health_status", "[]")); got != `"OK"` {
		t.Error(got)
	}
}

func TestSendTransactionAnswersTheHash(t *testing.T) {
	r := newRig(t)
	got := result(t, r.call("eth_sendTransaction", `[{"from":"`+r.own()+`","to":"`+to+`","value":"0x1"},{"idempotencyKey":"pay-1"}]`))
	if want := `"` + common.HexToHash("0x7").Hex() + `"`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if b := r.hand.begun; len(b) != 1 || b[0].IdempotencyKey != "pay-1" || b[0].Args.Value.Cmp(big.NewInt(1)) != 0 || b[0].Order != nil {
		t.Errorf("begun: %+v", b)
	}
	if r.hand.who[0].Name != "anonymous" {
		t.Errorf("principal %q", r.hand.who[0].Name)
	}
}

func TestIdempotencyKeyComesByHeaderOrByParameter(t *testing.T) {
	send := func(r *rig, options string, h string) string {
		return r.call("eth_sendTransaction", `[{"from":"`+r.own()+`","to":"`+to+`"}`+options+`]`, header("Idempotency-Key", h))
	}
	r := newRig(t)
	result(t, send(r, ``, "from header"))
	result(t, send(r, `,null`, "from header"))
	result(t, send(r, `,{"idempotencyKey":"same"}`, "same"))
	wantError(t, send(r, `,{"idempotencyKey":"one"}`, "other"), codeParams,
		"the header Idempotency-Key and the second parameter give different keys")
	var keys []string
	for _, b := range r.hand.begun {
		keys = append(keys, b.IdempotencyKey)
	}
	if got := strings.Join(keys, "|"); got != "from header|from header|same" {
		t.Errorf("keys %s", got)
	}
	for _, bad := range []string{"", strings.Repeat("k", 256), "ü"} {
		if _, body := r.do(`{}`, header("Idempotency-Key", bad)); !strings.Contains(body, "Idempotency-Key must be 1 to 255 printable ASCII characters") {
			t.Errorf("%q: %s", bad, body)
		}
	}
	if len(r.hand.begun) != 3 {
		t.Error("a bad key was let through")
	}
}

func TestSignTransactionAnswersAsGethOrAsOpSigner(t *testing.T) {
	const rest = `"to":"` + to + `","nonce":"0x5","gas":"0x5208","gasPrice":"0x3","value":"0x2","chainId":"0x539"`
	r := newRig(t)
	var got struct {
		Raw hexutil.Bytes
		Tx  struct {
			From  common.Address
			Nonce hexutil.Uint64
			Hash  common.Hash
		}
	}
	if err := json.Unmarshal([]byte(result(t, r.call("eth_signTransaction", `[{"from":"`+r.own()+`",`+rest+`}]`))), &got); err != nil {
		t.Fatal(err)
	}
	signed := new(types.Transaction)
	if err := signed.UnmarshalBinary(got.Raw); err != nil {
		t.Fatal(err)
	}
	from, err := types.Sender(types.NewEIP155Signer(big.NewInt(1337)), signed)
	if err != nil || from != r.hand.address || got.Tx.From != from || got.Tx.Nonce != 5 || got.Tx.Hash != signed.Hash() {
		t.Errorf("from %s, %v, tx %+v", from, err, got.Tx)
	}

	op := newRig(t, func(c *Config) { c.Services["treasury"].SignTransactionHex = true })
	var raw hexutil.Bytes
	if err := json.Unmarshal([]byte(result(t, op.call("eth_signTransaction", `[{"from":"`+op.own()+`",`+rest+`}]`))), &raw); err != nil {
		t.Fatal(err)
	}
	if string(raw) != string(got.Raw) {
		t.Error("the bare string is another transaction")
	}
}

func TestFillTransactionDoesNotSign(t *testing.T) {
	r := newRig(t)
	var got struct {
		Raw hexutil.Bytes
		Tx  map[string]any
	}
	if err := json.Unmarshal([]byte(result(t, r.call("eth_fillTransaction", `[{"from":"`+r.own()+`","to":"`+to+`"}]`))), &got); err != nil {
		t.Fatal(err)
	}
	if got.Tx["gas"] != "0x5208" || got.Tx["r"] != "0x0" || got.Tx["from"] != r.own() {
		t.Errorf("%v", got.Tx)
	}
}

func recoverFrom(t *testing.T, digest []byte, quoted string) common.Address {
	t.Helper()
	sig := hexutil.MustDecode(strings.Trim(quoted, `"`))
	if len(sig) != 65 || sig[64] != 27 && sig[64] != 28 {
		t.Fatalf("signature %x", sig)
	}
	sig[64] -= 27
	pub, err := crypto.SigToPub(digest, sig)
	if err != nil {
		t.Fatal(err)
	}
	return crypto.PubkeyToAddress(*pub)
}

func TestSignsMessagesOnlyUnderTheirPrefix(t *testing.T) {
	r := newRig(t)
	live := types.NewEIP155Signer(big.NewInt(1337)).Hash(types.NewTx(&types.LegacyTx{Nonce: 1, Gas: 21000, GasPrice: big.NewInt(1)}))
	for _, data := range []string{"0x", "0x68656c6c6f", live.Hex()} {
		msg := hexutil.MustDecode(data)
		mixed := r.hand.address.Hex()
		for name, body := range map[string]string{
			"eth_sign":                        r.call("eth_sign", `["`+r.own()+`","`+data+`"]`),
			"eth_sign, mixed case":            r.call("eth_sign", `["`+mixed+`","`+data+`"]`),
			"personal_sign":                   r.call("personal_sign", `["`+data+`","`+r.own()+`"]`),
			"personal_sign, swapped":          r.call("personal_sign", `["`+r.own()+`","`+data+`"]`),
			"personal_sign, empty password":   r.call("personal_sign", `["`+data+`","`+r.own()+`",""]`),
			"personal_sign, null password":    r.call("personal_sign", `["`+data+`","`+r.own()+`",null]`),
			"personal_sign, another password": r.call("personal_sign", `["`+data+`","`+r.own()+`","secret"]`),
		} {
			if got := recoverFrom(t, accounts.TextHash(msg), result(t, body)); got != r.hand.address {
				t.Errorf("%s of %s: signed by %s", name, data, got)
			}
			// Scenario 42: the digest of a live transaction gives no signature
			// of that transaction.
			if len(msg) == 32 && recoverFrom(t, msg, result(t, body)) == r.hand.address {
				t.Errorf("%s signed a bare digest", name)
			}
		}
	}
	// Where both are addresses the standard order holds.
	body := r.call("personal_sign", `["`+to+`","`+r.own()+`"]`)
	if got := recoverFrom(t, accounts.TextHash(common.HexToAddress(to).Bytes()), result(t, body)); got != r.hand.address {
		t.Errorf("20 bytes of data: signed by %s", got)
	}
}

const mail = `{"types":{"EIP712Domain":[{"name":"name","type":"string"},{"name":"chainId","type":"uint256"}],"Mail":[{"name":"text","type":"string"}]},"primaryType":"Mail","domain":{"name":"d","chainId":%d},"message":{"text":"hi"}}`

func TestTypedDataComesAsObjectOrString(t *testing.T) {
	r := newRig(t)
	object := fmt.Sprintf(mail, 1337)
	quoted, _ := json.Marshal(object)
	first := result(t, r.call("eth_signTypedData_v4", `["`+r.own()+`",`+object+`]`))
	for _, m := range []string{"eth_signTypedData", "eth_signTypedData_v3", "eth_signTypedData_v4"} {
		if got := result(t, r.call(m, `["`+r.own()+`",`+string(quoted)+`]`)); got != first {
			t.Errorf("%s: %s, want %s", m, got, first)
		}
	}
	wantError(t, r.call("eth_signTypedData_v4", `["`+r.own()+`",`+fmt.Sprintf(mail, 1)+`]`), codeServer, "chain id 1 does not match 1337")
	wantError(t, r.call("eth_signTypedData_v4", `["`+to+`",`+object+`]`), codeServer, "unknown account 0x00000000000000000000000000000000000000AA")
	list := strings.Replace(object, `"type":"string"}]},"primaryType"`, `"type":"string[]"}]},"primaryType"`, 1)
	list = strings.Replace(list, `"hi"`, `["hi"]`, 1)
	result(t, r.call("eth_signTypedData_v4", `["`+r.own()+`",`+list+`]`))
	wantError(t, r.call("eth_signTypedData_v3", `["`+r.own()+`",`+list+`]`), codeParams, "types: eth_signTypedData_v3 has no arrays; use eth_signTypedData_v4")
}

func TestPendingNonceOfOwnAccountIsOurs(t *testing.T) {
	r := newRig(t)
	if got := result(t, r.call("eth_getTransactionCount", `["`+r.hand.address.Hex()+`","pending"]`)); got != `"0x7"` {
		t.Errorf("own, pending: %s", got)
	}
	if n := len(r.wire.calls(t)); n != 0 {
		t.Errorf("the node was asked %d times", n)
	}
	for _, params := range []string{`["` + r.own() + `","latest"]`, `["` + to + `","pending"]`, `["` + r.own() + `"]`, `["` + r.own() + `",{"blockHash":"0x01"}]`, `[7]`} {
		if got := result(t, r.call("eth_getTransactionCount", params)); got != `"0x1"` {
			t.Errorf("%s: %s", params, got)
		}
	}
	if n := len(r.wire.calls(t)); n != 5 {
		t.Errorf("the node was asked %d times, want 5", n)
	}
}

func rawFrom(t *testing.T, r *rig, n int64, own bool) string {
	t.Helper()
	key := r.hand.key
	if !own {
		var err error
		if key, err = crypto.ToECDSA(common.LeftPadBytes([]byte{9}, 32)); err != nil {
			t.Fatal(err)
		}
	}
	signed := types.MustSignNewTx(key, types.LatestSignerForChainID(big.NewInt(1337)),
		&types.DynamicFeeTx{ChainID: big.NewInt(1337), Nonce: uint64(n), Gas: 21000, GasFeeCap: big.NewInt(9), GasTipCap: big.NewInt(1)})
	raw, err := signed.MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	return hexutil.Encode(raw)
}

func TestRawTransactionOfOwnAccountGoesToTheManager(t *testing.T) {
	r := newRig(t)
	own, foreign := rawFrom(t, r, 1, true), rawFrom(t, r, 1, false)
	if got := result(t, r.call("eth_sendRawTransaction", `["`+own+`"]`)); got != `"`+crypto.Keccak256Hash(hexutil.MustDecode(own)).Hex()+`"` {
		t.Errorf("own: %s", got)
	}
	if len(r.hand.raw) != 1 || len(r.wire.calls(t)) != 0 {
		t.Errorf("manager %d, node %d", len(r.hand.raw), len(r.wire.calls(t)))
	}
	wantError(t, r.call("eth_sendRawTransaction", `["`+own+`",{}]`), codeParams, "eth_sendRawTransaction takes 1 parameters, got 2")
	for _, params := range []string{`["` + foreign + `"]`, `["0x00"]`} {
		result(t, r.call("eth_sendRawTransaction", params))
	}
	// What another reader might take for a transaction is not passed on.
	for _, params := range []string{`["zz"]`, `["` + own[2:] + `"]`, `[5]`} {
		wantError(t, r.call("eth_sendRawTransaction", params), codeParams, "parameter 1, the signed transaction: want a string of 0x and an even number of hex digits")
	}
	if len(r.hand.raw) != 1 || len(r.wire.calls(t)) != 2 {
		t.Errorf("manager %d, node %d", len(r.hand.raw), len(r.wire.calls(t)))
	}
	r.hand.pass = true
	result(t, r.call("eth_sendRawTransaction", `["`+own+`"]`))
	if len(r.wire.calls(t)) != 3 {
		t.Error("what the manager leaves to the node did not get there")
	}
}
