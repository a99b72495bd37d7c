// SPDX-License-Identifier: Apache-2.0

package hashicorp_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"log/slog"
	"math"
	"math/big"
	"net/http"
	"strings"
	"testing"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/common/hexutil"
	"github.com/ethereum/go-ethereum/core/types"

	"github.com/hsmsigner/hsmsigner/internal/key"
	"github.com/hsmsigner/hsmsigner/internal/key/hashicorp"
	"github.com/hsmsigner/hsmsigner/internal/key/hashicorp/vaultfake"
)

func openEthsign(t *testing.T, f *vaultfake.Server, log *bytes.Buffer) *hashicorp.EthsignBackend {
	t.Helper()
	c := fakeConfig(f)
	c.Engine = hashicorp.Ethsign
	if log != nil {
		c.Logger = slog.New(slog.NewTextHandler(log, nil))
	}
	b, ok := open(t, c).(*hashicorp.EthsignBackend)
	if !ok {
		t.Fatal("engine ethsign did not give an EthsignBackend")
	}
	return b
}

func ethsignRef(f *vaultfake.Server) key.Ref { return key.Ref("ethereum/" + f.Addresses()[0]) }

func legacy() *types.LegacyTx {
	to := common.HexToAddress("0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed")
	return &types.LegacyTx{Nonce: 7, GasPrice: big.NewInt(1), Gas: 50_000, To: &to, Value: big.NewInt(5), Data: []byte{1, 2}}
}

func TestEthsignSignsLegacyTransactions(t *testing.T) {
	f := newFake(t, 2)
	b := openEthsign(t, f, nil)
	chain := big.NewInt(1337)
	huge := new(big.Int).Lsh(big.NewInt(1), 247)
	for name, tt := range map[string]struct {
		chain  *big.Int
		change func(tx *types.LegacyTx)
	}{
		"plain":    {chain, func(*types.LegacyTx) {}},
		"no value": {chain, func(tx *types.LegacyTx) { tx.Value = new(big.Int) }},
		"free gas": {chain, func(tx *types.LegacyTx) { tx.GasPrice = new(big.Int) }},
		"no data":  {chain, func(tx *types.LegacyTx) { tx.Data = nil }},
		"contract": {chain, func(tx *types.LegacyTx) { tx.To = nil }},
		"proof":    {huge, func(tx *types.LegacyTx) { tx.Gas, tx.Nonce, tx.Data = 0, math.MaxUint64, nil }},
		"the largest": {big.NewInt(1), func(tx *types.LegacyTx) {
			tx.Value = new(big.Int).Sub(new(big.Int).Lsh(big.NewInt(1), 256), big.NewInt(1))
		}},
		"to the zero addr": {chain, func(tx *types.LegacyTx) { tx.To = new(common.Address) }},
	} {
		inner := legacy()
		tt.change(inner)
		unsigned := types.NewTx(inner)
		if err := b.Signable(unsigned); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		before := f.Total()
		got, err := b.SignTransaction(t.Context(), ethsignRef(f), tt.chain, unsigned)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if calls := f.Calls("PUT ethereum/accounts/*/sign"); calls == 0 || before > 1 && f.Total()-before != 1 {
			t.Errorf("%s: %d calls for one signature", name, f.Total()-before)
		}
		var tx types.Transaction
		if err := tx.UnmarshalBinary(got.Raw); err != nil {
			t.Fatal(err)
		}
		signer := types.NewEIP155Signer(tt.chain)
		from, err := types.Sender(signer, &tx)
		if err != nil || strings.ToLower(from.Hex()) != f.Addresses()[0] || signer.Hash(&tx) != signer.Hash(unsigned) || got.RequestID == "" {
			t.Errorf("%s: %+v from %s, %v", name, got, from, err)
		}
	}
}

func TestEthsignRefusesWhatThePluginCannotSign(t *testing.T) {
	f := newFake(t, 1)
	b := openEthsign(t, f, nil)
	ref := ethsignRef(f)
	_, err := b.SignDigest(t.Context(), ref, [32]byte{1})
	says(t, err, key.ErrUnsupported, "legacy transactions only", "vault-plugin-hsmsigner")
	for _, inner := range []types.TxData{
		&types.DynamicFeeTx{ChainID: big.NewInt(1), GasFeeCap: big.NewInt(1), GasTipCap: big.NewInt(1), Value: big.NewInt(1)},
		&types.AccessListTx{ChainID: big.NewInt(1), GasPrice: big.NewInt(1), Value: big.NewInt(1)},
	} {
		tx := types.NewTx(inner)
		says(t, b.Signable(tx), key.ErrUnsupported, "send gasPrice")
		_, err := b.SignTransaction(t.Context(), ref, big.NewInt(1), tx)
		says(t, err, key.ErrUnsupported, "send gasPrice")
	}
	for name, change := range map[string]func(tx *types.LegacyTx){
		"-1 wei":      func(tx *types.LegacyTx) { tx.Value = big.NewInt(-1) },
		"-1 per gas":  func(tx *types.LegacyTx) { tx.GasPrice = big.NewInt(-1) },
		"2^256 wei":   func(tx *types.LegacyTx) { tx.Value = new(big.Int).Lsh(big.NewInt(1), 256) },
		"2^256 price": func(tx *types.LegacyTx) { tx.GasPrice = new(big.Int).Lsh(big.NewInt(1), 256) },
	} {
		inner := legacy()
		change(inner)
		if err := b.Signable(types.NewTx(inner)); !errors.Is(err, key.ErrUnsupported) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, chain := range []*big.Int{nil, new(big.Int), big.NewInt(-1), new(big.Int).Lsh(big.NewInt(1), 248)} {
		if _, err := b.SignTransaction(t.Context(), ref, chain, types.NewTx(legacy())); !errors.Is(err, key.ErrUnsupported) {
			t.Errorf("chain %v: %v", chain, err)
		}
	}
	if n := f.Calls("PUT ethereum/accounts/*/sign"); n != 0 {
		t.Errorf("%d calls for what the plugin cannot sign", n)
	}
}

// Every field is sent, whatever its value, as decimal, with lower-case addresses.
func TestEthsignIsSentEveryField(t *testing.T) {
	f := newFake(t, 1)
	b := openEthsign(t, f, nil)
	var sent map[string]any
	f.SetIntercept(func(w http.ResponseWriter, r *http.Request) bool {
		if strings.HasSuffix(r.URL.Path, "/sign") {
			_ = json.NewDecoder(r.Body).Decode(&sent)
			vaultfake.Refuse(w, http.StatusInternalServerError)
			return true
		}
		return false
	})
	inner := legacy()
	inner.GasPrice, inner.Value, inner.Nonce, inner.Gas, inner.Data = new(big.Int), new(big.Int), 0, 0, nil
	_, err := b.SignTransaction(t.Context(), ethsignRef(f), big.NewInt(1337), types.NewTx(inner))
	says(t, err, key.ErrUnavailable)
	want := map[string]any{
		"to": "0x5aaeb6053f3e94c9b9a09f33669435e7ef1beaed", "data": "0x", "value": "0", "nonce": "0", "gas": "0", "gasPrice": "0", "chainId": "1337",
	}
	for name, value := range want {
		if sent[name] != value {
			t.Errorf("%s: sent %v, want %v", name, sent[name], value)
		}
	}
	if len(sent) != len(want) {
		t.Errorf("sent %v", sent)
	}
}

// Whatever the plugin signs instead is thrown away, and the error says which
// field was another.
func TestEthsignAnswerIsComparedFieldByField(t *testing.T) {
	f := newFake(t, 2)
	b := openEthsign(t, f, nil)
	chain := big.NewInt(1337)
	k, other := f.Key(f.Addresses()[0]), f.Key(f.Addresses()[1])
	var respond func() (raw []byte, hash string)
	f.SetIntercept(func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.HasSuffix(r.URL.Path, "/sign") {
			return false
		}
		raw, hash := respond()
		f.Answer(w, map[string]any{"signed_transaction": hexutil.Encode(raw), "transaction_hash": hash})
		return true
	})
	encode := func(tx *types.Transaction) ([]byte, string) {
		raw, err := tx.MarshalBinary()
		if err != nil {
			t.Fatal(err)
		}
		return raw, tx.Hash().Hex()
	}
	changed := func(signer types.Signer, change func(tx *types.LegacyTx)) func() ([]byte, string) {
		return func() ([]byte, string) {
			inner := legacy()
			change(inner)
			return encode(types.MustSignNewTx(k, signer, inner))
		}
	}
	signer := types.NewEIP155Signer(chain)
	for field, answer := range map[string]func() ([]byte, string){
		"nonce":             changed(signer, func(tx *types.LegacyTx) { tx.Nonce++ }),
		"gas price":         changed(signer, func(tx *types.LegacyTx) { tx.GasPrice = big.NewInt(2) }),
		"gas limit":         changed(signer, func(tx *types.LegacyTx) { tx.Gas = 90_000 }),
		"receiver":          changed(signer, func(tx *types.LegacyTx) { tx.To = nil }),
		"value":             changed(signer, func(tx *types.LegacyTx) { tx.Value = big.NewInt(6) }),
		"data":              changed(signer, func(tx *types.LegacyTx) { tx.Data = nil }),
		"replay protection": changed(types.HomesteadSigner{}, func(*types.LegacyTx) {}),
		"chain id":          changed(types.NewEIP155Signer(big.NewInt(1)), func(*types.LegacyTx) {}),
		"hash": func() ([]byte, string) {
			raw, _ := encode(types.MustSignNewTx(k, signer, legacy()))
			return raw, "0x00"
		},
		"not by the account": func() ([]byte, string) { return encode(types.MustSignNewTx(other, signer, legacy())) },
		"no transaction": func() ([]byte, string) {
			raw, hash := encode(types.MustSignNewTx(k, signer, legacy()))
			return append(raw, 0), hash
		},
		"type": func() ([]byte, string) {
			return encode(types.MustSignNewTx(k, types.LatestSignerForChainID(chain), &types.AccessListTx{
				ChainID: chain, Nonce: 7, GasPrice: big.NewInt(1), Gas: 50_000, To: legacy().To, Value: big.NewInt(5), Data: []byte{1, 2},
			}))
		},
	} {
		respond = answer
		got, err := b.SignTransaction(t.Context(), ethsignRef(f), chain, types.NewTx(legacy()))
		says(t, err, key.ErrBadResponse, field)
		if got.Raw != nil {
			t.Errorf("%s: bytes came with the error", field)
		}
	}
	respond = changed(signer, func(*types.LegacyTx) {})
	if _, err := b.SignTransaction(t.Context(), ethsignRef(f), chain, types.NewTx(legacy())); err != nil {
		t.Errorf("the right answer: %v", err)
	}
}

func TestEthsignUnknownAccountIsNotFound(t *testing.T) {
	f := newFake(t, 1)
	b := openEthsign(t, f, nil)
	_, err := b.SignTransaction(t.Context(), "ethereum/0x00000000000000000000000000000000000000ff", big.NewInt(1), types.NewTx(legacy()))
	says(t, err, key.ErrNotFound, "no account")
	for _, ref := range []key.Ref{"", "ethereum/", "ethereum/0xAB", "elsewhere/" + key.Ref(f.Addresses()[0])} {
		_, err := b.SignTransaction(t.Context(), ref, big.NewInt(1), types.NewTx(legacy()))
		says(t, err, key.ErrNotFound)
		_, err = b.SignDigest(t.Context(), ref, [32]byte{})
		says(t, err, key.ErrNotFound)
	}
}

func TestEthsignListsAddressesAndProvesPublicKeys(t *testing.T) {
	f := newFake(t, 3)
	var log bytes.Buffer
	f.SetRights("ethereum/export/accounts/"+f.Addresses()[1], "read")
	b := openEthsign(t, f, &log)
	page, err := b.Keys(t.Context(), "")
	if err != nil || len(page.Keys) != 3 || page.Next != "" {
		t.Fatalf("%+v, %v", page, err)
	}
	for _, k := range page.Keys {
		public, err := b.PublicKey(t.Context(), k.Ref)
		if err != nil || public.Address() != k.Address || k.Protection != key.Software {
			t.Errorf("%+v: %s, %v", k, public.Address(), err)
		}
	}
	if n := strings.Count(log.String(), "may read private keys"); n != 1 {
		t.Errorf("warned %d times: %s", n, log.String())
	}
	f.SetIntercept(func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.HasSuffix(r.URL.Path, "/accounts") {
			return false
		}
		good := f.Addresses()[0]
		f.Answer(w, map[string]any{"keys": []string{good, strings.ToUpper(good[2:]), "0x0000000000000000000000000000000000000000", "", common.HexToAddress(good).Hex()}})
		return true
	})
	page, err = b.Keys(t.Context(), "")
	if err != nil || len(page.Keys) != 1 || len(page.Problems) != 3 {
		t.Errorf("%+v, %v", page, err)
	}
	if err := b.Health(t.Context()); err != nil {
		t.Error(err)
	}
}
