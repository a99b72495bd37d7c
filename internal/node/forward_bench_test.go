// SPDX-License-Identifier: Apache-2.0

package node_test

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"

	"github.com/hsmsigner/hsmsigner/internal/node"
)

// BenchmarkForward is the pass-through of a small answer and of one of a
// megabyte of logs, the connection to a server on the same machine included.
func BenchmarkForward(b *testing.B) {
	log := `{"address":"0x` + strings.Repeat("ab", 20) + `","topics":["0x` + strings.Repeat("cd", 32) + `"],"data":"0x` +
		strings.Repeat("00", 64) + `","blockNumber":"0x1b4","removed":false},`
	for name, result := range map[string]string{
		"small": `"0x10"`,
		"1MB":   "[" + strings.Repeat(log, 1<<20/len(log)) + "1]",
	} {
		b.Run(name, func(b *testing.B) {
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				var body bytes.Buffer
				body.ReadFrom(r.Body)
				id, _, _ := strings.Cut(body.String()[len(`{"jsonrpc":"2.0","id":`):], ",")
				w.Header().Set("Content-Length", strconv.Itoa(len(`{"jsonrpc":"2.0","id":,"result":}`)+len(id)+len(result)))
				w.Write([]byte(`{"jsonrpc":"2.0","id":` + id + `,"result":` + result + `}`))
			}))
			defer srv.Close()
			c, err := node.New(node.Config{URL: srv.URL})
			if err != nil {
				b.Fatal(err)
			}
			defer c.Close()
			b.SetBytes(int64(len(result)))
			for b.Loop() {
				if _, err := c.Forward(b.Context(), "eth_getLogs", nil, nil); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
