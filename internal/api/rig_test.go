// SPDX-License-Identifier: Apache-2.0

package api

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"math/big"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/common"

	"github.com/hsmsigner/hsmsigner/internal/allowance"
	"github.com/hsmsigner/hsmsigner/internal/approval"
	"github.com/hsmsigner/hsmsigner/internal/audit/logbook"
	"github.com/hsmsigner/hsmsigner/internal/auth"
	"github.com/hsmsigner/hsmsigner/internal/config"
	"github.com/hsmsigner/hsmsigner/internal/freeze"
	"github.com/hsmsigner/hsmsigner/internal/judge"
	"github.com/hsmsigner/hsmsigner/internal/key"
	"github.com/hsmsigner/hsmsigner/internal/platform"
	"github.com/hsmsigner/hsmsigner/internal/seal"
	"github.com/hsmsigner/hsmsigner/internal/store"
	"github.com/hsmsigner/hsmsigner/internal/strictjson"
	"github.com/hsmsigner/hsmsigner/internal/wallet"
)

// rig is the admin listener over a real platform, with a real store, sealer and
// directory of credentials. Only what would run the services is a stand-in: its
// real one is tested end to end.
type rig struct {
	asked    *approval.Book
	t        *testing.T
	db       *store.DB
	platform *platform.Platform
	run      *runs
	notary   *notary
	hand     *handOf
	book     *logbook.Book // over db

	management *Management
	server     *httptest.Server
	root       string // API key of an admin of the deployment
}

func newRig(t *testing.T) *rig {
	t.Helper()
	dir := t.TempDir()
	db, err := store.OpenSQLite(t.Context(), store.Config{Dir: dir})
	must(t, err)
	t.Cleanup(func() { must(t, db.Close()) })
	sealer, err := seal.Open(t.Context(), seal.Config{Store: db, Dir: dir})
	must(t, err)
	verifier, err := auth.OpenVerifier(t.Context(), sealer)
	must(t, err)
	directory, err := auth.NewDirectory(t.Context(), auth.DirectoryConfig{Store: db, Verifier: verifier})
	must(t, err)
	declared := config.Wallet{Name: "treasury", Node: config.Node{ChainID: 1337}, Details: config.Details{Provider: config.ProviderKeystore}}
	stopSwitch := freeze.New(freeze.Config{Store: db})
	must(t, stopSwitch.Load(t.Context()))
	r := &rig{t: t, db: db, run: &runs{open: map[string]platform.ServiceSpec{}}, notary: newNotary(t), book: newBook(t, db)}
	r.asked, err = approval.New(approval.Config{Store: db, MAC: platform.ApprovalMAC(verifier), Deployment: "test"})
	must(t, err)
	r.hand = &handOf{}
	r.platform, err = platform.New(t.Context(), platform.Config{
		Store: db, Sealer: sealer, Verifier: verifier, Runtime: r.run, ParseDetails: new(config.Config).ParseTenantDetails, ParseNode: new(config.Config).ParseTenantNode,
		Declared: []config.Wallet{declared},
		URLs: func(id string) map[string]string {
			return map[string]string{
				"http": "http://127.0.0.1:8545/" + id, "rpc": "http://127.0.0.1:8545/" + id,
				"ws": "ws://127.0.0.1:8545/" + id, "wss": "ws://127.0.0.1:8545/" + id,
				"rest": "http://127.0.0.1:8545/" + id + "/gateway", "webui": "http://127.0.0.1:8080/console/" + id,
			}
		},
		Audit:     r.book,
		PolicyMAC: platform.PolicyMAC(verifier), Freeze: stopSwitch, Approvals: r.asked,
		Judge:     judge.New(judge.Config{Rows: db, Limits: allowance.New(allowance.Config{Store: db}), MAC: platform.PolicyMAC(verifier)}),
		Documents: platform.Documents{Signer: r.notary, Log: r.notary}, Hand: r.hand,
		Release: "test", Poll: 10 * time.Millisecond, Changed: directory.Changed,
	})
	must(t, err)
	ctx, stop := context.WithCancel(context.Background())
	var ended sync.WaitGroup
	ended.Go(func() { _ = r.platform.Run(ctx) })
	t.Cleanup(func() { stop(); ended.Wait() })
	management, err := NewManagement(ManagementConfig{Platform: r.platform, Gate: directory, Release: "test", Cookie: auth.CookieName(false)})
	must(t, err)
	r.management = management
	r.server = httptest.NewServer(New(Config{Metrics: http.NotFoundHandler(), Store: db.Ping, Management: management}))
	t.Cleanup(r.server.Close)
	r.root = r.key(`{"name":"root","grants":[{"role":"admin"}]}`)
	return r
}

// key makes an API key as the operator does.
func (r *rig) key(body string) string {
	r.t.Helper()
	made, err := r.platform.Create(r.t.Context(), auth.Operating(), platform.APIKeys, platform.Path{}, []byte(body))
	must(r.t, err)
	return made.(*platform.APIKey).Key
}

// seen is what came back.
type seen struct {
	code   int
	header http.Header
	text   string
	body   any
}

func (a seen) get(path ...string) any {
	v := a.body
	for _, name := range path {
		m, ok := v.(map[string]any)
		if !ok {
			return nil
		}
		v = m[name]
	}
	return v
}

func (a seen) id() string {
	id, _ := a.get("_id").(string)
	return id
}

// names are what a field has in each element of a list.
func (a seen) names(field string) string {
	list, ok := a.body.([]any)
	if !ok {
		return "no list: " + a.text
	}
	var out []string
	for _, e := range list {
		text, _ := e.(map[string]any)[field].(string)
		out = append(out, text)
	}
	return strings.Join(out, " ")
}

// call sends a request and checks that the answer is one that the OpenAPI
// document foresees for its route.
func (r *rig) call(token, method, path, body string) seen {
	r.t.Helper()
	a := r.send(token, method, path, body)
	r.foreseen(method, path, a)
	return a
}

func (r *rig) send(token, method, path, body string) seen {
	r.t.Helper()
	var from io.Reader
	if body != "" {
		from = strings.NewReader(body)
	}
	req, err := http.NewRequestWithContext(r.t.Context(), method, r.server.URL+Base+path, from)
	must(r.t, err)
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	return r.do(req)
}

func (r *rig) do(req *http.Request) seen {
	r.t.Helper()
	res, err := r.server.Client().Do(req)
	must(r.t, err)
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	must(r.t, err)
	a := seen{code: res.StatusCode, header: res.Header, text: string(text)}
	if len(text) > 0 && strings.HasPrefix(res.Header.Get("Content-Type"), "application/json") {
		d := json.NewDecoder(bytes.NewReader(text))
		d.UseNumber()
		must(r.t, d.Decode(&a.body))
	}
	return a
}

// foreseen checks an answer against the table of routes.
func (r *rig) foreseen(method, path string, a seen) {
	r.t.Helper()
	path, _, _ = strings.Cut(path, "?")
	rt := routeOf(method, long(path))
	if rt == nil {
		r.t.Errorf("%s %s: no route", method, path)
		return
	}
	shape := failureShape()
	if i := slices.IndexFunc(rt.answers, func(s answers) bool { return s.code == a.code }); i >= 0 {
		shape = rt.answers[i].body
	} else if !slices.Contains(rt.failing(), a.code) {
		r.t.Errorf("%s %s: %d is not foreseen: %s", method, path, a.code, a.text)
		return
	}
	if shape == nil {
		if a.text != "" {
			r.t.Errorf("%s %s: %d with a body: %s", method, path, a.code, a.text)
		}
		return
	}
	v, err := strictjson.Parse([]byte(a.text))
	if err == nil {
		err = shape.Check(v)
	}
	if err != nil || a.header.Get("Content-Type") != "application/json" {
		r.t.Errorf("%s %s: %d %s: %v: %s", method, path, a.code, a.header.Get("Content-Type"), err, a.text)
	}
}

// routeOf finds the route that a path in its long form belongs to; of several,
// the one with the fewest parameters.
func routeOf(method, path string) *route {
	var best *route
	for _, rt := range routes() {
		if rt.method == method && fits(rt.path, path) && (best == nil || len(parametersOf(rt.path)) < len(parametersOf(best.path))) {
			best = &rt
		}
	}
	return best
}

func fits(pattern, path string) bool {
	want, have := strings.Split(pattern, "/"), strings.Split(path, "/")
	if len(want) != len(have) {
		return false
	}
	for i := range want {
		if want[i] != have[i] && !strings.HasPrefix(want[i], "{") {
			return false
		}
	}
	return true
}

// want fails unless the answer has the code.
func (r *rig) want(a seen, code int) seen {
	r.t.Helper()
	if a.code != code {
		r.t.Fatalf("%d, want %d: %s", a.code, code, a.text)
	}
	return a
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// runs stands in for what runs services: each works as soon as it is opened, with
// one account.
type runs struct {
	mu   sync.Mutex
	open map[string]platform.ServiceSpec
	live int // transactions under way, of each service
}

func (r *runs) Open(_ context.Context, spec platform.ServiceSpec) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.open[spec.Wallet.Name] = spec
	return nil
}

func (r *runs) Close(_ context.Context, name string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.open, name)
	return nil
}

func (r *runs) Try(context.Context, string, config.Details, int) (key.Page, error) {
	return key.Page{Keys: []key.Key{{Ref: "ref", Name: "first", Address: address, Protection: key.HSM, State: key.Enabled}}}, nil
}

func (r *runs) Status(name string) (platform.RunStatus, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	_, ok := r.open[name]
	fine := platform.Dependency{OK: true, Checked: time.Now()}
	return platform.RunStatus{Accounts: 1, Usable: 1, Ready: true, Listed: true, Verified: true, Backend: fine, Node: fine}, ok
}

// address is that of the account that every service has.
var address = common.HexToAddress("0x52908400098527886E0F7030069857D2E4169EE7")

func (r *runs) Accounts(_ context.Context, name string) ([]wallet.Account, error) {
	if _, ok := r.Status(name); !ok {
		return nil, platform.ErrNotRunning
	}
	return []wallet.Account{{Address: address, Ref: "ref", Name: "one", Protection: key.Software, State: key.Enabled}}, nil
}

func (r *runs) Refresh(_ context.Context, name string) (wallet.Report, error) {
	if _, ok := r.Status(name); !ok {
		return wallet.Report{}, platform.ErrNotRunning
	}
	return wallet.Report{Found: 1}, nil
}

func (*runs) Create(context.Context, auth.Principal, string, string, map[string]string) (key.Key, error) {
	return key.Key{}, key.ErrUnsupported
}

func (*runs) Import(context.Context, auth.Principal, string, string, []byte, map[string]string) (key.Key, error) {
	return key.Key{}, key.ErrUnsupported
}

func (*runs) Balance(context.Context, string, common.Address) (*big.Int, error) {
	return big.NewInt(1e18), nil
}

func (*runs) Nonce(context.Context, string, common.Address) (uint64, error) { return 7, nil }

func (r *runs) Live(context.Context, string) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.live, nil
}

func (r *runs) settle(live int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.live = live
}

func (*runs) Cancel(context.Context, string, string) error { return nil }

func (*runs) SpeedUp(context.Context, string, string, *big.Int, *big.Int) error { return nil }
