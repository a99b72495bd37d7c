// SPDX-License-Identifier: Apache-2.0

package vaultengine_test

import (
	"crypto"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"strings"
	"sync"
	"testing"

	ethcrypto "github.com/ethereum/go-ethereum/crypto"
	"github.com/hashicorp/vault/sdk/logical"

	"github.com/hsmsigner/hsmsigner/internal/key/byok"
)

func (m *mount) wrappingKey() *rsa.PublicKey {
	m.t.Helper()
	block, _ := pem.Decode([]byte(m.must(logical.ReadOperation, "wrapping-key", nil)["public_key"].(string)))
	if block == nil {
		m.t.Fatal("the wrapping key is no PEM")
	}
	k, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		m.t.Fatal(err)
	}
	return k.(*rsa.PublicKey)
}

func wrap(t *testing.T, k *rsa.PublicKey, payload []byte) string {
	t.Helper()
	blob, err := byok.RSAAESWrap(k, crypto.SHA256, payload)
	if err != nil {
		t.Fatal(err)
	}
	return base64.StdEncoding.EncodeToString(blob)
}

func TestWrappedKeyIsImportedOnce(t *testing.T) {
	m := newMount(t, nil)
	k, err := ethcrypto.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	private := ethcrypto.FromECDSA(k)
	der, err := byok.PKCS8(private)
	if err != nil {
		t.Fatal(err)
	}
	m.refuses(400, "nobody has read yet", logical.UpdateOperation, "keys/one/import", map[string]any{"ciphertext": "AAAA"})
	wrapping := m.wrappingKey()
	if again := m.wrappingKey(); !again.Equal(wrapping) {
		t.Error("the wrapping key has changed")
	}
	answer := m.must(logical.UpdateOperation, "keys/one/import", map[string]any{"ciphertext": wrap(t, wrapping, der), "tags": map[string]any{"a": "b"}})
	if want := strings.ToLower(ethcrypto.PubkeyToAddress(k.PublicKey).Hex()); answer["address"] != want || answer["imported"] != true {
		t.Errorf("%v, want %s", answer, want)
	}
	m.refuses(409, "already", logical.UpdateOperation, "keys/two/import", map[string]any{"ciphertext": wrap(t, wrapping, der)})
	const same = "does not unwrap to a secp256k1 key in PKCS#8"
	for _, bad := range []string{wrap(t, wrapping, private), wrap(t, wrapping, der[:100]), "AAAA", ""} {
		m.refuses(400, same, logical.UpdateOperation, "keys/three/import", map[string]any{"ciphertext": bad})
	}
	m.refuses(400, "not base64", logical.UpdateOperation, "keys/three/import", map[string]any{"ciphertext": "%"})
	if text := fmt.Sprint(m.must(logical.ReadOperation, "keys/one", nil)); strings.Contains(text, ethcrypto.PubkeyToAddress(k.PublicKey).Hex()[2:]) {
		t.Errorf("unexpected spelling in %s", text)
	}
}

func TestConcurrentWritersMakeOneKeyPerName(t *testing.T) {
	m := newMount(t, nil)
	var mu sync.Mutex
	made := map[string]int{}
	var wg sync.WaitGroup
	for i := range 64 {
		wg.Go(func() {
			name := fmt.Sprintf("key-%d", i%8)
			if answer, err := m.ask(logical.UpdateOperation, "keys/"+name, nil); err == nil {
				mu.Lock()
				made[name]++
				mu.Unlock()
				if _, err := m.ask(logical.UpdateOperation, "sign/"+answer["address"].(string), map[string]any{"digest": digest}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	for name, n := range made {
		if n != 1 {
			t.Errorf("%s was made %d times", name, n)
		}
	}
	if list := m.must(logical.ListOperation, "addresses/", nil)["keys"].([]string); len(list) != 8 {
		t.Errorf("%d keys, want 8", len(list))
	}
}
