// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"context"
	"crypto/ecdsa"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/crypto"
	"go.uber.org/goleak"

	"github.com/hsmsigner/hsmsigner/internal/auth"
	"github.com/hsmsigner/hsmsigner/internal/config"
	"github.com/hsmsigner/hsmsigner/internal/contract"
	"github.com/hsmsigner/hsmsigner/internal/devnet"
	"github.com/hsmsigner/hsmsigner/internal/fleet"
	"github.com/hsmsigner/hsmsigner/internal/freeze"
	"github.com/hsmsigner/hsmsigner/internal/key"
	"github.com/hsmsigner/hsmsigner/internal/node/nodetest"
	"github.com/hsmsigner/hsmsigner/internal/policy"
	"github.com/hsmsigner/hsmsigner/internal/secp"
	"github.com/hsmsigner/hsmsigner/internal/store"
	"github.com/hsmsigner/hsmsigner/internal/txmgr"
)

// chain is the one of all tests, and alice is an account on it, whose key is in the
// rig's wallet. Rigs are one after the other.
var chain *devnet.Devnet

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	rich := new(big.Int).Exp(big.NewInt(10), big.NewInt(30), nil)
	_, alice := nodetest.Key(0)
	_, bob := nodetest.Key(1)
	var err error
	if chain, err = devnet.Start(devnet.Options{Alloc: map[common.Address]*big.Int{alice: rich, bob: rich}}); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	code := m.Run()
	_ = chain.Close()
	// Of geth, which has them for the whole process or for a while longer.
	if err := goleak.Find(
		goleak.IgnoreAnyFunction("github.com/ethereum/go-ethereum/core.(*txSenderCacher).cache"),
		goleak.IgnoreAnyFunction("github.com/syndtr/goleveldb/leveldb.(*DB).mpoolDrain"),
	); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return code
}

// vault signs with the keys of nodetest.
type vault struct{ keys map[key.Ref]*ecdsa.PrivateKey }

func newVault(n int) *vault {
	v := &vault{keys: map[key.Ref]*ecdsa.PrivateKey{}}
	for i := range n {
		k, addr := nodetest.Key(i)
		v.keys[key.Ref(addr.Hex())] = k
	}
	return v
}

func (v *vault) Keys(context.Context, string) (p key.Page, err error) {
	for ref, k := range v.keys {
		p.Keys = append(p.Keys, key.Key{Ref: ref, Name: string(ref), Address: crypto.PubkeyToAddress(k.PublicKey), Protection: key.HSM, State: key.Enabled})
	}
	return p, nil
}

func (v *vault) PublicKey(context.Context, key.Ref) (secp.PublicKey, error) {
	return secp.PublicKey{}, key.ErrNotFound
}

func (v *vault) SignDigest(_ context.Context, ref key.Ref, digest [32]byte) (key.Signature, error) {
	sig, err := crypto.Sign(digest[:], v.keys[ref])
	return key.Signature{R: [32]byte(sig[:32]), S: [32]byte(sig[32:64])}, err
}

func (v *vault) Health(context.Context) error { return nil }
func (v *vault) Close() error                 { return nil }

// rig is a gateway over a real wallet on a real chain.
type rig struct {
	t       *testing.T
	db      *store.DB
	manager *txmgr.Manager
	fleet   *fleet.Fleet
	freeze  *freeze.Switch
	handler *Handler
	server  *httptest.Server
	caller  Caller
	alice   string // an account of the wallet, in lower case
	bob     string
}

const base = "/pay/gateway"

type setup struct {
	policy policy.Policy
	change func(*Config)
}

func newRig(t *testing.T, with ...setup) *rig {
	t.Helper()
	var s setup
	if len(with) > 0 {
		s = with[0]
	}
	log := slog.New(slog.DiscardHandler)
	if os.Getenv("GATEWAY_LOG") != "" {
		log = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	r := &rig{t: t}
	_, alice := nodetest.Key(0)
	_, bob := nodetest.Key(1)
	r.alice, r.bob = lower(alice), lower(bob)
	var err error
	r.db, err = store.OpenSQLite(t.Context(), store.Config{Dir: t.TempDir(), Exclusive: true})
	r.must(err)
	r.freeze = freeze.New(freeze.Config{Store: r.db})
	r.must(r.freeze.Load(t.Context()))
	r.manager = txmgr.New(txmgr.Config{Store: r.db, Logger: log, Freeze: r.freeze})
	r.fleet = fleet.New(fleet.Config{
		Store: r.db, Manager: r.manager, Operator: "m1", SendTimeout: 10 * time.Second, Logger: log, Policy: s.policy, Freeze: r.freeze,
		Open: func(context.Context, fleet.Opening) (fleet.Backend, error) {
			return fleet.Backend{Backend: newVault(2)}, nil
		},
	})
	r.must(r.fleet.Serving(func(*fleet.Wallet) error { return nil }, func(*fleet.Wallet) <-chan struct{} { return nil }))
	r.manager.Start()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		r.manager.Stop(ctx)
		r.must(r.fleet.Shutdown())
		r.must(r.db.Close())
	})
	r.must(r.fleet.Open(t.Context(), fleet.Spec{
		ID: "pay", Membership: "m1", Environment: "e1",
		Wallet: config.Wallet{
			Name: "pay", Node: config.Node{URL: config.NewSecret(chain.URL()), ChainID: 1337, Poll: 10 * time.Millisecond, Timeout: 5 * time.Second},
			Details: config.Details{Provider: config.ProviderAzure, QuotaShare: 1, Azure: &config.Azure{}},
			Window:  64, Confirmations: 1, Expires: time.Minute, FeeCeiling: 3, Concurrency: 64, Refresh: time.Minute, BumpAfter: time.Minute,
		},
	}))
	for end := time.Now().Add(time.Minute); ; time.Sleep(2 * time.Millisecond) {
		if status, is := r.fleet.Status("pay"); is && status.Ready {
			break
		}
		if time.Now().After(end) {
			t.Fatal("the wallet is not ready in time")
		}
	}
	book := contract.NewBook(contract.Config{Store: r.db, Poll: 5 * time.Millisecond, Logger: log})
	cfg := Config{Book: book, Desk: contract.NewDesk(book), Release: "test", Logger: log}
	if s.change != nil {
		s.change(&cfg)
	}
	r.handler, err = New(cfg)
	r.must(err)
	r.caller = Caller{
		Principal: auth.Principal{Name: "app:test", Membership: "m1", Environment: "e1"}, Place: contract.Place{Environment: "e1", Membership: "m1"},
		Wallet: r.fleet.Wallet("pay"), Base: base, MayChange: true,
	}
	r.server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		r.handler.Serve(w, q, r.caller, strings.TrimPrefix(q.URL.EscapedPath(), base))
	}))
	t.Cleanup(func() { r.server.Close(); r.server.Client().CloseIdleConnections() })
	return r
}

func (r *rig) must(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
}

// seen is what came back.
type seen struct {
	code   int
	header http.Header
	text   string
	body   map[string]any
}

func (a seen) get(path ...string) any {
	var v any = a.body
	for _, name := range path {
		m, is := v.(map[string]any)
		if !is {
			return nil
		}
		v = m[name]
	}
	return v
}

func (a seen) str(path ...string) string {
	text, _ := a.get(path...).(string)
	return text
}

// do sends a request; a body that begins with { or [ is JSON. head are names and
// values of headers, in turn.
func (r *rig) do(method, path, body string, head ...string) seen {
	r.t.Helper()
	var from io.Reader
	if body != "" {
		from = strings.NewReader(body)
	}
	req, err := http.NewRequestWithContext(r.t.Context(), method, r.server.URL+base+path, from)
	r.must(err)
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i+1 < len(head); i += 2 {
		req.Header.Set(head[i], head[i+1])
	}
	res, err := r.server.Client().Do(req)
	r.must(err)
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	r.must(err)
	a := seen{code: res.StatusCode, header: res.Header, text: strings.TrimSpace(string(text))}
	_ = json.Unmarshal(text, &a.body)
	return a
}

// want is do, and fails unless the status is code.
func (r *rig) want(code int, method, path, body string, head ...string) seen {
	r.t.Helper()
	a := r.do(method, path, body, head...)
	if a.code != code {
		r.t.Fatalf("%s %s: %d, want %d: %s", method, path, a.code, code, a.text)
	}
	return a
}

// echoCode is a contract that answers every call with the arguments that it came
// with.
const echoCode = "0x600d80600 93d393df36004360380600460003760 00f3"

// echoABI describes it: what goes in comes out.
const echoABI = `[
 {"type":"constructor","inputs":[{"name":"x","type":"uint256"}],"stateMutability":"nonpayable"},
 {"type":"function","name":"num","inputs":[{"name":"x","type":"uint8"}],"outputs":[{"name":"","type":"uint8"}],"stateMutability":"view"},
 {"type":"function","name":"set","inputs":[{"name":"x","type":"uint256"}],"outputs":[],"stateMutability":"nonpayable"},
 {"type":"function","name":"pay","inputs":[],"outputs":[],"stateMutability":"payable"},
 {"type":"function","name":"many","inputs":[{"name":"a","type":"address"}],"outputs":[{"name":"","type":"address"}],"stateMutability":"view"},
 {"type":"function","name":"many","inputs":[{"name":"a","type":"address"},{"name":"n","type":"uint256"}],"outputs":[{"name":"a","type":"address"},{"name":"n","type":"uint256"}],"stateMutability":"view"},
 {"type":"function","name":"many","inputs":[{"name":"a","type":"bytes20"}],"outputs":[],"stateMutability":"view"},
 {"type":"function","name":"list","inputs":[{"name":"l","type":"uint256[]"}],"outputs":[{"name":"l","type":"uint256[]"}],"stateMutability":"view"},
 {"type":"function","name":"deep","inputs":[{"name":"t","type":"tuple","components":[{"name":"who","type":"address"},{"name":"items","type":"tuple[]","components":[{"name":"amount","type":"uint256"},{"name":"note","type":"string"}]}]}],
  "outputs":[{"name":"t","type":"tuple","components":[{"name":"who","type":"address"},{"name":"items","type":"tuple[]","components":[{"name":"amount","type":"uint256"},{"name":"note","type":"string"}]}]}],"stateMutability":"pure"},
 {"type":"function","name":"subscribe","inputs":[{"name":"x","type":"uint256"}],"outputs":[{"name":"","type":"uint256"}],"stateMutability":"view"},
 {"type":"event","name":"Seen","inputs":[{"name":"x","type":"uint256","indexed":false}]}
]`

func code() string { return strings.ReplaceAll(echoCode, " ", "") }

// echo uploads and deploys that contract, and gives the id of its interface and its
// address.
func (r *rig) echo() (id, address string) {
	r.t.Helper()
	id = r.want(200, "POST", "/abis", `{"abi":`+echoABI+`,"bytecode":"`+code()+`","name":"Echo"}`).str("id")
	made := r.want(200, "POST", "/abis/"+id+"?fly-sync&fly-from="+r.alice, `{"x":1}`)
	return id, made.str("contractAddress")
}
