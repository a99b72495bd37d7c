// SPDX-License-Identifier: Apache-2.0

package hashicorp_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/hsmsigner/hsmsigner/internal/key/hashicorp"
)

// TestServerThatIsNoVaultIsOnlyAnError: a tenant may name any server, and whatever
// that answers must not end the daemon.
func TestServerThatIsNoVaultIsOnlyAnError(t *testing.T) {
	for _, code := range []int{200, 400, 403, 404, 500} {
		for _, body := range []string{``, `null`, `{"errors":["no"]}`, `<html>`} {
			t.Run(fmt.Sprint(code, body), func(t *testing.T) {
				t.Parallel()
				server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
					w.WriteHeader(code)
					fmt.Fprint(w, body)
				}))
				defer server.Close()
				b, err := hashicorp.Open(t.Context(), hashicorp.Config{Address: server.URL, Token: func() (string, error) { return "a-token", nil }})
				if err != nil {
					t.Fatal(err)
				}
				defer b.Close()
				ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
				defer cancel()
				if _, err := b.Keys(ctx, ""); err == nil && code == 403 {
					t.Error("no error")
				}
			})
		}
	}
}
