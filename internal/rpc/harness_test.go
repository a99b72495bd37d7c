// SPDX-License-Identifier: Apache-2.0

package rpc

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"encoding/json"
	"errors"
	"io"
	"math/big"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/core/types"
	"github.com/ethereum/go-ethereum/crypto"
	"go.opentelemetry.io/otel/trace"

	"github.com/hsmsigner/hsmsigner/internal/auth"
	"github.com/hsmsigner/hsmsigner/internal/node"
	"github.com/hsmsigner/hsmsigner/internal/node/nodetest"
	"github.com/hsmsigner/hsmsigner/internal/tx"
	"github.com/hsmsigner/hsmsigner/internal/txmgr"
)

// wire is a node at its wire that answers whatever a test wants, byte for
// byte, and keeps what it was sent.
type wire struct {
	*httptest.Server

	mu      sync.Mutex
	bodies  [][]byte
	headers []http.Header
	answer  func(method string, params json.RawMessage) string // `"result":…` or `"error":…`
}

type wireRequest struct {
	ID     json.RawMessage `json:"id"`
	Method string          `json:"method"`
	Params json.RawMessage `json:"params"`
}

func newWire(t testing.TB) *wire {
	w := &wire{answer: func(string, json.RawMessage) string { return `"result":"0x1"` }}
	w.Server = httptest.NewServer(http.HandlerFunc(w.serve))
	t.Cleanup(w.Close)
	return w
}

func (w *wire) serve(rw http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	w.mu.Lock()
	w.bodies = append(w.bodies, body)
	w.headers = append(w.headers, r.Header.Clone())
	answer := w.answer
	w.mu.Unlock()
	one := func(q wireRequest) string {
		return `{"jsonrpc":"2.0","id":` + string(q.ID) + `,` + answer(q.Method, q.Params) + `}`
	}
	var list []wireRequest
	if json.Unmarshal(body, &list) == nil {
		var out []string
		for _, q := range list {
			out = append(out, one(q))
		}
		_, _ = io.WriteString(rw, "["+strings.Join(out, ",")+"]")
		return
	}
	var q wireRequest
	_ = json.Unmarshal(body, &q)
	_, _ = io.WriteString(rw, one(q))
}

func (w *wire) answers(f func(method string, params json.RawMessage) string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.answer = f
}

// calls returns the requests that came so far, in order.
func (w *wire) calls(t testing.TB) []wireRequest {
	t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	var all []wireRequest
	for _, b := range w.bodies {
		var list []wireRequest
		if json.Unmarshal(b, &list) == nil {
			all = append(all, list...)
			continue
		}
		var q wireRequest
		if err := json.Unmarshal(b, &q); err != nil {
			t.Fatalf("the node got %q: %v", b, err)
		}
		all = append(all, q)
	}
	return all
}

func dial(t testing.TB, url string) *node.Client {
	t.Helper()
	c, err := node.New(node.Config{URL: url})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// hand is what stands behind the door in these tests: one account that really
// signs, and a place where transactions are counted. The transaction manager
// itself is tested with the door end to end elsewhere.
type hand struct {
	key     *ecdsa.PrivateKey
	address common.Address

	mu    sync.Mutex
	begun []txmgr.SendRequest
	who   []auth.Principal
	under []trace.SpanContext // which span each was begun under
	raw   [][]byte
	fail  error                           // of every method, if set
	hold  func(ctx context.Context) error // in every wait, if set
	slow  time.Duration                   // in every wait
	pass  bool                            // SendRaw leaves it to the node
	next  uint64
}

func newHand() *hand {
	key, address := nodetest.Key(0)
	return &hand{key: key, address: address, next: 7}
}

func (h *hand) Accounts() []common.Address { return []common.Address{h.address} }
func (h *hand) Has(a common.Address) bool  { return a == h.address }
func (h *hand) sign(d common.Hash) ([]byte, error) {
	if h.fail != nil {
		return nil, h.fail
	}
	sig, err := crypto.Sign(d[:], h.key)
	if err == nil {
		sig[64] += 27
	}
	return sig, err
}

func (h *hand) SignMessage(_ context.Context, _ auth.Principal, _ common.Address, msg []byte) ([]byte, error) {
	return h.sign(tx.MessageHash(msg))
}

func (h *hand) SignTypedData(_ context.Context, _ auth.Principal, _ common.Address, td *tx.TypedData) ([]byte, error) {
	d, err := td.Hash()
	if err != nil {
		return nil, err
	}
	return h.sign(d)
}

func (h *hand) SignTransaction(_ context.Context, _ auth.Principal, args tx.Args) (*types.Transaction, error) {
	if h.fail != nil {
		return nil, h.fail
	}
	if args.Nonce == nil || args.Gas == nil || args.GasPrice == nil {
		return nil, errors.New("the tests give nonce, gas and gasPrice")
	}
	return types.SignNewTx(h.key, types.NewEIP155Signer(big.NewInt(1337)), h.unsigned(args))
}

func (h *hand) unsigned(args tx.Args) *types.LegacyTx {
	return &types.LegacyTx{Nonce: *args.Nonce, Gas: *args.Gas, GasPrice: args.GasPrice, To: args.To, Value: args.Value, Data: args.Data}
}

func (h *hand) Begin(ctx context.Context, p auth.Principal, r txmgr.SendRequest) func(context.Context) (common.Hash, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.begun = append(h.begun, r)
	h.who = append(h.who, p)
	h.under = append(h.under, trace.SpanContextFromContext(ctx))
	n := h.next
	h.next++
	return func(ctx context.Context) (common.Hash, error) {
		if h.hold != nil {
			if err := h.hold(ctx); err != nil {
				return common.Hash{}, err
			}
		}
		time.Sleep(h.slow)
		if h.fail != nil {
			return common.Hash{}, h.fail
		}
		return common.BigToHash(new(big.Int).SetUint64(n)), nil
	}
}

func (h *hand) SendRaw(_ context.Context, _ auth.Principal, raw []byte) (common.Hash, bool, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.pass {
		return common.Hash{}, false, nil
	}
	h.raw = append(h.raw, raw)
	return crypto.Keccak256Hash(raw), true, h.fail
}

func (h *hand) Fill(_ context.Context, args tx.Args) (*types.Transaction, error) {
	if h.fail != nil {
		return nil, h.fail
	}
	n, g := uint64(7), uint64(21000)
	args.Nonce, args.Gas, args.GasPrice = &n, &g, big.NewInt(1)
	return types.NewTx(h.unsigned(args)), nil
}

func (h *hand) Owns(a common.Address) bool { return h.Has(a) }

func (h *hand) PendingNonce(context.Context, common.Address) (uint64, error) {
	return h.next, h.fail
}

// rig is a running door.
type rig struct {
	t    testing.TB
	wire *wire
	hand *hand
	srv  *Server
	http *httptest.Server
	cfg  Config
}

func newRig(t testing.TB, change ...func(*Config)) *rig {
	t.Helper()
	r := &rig{t: t, wire: newWire(t), hand: newHand()}
	svc := r.service(dial(t, r.wire.URL))
	r.cfg = Config{
		Services: map[string]*Service{svc.Name: svc},
		Default:  svc.Name,
		Auth:     func(*http.Request) (auth.Principal, error) { return auth.Anonymous, nil },
	}
	for _, f := range change {
		f(&r.cfg)
	}
	var err error
	if r.srv, err = New(r.cfg); err != nil {
		t.Fatal(err)
	}
	r.http = httptest.NewServer(r.srv)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := r.srv.Shutdown(ctx); err != nil {
			t.Errorf("shutdown: %v", err)
		}
		r.http.Close()
		r.http.Client().CloseIdleConnections()
	})
	return r
}

func (r *rig) service(n Node) *Service {
	return &Service{Name: "treasury", ChainID: big.NewInt(1337), Accounts: r.hand, Signer: r.hand, Sender: r.hand, Node: n}
}

// do posts a body with changes to the request and returns status and body.
func (r *rig) do(body string, change ...func(*http.Request)) (*http.Response, string) {
	r.t.Helper()
	req, err := http.NewRequest(http.MethodPost, r.http.URL, strings.NewReader(body))
	if err != nil {
		r.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	for _, f := range change {
		f(req)
	}
	resp, err := r.http.Client().Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	return resp, string(b)
}

// call posts one request and returns the raw answer.
func (r *rig) call(method, params string, change ...func(*http.Request)) string {
	r.t.Helper()
	_, body := r.do(`{"jsonrpc":"2.0","id":1,"method":"`+method+`","params":`+params+`}`, change...)
	return body
}

func header(name, value string) func(*http.Request) {
	return func(r *http.Request) { r.Header.Set(name, value) }
}

// result cuts the result out of an answer, or fails.
func result(t testing.TB, body string) string {
	t.Helper()
	var a struct {
		Result json.RawMessage
		Error  json.RawMessage
	}
	if err := json.Unmarshal([]byte(body), &a); err != nil || a.Error != nil {
		t.Fatalf("want a result, got %s (%v)", body, err)
	}
	return string(a.Result)
}

// wantError fails unless body is exactly this error with id 1.
func wantError(t testing.TB, body string, code int, message string) {
	t.Helper()
	e := &Error{Code: code, Message: message}
	want := string(e.appendTo([]byte(`{"jsonrpc":"2.0","id":1,"error":`))) + "}"
	if body != want {
		t.Errorf("\n got %s\nwant %s", body, want)
	}
}

func compact(t testing.TB, s string) string {
	t.Helper()
	var b bytes.Buffer
	if err := json.Compact(&b, []byte(s)); err != nil {
		t.Fatalf("%s: %v", s, err)
	}
	return b.String()
}
