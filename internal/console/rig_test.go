// SPDX-License-Identifier: Apache-2.0

package console

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"regexp"
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
	"github.com/hsmsigner/hsmsigner/internal/contract"
	"github.com/hsmsigner/hsmsigner/internal/eventstream"
	"github.com/hsmsigner/hsmsigner/internal/freeze"
	"github.com/hsmsigner/hsmsigner/internal/history"
	"github.com/hsmsigner/hsmsigner/internal/judge"
	"github.com/hsmsigner/hsmsigner/internal/key"
	"github.com/hsmsigner/hsmsigner/internal/platform"
	"github.com/hsmsigner/hsmsigner/internal/seal"
	"github.com/hsmsigner/hsmsigner/internal/store"
	"github.com/hsmsigner/hsmsigner/internal/wallet"
)

// rig is a console over a real platform with a real store and directory. Only what
// would run the services is a stand-in: its real one is tested end to end.
type rig struct {
	*testing.T
	db        *store.DB
	platform  *platform.Platform
	directory *auth.Directory
	past      *history.Recorder
	asked     *approval.Book
	book      *logbook.Book
	run       *runs
	hand      *hand
	contracts Contracts
	ledgers   sync.Map // by service
	abi       string   // id of an interface, once there is one
	stream    string   // likewise
	deploying string   // of a token that is not on the chain yet
	console   *Console
	server    *httptest.Server
	waiting   string // id of a request for approval, once there is one
	recorded  string // id of a record in the audit log, likewise
	root      string // an API key of an admin of the deployment
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
	r := &rig{T: t, db: db, past: history.New(nil), run: &runs{open: map[string]bool{}}, hand: &hand{db: db}}
	r.directory, err = auth.NewDirectory(t.Context(), auth.DirectoryConfig{Store: db, Verifier: verifier})
	must(t, err)
	stop := freeze.New(freeze.Config{Store: db})
	must(t, stop.Load(t.Context()))
	r.book = newBook(t, db)
	r.asked, err = approval.New(approval.Config{Store: db, MAC: platform.ApprovalMAC(verifier), Deployment: "test"})
	must(t, err)
	r.platform, err = platform.New(t.Context(), platform.Config{
		Store: db, Sealer: sealer, Verifier: verifier, Runtime: r.run,
		ParseDetails: new(config.Config).ParseTenantDetails, ParseNode: new(config.Config).ParseTenantNode,
		Declared: []config.Wallet{{Name: "treasury", Node: config.Node{ChainID: 1337}, Details: config.Details{Provider: config.ProviderKeystore}}},
		URLs: func(id string) map[string]string {
			return map[string]string{"http": "http://127.0.0.1:8545/" + id, "ws": "ws://127.0.0.1:8545/" + id, "rest": "http://127.0.0.1:8545/" + id + "/gateway"}
		},
		Audit: r.book, Hand: r.hand, Freeze: stop, Approvals: r.asked, PolicyMAC: platform.PolicyMAC(verifier),
		Judge:   judge.New(judge.Config{Rows: db, Limits: allowance.New(allowance.Config{Store: db}), MAC: platform.PolicyMAC(verifier)}),
		Release: "test", Poll: 10 * time.Millisecond, Changed: r.directory.Changed,
	})
	must(t, err)
	ctx, end := context.WithCancel(context.Background())
	var ended sync.WaitGroup
	ended.Go(func() { _ = r.platform.Run(ctx) })
	t.Cleanup(func() { end(); ended.Wait() })
	r.openContracts(sealer)
	c, err := New(Config{Platform: r.platform, Sessions: r.directory, Past: r.past, Contracts: r.contracts, Release: "test"})
	must(t, err)
	r.console, r.server = c, httptest.NewServer(c)
	t.Cleanup(r.server.Close)
	r.root = r.key(`{"name":"root","grants":[{"role":"admin"}]}`)
	return r
}

// openContracts has contracts worked with on a real book.
func (r *rig) openContracts(sealer *seal.Sealer) {
	book := contract.NewBook(contract.Config{Store: r.db})
	streams, err := eventstream.New(eventstream.Config{Store: r.db, Sealer: sealer, Node: func(name string) eventstream.Node { return r.ledger(name) }})
	must(r, err)
	r.contracts = Contracts{Book: book, Desk: contract.NewDesk(book), Streams: streams, Wallet: func(name string) contract.Wallet { return r.ledger(name) }}
}

// ledger is what stands for the wallet and the chain of a service.
func (r *rig) ledger(name string) *ledger {
	is, _ := r.ledgers.LoadOrStore(name, &ledger{name: name, hand: r.hand, answers: map[string]string{}})
	return is.(*ledger)
}

// newBook is an audit log over db.
func newBook(t *testing.T, db *store.DB) *logbook.Book {
	t.Helper()
	key, err := logbook.NewKey("example.org/log")
	must(t, err)
	book, err := logbook.Open(t.Context(), logbook.Config{Store: db, Key: key, Interval: 5 * time.Millisecond})
	must(t, err)
	ctx, stop := context.WithCancel(context.Background())
	var ended sync.WaitGroup
	ended.Go(func() { _ = book.Run(ctx) })
	t.Cleanup(func() { stop(); ended.Wait() })
	return book
}

// key makes an API key as the operator does.
func (r *rig) key(body string) string {
	r.Helper()
	made, err := r.platform.Create(r.Context(), auth.Operating(), platform.APIKeys, platform.Path{}, []byte(body))
	must(r, err)
	r.directory.Changed()
	return made.(*platform.APIKey).Key
}

// make makes a resource in the default environment, as the operator does.
func (r *rig) make(kind platform.Kind, body string) any {
	r.Helper()
	made, err := r.platform.Create(r.Context(), auth.Operating(), kind, platform.Path{Consortium: platform.DefaultConsortium, Environment: platform.DefaultEnvironment}, []byte(body))
	must(r, err)
	return made
}

// browser is somebody who looks at pages.
type browser struct {
	*rig
	client *http.Client
}

func (r *rig) browser() *browser {
	jar, err := cookiejar.New(nil)
	must(r, err)
	return &browser{r, &http.Client{Jar: jar, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}}
}

// signedIn is a browser of whoever has the key.
func (r *rig) signedIn(key string) *browser {
	r.Helper()
	b := r.browser()
	if a := b.post("/console/sign-in", url.Values{"key": {key}}); a.code != http.StatusSeeOther {
		r.Fatalf("sign in: %d %s", a.code, a.text)
	}
	return b
}

// answer is what came back.
type answer struct {
	code   int
	header http.Header
	text   string
}

func (b *browser) do(req *http.Request) answer {
	b.Helper()
	res, err := b.client.Do(req)
	must(b, err)
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	must(b, err)
	return answer{res.StatusCode, res.Header, string(text)}
}

func (b *browser) get(path string, headers ...string) answer {
	b.Helper()
	req, err := http.NewRequestWithContext(b.Context(), http.MethodGet, b.server.URL+path, http.NoBody)
	must(b, err)
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	return b.do(req)
}

func (b *browser) post(path string, form url.Values, headers ...string) answer {
	b.Helper()
	req, err := http.NewRequestWithContext(b.Context(), http.MethodPost, b.server.URL+path, strings.NewReader(form.Encode()))
	must(b, err)
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	return b.do(req)
}

var tokenField = regexp.MustCompile(`name="csrf_token" value="([^"]+)"`)

// send sends a form as a page of ours does, with the token that stands in it.
func (b *browser) send(path string, form url.Values) answer {
	b.Helper()
	found := tokenField.FindStringSubmatch(b.get(home("/overview")).text)
	if found == nil {
		b.Fatal("no token in the page")
	}
	if form == nil {
		form = url.Values{}
	}
	form.Set("csrf_token", found[1])
	return b.post(path, form)
}

// home is a path in the default environment.
func home(path string) string {
	return placed(platform.DefaultConsortium, platform.DefaultEnvironment) + path
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// runs stands for what runs services: each is well, and has one account.
type runs struct {
	mu      sync.Mutex
	open    map[string]bool
	refuses error // what every backend says that is tried
	name    string
	tried   config.Details  // of the last backend that was tried
	listing wallet.Progress // if it runs, nobody sees the end of a refresh
	added   *addition       // how keys are made and imported; nil: not at all
}

// addition is the last key that was made or imported.
type addition struct {
	err     error // of the next ones
	name    string
	tags    map[string]string
	private []byte // nil: the key was made
	count   int
}

func (r *runs) add(name string, private []byte, tags map[string]string) (key.Key, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.added == nil {
		return key.Key{}, fmt.Errorf("no admin credential: %w", key.ErrUnsupported)
	}
	if r.added.err != nil {
		return key.Key{}, r.added.err
	}
	*r.added = addition{name: name, tags: tags, private: bytes.Clone(private), count: r.added.count + 1}
	return key.Key{Ref: "ref", Name: name, Address: account, Protection: key.HSM, State: key.Enabled}, nil
}

var account = common.HexToAddress("0x52908400098527886E0F7030069857D2E4169EE7")

func (r *runs) Open(_ context.Context, spec platform.ServiceSpec) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.open[spec.Wallet.Name] = true
	return nil
}

func (r *runs) Close(_ context.Context, name string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.open, name)
	return nil
}

func (r *runs) Status(string) (platform.RunStatus, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	fine := platform.Dependency{OK: true, Checked: time.Now()}
	return platform.RunStatus{Accounts: 1, Usable: 1, Ready: true, Listed: true, Verified: true, Backend: fine, Node: fine, Discovery: r.listing}, true
}

func (r *runs) keyName() string {
	if r.name != "" {
		return r.name
	}
	return "first"
}

func (r *runs) Try(_ context.Context, _ string, details config.Details, _ int) (key.Page, error) {
	r.tried = details
	if r.refuses != nil {
		return key.Page{}, r.refuses
	}
	return key.Page{Keys: []key.Key{{Ref: "ref", Name: r.keyName(), Address: account, Protection: key.HSM, State: key.Enabled}}}, nil
}

func (r *runs) Accounts(context.Context, string) ([]wallet.Account, error) {
	return []wallet.Account{{Address: account, Ref: key.Ref("ref/" + r.keyName()), Name: r.keyName(), Protection: key.HSM, State: key.Enabled, Reason: "", Tags: map[string]string{"team": r.keyName()}}}, nil
}

func (r *runs) Refresh(ctx context.Context, _ string) (wallet.Report, error) {
	r.mu.Lock()
	running := r.listing.Running
	r.mu.Unlock()
	if running {
		<-ctx.Done()
		return wallet.Report{}, ctx.Err()
	}
	return wallet.Report{Found: 1, Problems: []key.Problem{{Name: r.keyName(), Reason: "its curve is another"}}}, nil
}

func (r *runs) Create(_ context.Context, _ auth.Principal, _, name string, tags map[string]string) (key.Key, error) {
	return r.add(name, nil, tags)
}

func (r *runs) Import(_ context.Context, _ auth.Principal, _, name string, private []byte, tags map[string]string) (key.Key, error) {
	return r.add(name, private, tags)
}

func (r *runs) Balance(context.Context, string, common.Address) (*big.Int, error) {
	return big.NewInt(1_500_000_000_000_000_000), nil
}

func (r *runs) Nonce(context.Context, string, common.Address) (uint64, error) { return 7, nil }
func (r *runs) Live(context.Context, string) (int, error)                     { return 0, nil }
func (r *runs) Cancel(context.Context, string, string) error {
	return errors.New("it is mined already")
}

func (r *runs) SpeedUp(context.Context, string, string, *big.Int, *big.Int) error {
	return errors.New("it is mined already")
}
