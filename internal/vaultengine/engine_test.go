// SPDX-License-Identifier: Apache-2.0

package vaultengine_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/crypto"
	"github.com/hashicorp/vault/sdk/logical"
	"github.com/hashicorp/vault/sdk/plugin/pb"

	"github.com/hsmsigner/hsmsigner/internal/vaultengine"
)

// mount is one mount of the engine on a storage in memory.
type mount struct {
	t       *testing.T
	backend logical.Backend
	storage logical.Storage
}

func newMount(t *testing.T, options map[string]string) *mount {
	t.Helper()
	return remount(t, new(logical.InmemStorage), options)
}

func remount(t *testing.T, storage logical.Storage, options map[string]string) *mount {
	t.Helper()
	b, err := vaultengine.Factory(t.Context(), &logical.BackendConfig{
		StorageView: storage, Config: options, System: &logical.StaticSystemView{},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Initialize(t.Context(), &logical.InitializationRequest{Storage: storage}); err != nil {
		t.Fatal(err)
	}
	return &mount{t, b, storage}
}

// ask does what Vault's core does with a request: it sends it to the plugin in
// the SDK's own encoding, and a write to something that does not exist yet is a
// creation.
func (m *mount) ask(op logical.Operation, path string, data map[string]any) (map[string]any, error) {
	m.t.Helper()
	if data == nil {
		data = map[string]any{}
	}
	sent, err := pb.LogicalRequestToProtoRequest(&logical.Request{Operation: op, Path: path, Data: data})
	if err != nil {
		return nil, err
	}
	req, err := pb.ProtoRequestToLogicalRequest(sent)
	if err != nil {
		return nil, err
	}
	req.Storage = m.storage
	if op == logical.UpdateOperation {
		found, exists, err := m.backend.HandleExistenceCheck(m.t.Context(), req)
		if err != nil {
			return nil, err
		}
		if found && !exists {
			req.Operation = logical.CreateOperation
		}
	}
	answer, err := m.backend.HandleRequest(m.t.Context(), req)
	if err == nil && answer != nil && answer.IsError() {
		err = answer.Error()
	}
	if err != nil || answer == nil {
		return nil, err
	}
	return answer.Data, nil
}

func (m *mount) must(op logical.Operation, path string, data map[string]any) map[string]any {
	m.t.Helper()
	answer, err := m.ask(op, path, data)
	if err != nil {
		m.t.Fatalf("%s %s: %v", op, path, err)
	}
	return answer
}

// refuses checks the status and the text of a refusal.
func (m *mount) refuses(status int, text string, op logical.Operation, path string, data map[string]any) {
	m.t.Helper()
	_, err := m.ask(op, path, data)
	var coded logical.HTTPCodedError
	if !errors.As(err, &coded) || coded.Code() != status || !strings.Contains(err.Error(), text) {
		m.t.Errorf("%s %s %v: %v, want %d and %q", op, path, data, err, status, text)
	}
}

func (m *mount) create(name string) string {
	m.t.Helper()
	return m.must(logical.UpdateOperation, "keys/"+name, nil)["address"].(string)
}

const digest = "0x1111111111111111111111111111111111111111111111111111111111111111"

func TestSignatureRecoversIsCanonicalAndDeterministic(t *testing.T) {
	m := newMount(t, nil)
	address := m.create("one")
	for i := range 200 {
		d := crypto.Keccak256([]byte{byte(i)})
		text := "0x" + common.Bytes2Hex(d)
		first := m.must(logical.UpdateOperation, "sign/"+address, map[string]any{"digest": text})
		again := m.must(logical.UpdateOperation, "sign/"+address, map[string]any{"digest": text})
		if first["signature"] != again["signature"] {
			t.Fatalf("%s and %s sign the same", first["signature"], again["signature"])
		}
		sig := common.FromHex(first["signature"].(string))
		public, err := crypto.SigToPub(d, sig)
		if err != nil || strings.ToLower(crypto.PubkeyToAddress(*public).Hex()) != address || len(sig) != 65 {
			t.Fatalf("%x: %v", sig, err)
		}
		if common.Bytes2Hex(sig[:32]) != first["r"].(string)[2:] || common.Bytes2Hex(sig[32:64]) != first["s"].(string)[2:] || int(sig[64]) != first["v"] {
			t.Fatalf("r, s, v are not those of the signature: %v", first)
		}
		if !crypto.ValidateSignatureValues(sig[64], common.BytesToHash(sig[:32]).Big(), common.BytesToHash(sig[32:64]).Big(), true) {
			t.Fatalf("%x has a high s", sig)
		}
	}
}

func TestDigestMustBe32Bytes(t *testing.T) {
	m := newMount(t, nil)
	address := m.create("one")
	for _, bad := range []any{nil, "", "0x", digest[:64], digest + "11", strings.Replace(digest, "1", "g", 1), 5} {
		m.refuses(400, "digest", logical.UpdateOperation, "sign/"+address, map[string]any{"digest": bad})
	}
	m.refuses(400, "lower case", logical.UpdateOperation, "sign/0x"+strings.ToUpper(address[2:]), map[string]any{"digest": digest})
	m.refuses(400, `unknown field "hash"`, logical.UpdateOperation, "sign/"+address, map[string]any{"digest": digest, "hash": "x"})
	m.refuses(404, "no key of address", logical.UpdateOperation, "sign/0x00000000000000000000000000000000000000ff", map[string]any{"digest": digest})
}

func TestNamesAndAddressesAreTakenOnce(t *testing.T) {
	m := newMount(t, nil)
	first := m.create("one")
	m.refuses(409, "already", logical.UpdateOperation, "keys/one", nil)
	if got := m.must(logical.ReadOperation, "keys/one", nil)["address"]; got != first {
		t.Errorf("the key has become %s", got)
	}
	if _, err := m.ask(logical.DeleteOperation, "keys/one", nil); err != nil {
		t.Fatal(err)
	}
	m.refuses(404, "no key", logical.ReadOperation, "keys/one", nil)
	m.refuses(404, "no key", logical.ReadOperation, "addresses/"+first, nil)
	m.refuses(404, "no key", logical.UpdateOperation, "sign/"+first, map[string]any{"digest": digest})
	m.refuses(404, "no key", logical.DeleteOperation, "keys/one", nil)
	if second := m.create("one"); second == first {
		t.Error("a name that was used again gave the same key")
	}
	m.refuses(409, "another address", logical.DeleteOperation, "keys/one", map[string]any{"address": first})
	m.refuses(409, "another address", logical.UpdateOperation, "keys/one", map[string]any{"address": first, "enabled": false})
}

func TestSwitchedOffKeySignsNothing(t *testing.T) {
	m := newMount(t, nil)
	address := m.create("one")
	m.must(logical.UpdateOperation, "keys/one", map[string]any{"enabled": false})
	m.refuses(423, "switched off", logical.UpdateOperation, "sign/"+address, map[string]any{"digest": digest})
	m.refuses(423, "switched off", logical.UpdateOperation, "sign-transaction/"+address, plain(nil))
	m.must(logical.UpdateOperation, "keys/one", map[string]any{"enabled": true})
	m.must(logical.UpdateOperation, "sign/"+address, map[string]any{"digest": digest})
	m.refuses(400, "fixed", logical.UpdateOperation, "keys/one", map[string]any{"enabled": true, "exportable": true})
	m.refuses(404, "no key", logical.UpdateOperation, "keys/two", map[string]any{"enabled": true})
}

func TestListingsArePagedInOrder(t *testing.T) {
	m := newMount(t, nil)
	for i := range 25 {
		m.create(fmt.Sprintf("key-%02d", i))
	}
	for _, what := range []string{"addresses", "keys"} {
		all := m.must(logical.ListOperation, what+"/", nil)["keys"].([]string)
		if len(all) != 25 {
			t.Fatalf("%s: %d entries", what, len(all))
		}
		var paged []string
		after := ""
		for range 4 {
			answer := m.must(logical.ListOperation, what+"/", map[string]any{"after": after, "limit": "10"})
			keys, _ := answer["keys"].([]string)
			info, _ := answer["key_info"].(map[string]any)
			if len(info) != len(keys) {
				t.Errorf("%s after %q: %d entries with %d details", what, after, len(keys), len(info))
			}
			paged = append(paged, keys...)
			if len(keys) > 0 {
				after = keys[len(keys)-1]
			}
		}
		if strings.Join(paged, " ") != strings.Join(all, " ") {
			t.Errorf("%s: pages give %v, the whole list %v", what, paged, all)
		}
		for _, limit := range []string{"0", "-1", "1001"} {
			m.refuses(400, "limit", logical.ListOperation, what+"/", map[string]any{"limit": limit})
		}
	}
}

// Only export, where mount and key allow it, ever shows a private key.
func TestExportNeedsMountAndKeyAndNothingTurnsItOn(t *testing.T) {
	exportable := map[string]any{"exportable": true}
	closed := newMount(t, nil)
	closed.create("one")
	closed.refuses(400, "not exportable", logical.ReadOperation, "keys/one/export", nil)
	closed.refuses(400, "-options=exportable=true", logical.UpdateOperation, "keys/two", exportable)

	// `vault secrets tune -options=exportable=true` later on changes nothing.
	tuned := remount(t, closed.storage, map[string]string{"exportable": "true"})
	tuned.refuses(400, "-options=exportable=true", logical.UpdateOperation, "keys/two", exportable)
	tuned.refuses(400, "not exportable", logical.ReadOperation, "keys/one/export", nil)

	open := newMount(t, map[string]string{"exportable": "true"})
	open.create("closed")
	open.refuses(400, "not exportable", logical.ReadOperation, "keys/closed/export", nil)
	address := open.must(logical.UpdateOperation, "keys/open", exportable)["address"]
	text := open.must(logical.ReadOperation, "keys/open/export", nil)["private_key"].(string)
	k, err := crypto.HexToECDSA(text[2:])
	if err != nil || strings.ToLower(crypto.PubkeyToAddress(k.PublicKey).Hex()) != address {
		t.Errorf("exported %s, %v", crypto.PubkeyToAddress(k.PublicKey), err)
	}
	if _, err := vaultengine.Factory(t.Context(), &logical.BackendConfig{Config: map[string]string{"exportable": "yes"}}); err == nil {
		t.Error("option exportable=yes was accepted")
	}
}

// What an interrupted creation leaves must be in nobody's way.
func TestNameWithoutItsKeyMayBeUsedAgain(t *testing.T) {
	m := newMount(t, nil)
	address := m.create("one")
	for _, path := range []string{"key/" + address, "secret/" + address} {
		if err := m.storage.Delete(t.Context(), path); err != nil {
			t.Fatal(err)
		}
	}
	m.refuses(404, "no key", logical.ReadOperation, "keys/one", nil)
	answer := m.must(logical.ListOperation, "keys/", map[string]any{"limit": "10"})
	if info := answer["key_info"]; info != nil {
		t.Errorf("details of a key that is not there: %v", info)
	}
	m.create("one")
}

func TestDamagedSecretSignsNothingAndShowsNothing(t *testing.T) {
	m := newMount(t, nil)
	one, two := m.create("one"), m.create("two")
	other, err := m.storage.Get(t.Context(), "secret/"+two)
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range map[string][]byte{
		"another key": other.Value, "no JSON": []byte("s3cr3t"), "no key": []byte(`{}`), "zero": []byte(`{"private_key":"AAAA"}`),
	} {
		if err := m.storage.Put(t.Context(), &logical.StorageEntry{Key: "secret/" + one, Value: append([]byte(nil), value...)}); err != nil {
			t.Fatal(err)
		}
		answer, err := m.ask(logical.UpdateOperation, "sign/"+one, map[string]any{"digest": digest})
		if err == nil || strings.Contains(err.Error(), "s3cr3t") {
			t.Errorf("%s: %v, %v", name, answer, err)
		}
	}
}
