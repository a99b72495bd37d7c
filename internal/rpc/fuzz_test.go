// SPDX-License-Identifier: Apache-2.0

package rpc

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"math/big"
	"net/http"
	"reflect"
	"testing"

	"github.com/hsmsigner/hsmsigner/internal/auth"
	"github.com/hsmsigner/hsmsigner/internal/node"
)

// asEncodingJSON reads what a node written in Go would read, numbers as text.
func asEncodingJSON(t *testing.T, b []byte) any {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		t.Fatalf("encoding/json cannot read %q: %v", b, err)
	}
	if _, err := d.Token(); err != io.EOF {
		t.Fatalf("data after %q", b)
	}
	return v
}

// FuzzRequest is differential. Of every document that the door takes:
// encoding/json must read the same in the caller's bytes and in the bytes that
// are written anew; the method, id and params that the door acted on must be
// those that encoding/json finds; and what is forwarded must be exactly them.
func FuzzRequest(f *testing.F) {
	for _, c := range malformed() {
		f.Add([]byte(c.body))
	}
	for _, s := range []string{
		ping,
		`{"jsonrpc":"2.0","id":1e2,"method":"eth_call","params":[{"to":"0x1","data":"\u0041\"\\\/\b\f\n\r\t😀\ud83d\ude00"},null,true,-0.10E+5]}`,
		`[{"jsonrpc":"2.0","id":"a","method":"eth_call","params":[]},{"jsonrpc":"2.0","method":"eth_blockNumber"},{"jsonrpc":"2.0","id":null,"method":"admin_peers"}]`,
		`{"jsonrpc":"2.0","id":1,"method":"eth_getTransactionCount","params":["0x00000000000000000000000000000000000000aa","pending"]}`,
		`{"jsonrpc":"2.0","id":1,"method":"\u0065th_call","params":[{"a":{"b":[[]]}}]}`,
	} {
		f.Add([]byte(s))
	}
	n := &recorder{}
	table := methodTable(&Service{})
	c := &call{
		server: &Server{}, who: auth.Anonymous,
		door: &door{Service: &Service{ChainID: big.NewInt(1), Node: n, Accounts: newHand()}, methods: table},
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		v, e := parse(body)
		if e != nil {
			return
		}
		theirs := asEncodingJSON(t, body)
		again := v.AppendTo(nil)
		if ours := asEncodingJSON(t, again); !reflect.DeepEqual(ours, theirs) {
			t.Fatalf("read %q, would write %q", body, again)
		}
		items, elems := []any{theirs}, append(v.Elems[:0:0], v)
		if list, ok := theirs.([]any); ok {
			items, elems = list, v.Elems
		}
		for i := range elems {
			r, e := decode(elems[i])
			if e != nil {
				continue
			}
			m := items[i].(map[string]any)
			if m["method"] != r.method || m["jsonrpc"] != "2.0" {
				t.Fatalf("took the method of %q for %q", body, r.method)
			}
			if id, given := m["id"]; given == r.notification() || given && !reflect.DeepEqual(asEncodingJSON(t, r.id.AppendTo(nil)), id) {
				t.Fatalf("took the id of %q for %s", body, r.id.AppendTo(nil))
			}
			checkForwarded(t, c, n, &r, m)
		}
	})
}

// checkForwarded lets the door forward r, if it would, and compares what goes
// to the node with what the caller asked.
func checkForwarded(t *testing.T, c *call, n *recorder, r *request, m map[string]any) {
	method, err := c.lookup(r)
	if err != nil || method.begin != nil || !method.forwards(c, r) {
		return
	}
	_, _ = c.forward(context.Background(), method, r)
	want := m["params"]
	if want == nil {
		want = []any{}
	}
	if n.method != m["method"] || !reflect.DeepEqual(asEncodingJSON(t, n.params), want) {
		t.Fatalf("understood %v %v, forwarded %s %s", m["method"], want, n.method, n.params)
	}
}

// recorder keeps what would go to the node.
type recorder struct {
	Node
	method string
	params []byte
}

func (n *recorder) Forward(_ context.Context, method string, params []byte, _ http.Header) (node.Response, error) {
	n.method, n.params = method, params
	return node.Response{Result: []byte("null")}, nil
}
