// SPDX-License-Identifier: Apache-2.0

package hashicorp_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/hashicorp/vault/api"

	"github.com/hsmsigner/hsmsigner/internal/key/hashicorp"
	"github.com/hsmsigner/hsmsigner/internal/key/hashicorp/vaultfake"
)

// The adapter beside the SDK alone, on the same fake.
func BenchmarkSign(b *testing.B) {
	f := vaultfake.New(1)
	b.Cleanup(f.Close)
	b.Run("adapter", func(b *testing.B) {
		backend, err := hashicorp.Open(b.Context(), fakeConfig(f))
		if err != nil {
			b.Fatal(err)
		}
		defer backend.Close()
		for b.Loop() {
			if _, err := backend.SignDigest(b.Context(), fakeRef(f, 0), [32]byte{1}); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("bare SDK", func(b *testing.B) {
		client, err := api.NewClient(&api.Config{Address: f.URL(), HttpClient: &http.Client{Transport: &http.Transport{}}})
		if err != nil {
			b.Fatal(err)
		}
		client.SetToken(vaultfake.Token)
		path := "hsmsigner/sign/" + f.Addresses()[0]
		for b.Loop() {
			if _, err := client.Logical().WriteWithContext(b.Context(), path, map[string]any{"digest": strings.Repeat("11", 32)}); err != nil {
				b.Fatal(err)
			}
		}
	})
}
