// SPDX-License-Identifier: Apache-2.0

package webhook_test

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/hsmsigner/hsmsigner/internal/dialrule"
	"github.com/hsmsigner/hsmsigner/internal/store"
	"github.com/hsmsigner/hsmsigner/internal/webhook"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv("WEBHOOK_TEST_CHILD"); dir != "" {
		deliverUntilKilled(dir, os.Getenv("WEBHOOK_TEST_URL"))
		return
	}
	goleak.VerifyTestMain(m)
}

const theSecret = "hunter2-hunter2-"

// got is what a receiver has heard.
type got struct {
	at     time.Time
	header http.Header
	body   []byte
}

// receiver is the other side of a hook, as it would be programmed.
type receiver struct {
	server *httptest.Server
	mu     sync.Mutex
	heard  []got
}

// receive starts a receiver that answers as answer does; it is given the number
// of the request, from 0.
func receive(t *testing.T, answer func(n int, w http.ResponseWriter, r *http.Request)) *receiver {
	t.Helper()
	rec := &receiver{}
	rec.server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		rec.mu.Lock()
		n := len(rec.heard)
		rec.heard = append(rec.heard, got{time.Now(), r.Header.Clone(), body})
		rec.mu.Unlock()
		if answer != nil {
			answer(n, w, r)
		}
	}))
	t.Cleanup(rec.server.Close)
	return rec
}

func (r *receiver) all() []got {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.heard)
}

func (r *receiver) ids() (ids []string) {
	for _, g := range r.all() {
		ids = append(ids, g.header.Get("X-HSMSigner-Event"))
	}
	return ids
}

func status(codes ...int) func(int, http.ResponseWriter, *http.Request) {
	return func(n int, w http.ResponseWriter, _ *http.Request) { w.WriteHeader(codes[min(n, len(codes)-1)]) }
}

func openStore(t *testing.T) *store.DB {
	t.Helper()
	db, err := store.OpenSQLite(t.Context(), store.Config{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return db
}

func secrets(values ...string) func() ([]string, error) {
	return func() ([]string, error) { return values, nil }
}

func hookTo(name, url string) webhook.Hook {
	return webhook.Hook{Wallet: "treasury", Name: name, URL: url, Secrets: secrets(theSecret), Timeout: time.Minute}
}

var loopback = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}

// fast is a configuration for tests.
func fast(db *store.DB, hooks ...webhook.Hook) webhook.Config {
	return webhook.Config{
		Store: db, Hooks: hooks, Rules: dialrule.Rules{Allow: loopback},
		Poll: 20 * time.Millisecond, Backoff: 20 * time.Millisecond, MaxBackoff: 200 * time.Millisecond, LeaseTTL: 20 * time.Second,
	}
}

// start runs hooks until the returned function, or the end of the test.
func start(t *testing.T, h *webhook.Hooks) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		h.Run(ctx)
	}()
	stop = func() {
		cancel()
		<-done
	}
	t.Cleanup(stop)
	return stop
}

// put stores n events as txmgr does, and returns their ids by hook.
func put(t *testing.T, db *store.DB, h *webhook.Hooks, n int) map[string][]string {
	t.Helper()
	ids := make(map[string][]string)
	for range n {
		tx := aTx(store.Confirmed)
		tx.ID = store.NewID()
		rows := h.Events(tx, nil)
		if err := db.Write(t.Context(), func(w *store.Writer) error {
			for _, e := range rows {
				if err := w.PutEvent(e); err != nil {
					return err
				}
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		for _, e := range rows {
			ids[e.Hook] = append(ids[e.Hook], e.ID)
		}
	}
	h.Kick()
	return ids
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not in time: %s", what)
		}
	}
}

func waiting(t *testing.T, db *store.DB) int {
	t.Helper()
	counts, err := db.EventCounts(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	sum := 0
	for _, n := range counts {
		sum += n
	}
	return sum
}

// verify is what the package's documentation tells receivers to do.
func verify(header http.Header, body []byte, secret string) error {
	timestamp := header.Get("X-HSMSigner-Timestamp")
	seconds, err := strconv.ParseInt(timestamp, 10, 64)
	if err != nil || time.Since(time.Unix(seconds, 0)).Abs() > 5*time.Minute {
		return fmt.Errorf("timestamp %q", timestamp)
	}
	mac := hmac.New(sha256.New, []byte(secret))
	fmt.Fprintf(mac, "%s.%s", timestamp, body)
	for _, value := range strings.Split(header.Get("X-HSMSigner-Signature"), ", ") {
		digits, ok := strings.CutPrefix(value, "v1=")
		given, err := hex.DecodeString(digits)
		if ok && err == nil && hmac.Equal(given, mac.Sum(nil)) {
			return nil
		}
	}
	return fmt.Errorf("signature %q", header.Get("X-HSMSigner-Signature"))
}

func TestDeliveredOnceSignedAndForgotten(t *testing.T) {
	db := openStore(t)
	rec := receive(t, nil)
	h := newHooks(t, fast(db, hookTo("shop", rec.server.URL+"/hooks?k=v")))
	start(t, h)
	ids := put(t, db, h, 200)["treasury/shop"]
	eventually(t, "all are delivered", func() bool { return waiting(t, db) == 0 })
	heard := rec.ids()
	slices.Sort(heard)
	if !slices.Equal(heard, ids) {
		t.Fatalf("heard %d of %d", len(heard), len(ids))
	}
	for _, g := range rec.all() {
		if err := verify(g.header, g.body, theSecret); err != nil {
			t.Fatal(err)
		}
		if err := verify(g.header, g.body, "another"); err == nil {
			t.Fatal("another secret verifies")
		}
		if err := verify(g.header, append(g.body, ' '), theSecret); err == nil {
			t.Fatal("another body verifies")
		}
		if g.header.Get("Content-Type") != "application/json" || g.header.Get("X-HSMSigner-Delivery") != "1" || g.header.Get("User-Agent") != "hsmsigner" ||
			decoded(t, g.body)["id"] != g.header.Get("X-HSMSigner-Event") {
			t.Fatalf("got %v", g.header)
		}
	}
}

func TestBothSecretsSignWhileOneIsReplaced(t *testing.T) {
	db := openStore(t)
	rec := receive(t, nil)
	hook := hookTo("shop", rec.server.URL)
	hook.Secrets = secrets("new-secret", "old-secret")
	h := newHooks(t, fast(db, hook))
	start(t, h)
	put(t, db, h, 1)
	eventually(t, "it is delivered", func() bool { return len(rec.all()) == 1 })
	for _, secret := range []string{"new-secret", "old-secret"} {
		if err := verify(rec.all()[0].header, rec.all()[0].body, secret); err != nil {
			t.Errorf("%s: %v", secret, err)
		}
	}
}

// A flaky receiver: errors, hung up connections, redirects, then at last 204.
func TestTriedAgainUntilItIsTaken(t *testing.T) {
	db := openStore(t)
	rec := receive(t, func(n int, w http.ResponseWriter, r *http.Request) {
		switch n {
		case 0:
			w.WriteHeader(http.StatusInternalServerError)
		case 1:
			panic(http.ErrAbortHandler)
		case 2:
			http.Redirect(w, r, "/elsewhere", http.StatusFound)
		case 3:
			w.WriteHeader(http.StatusNotFound)
		default:
			w.WriteHeader(http.StatusNoContent)
		}
	})
	h := newHooks(t, fast(db, hookTo("shop", rec.server.URL)))
	start(t, h)
	put(t, db, h, 1)
	eventually(t, "it is delivered", func() bool { return waiting(t, db) == 0 })
	heard := rec.all()
	if len(heard) != 5 {
		t.Fatalf("%d tries", len(heard))
	}
	for i, g := range heard {
		if g.header.Get("X-HSMSigner-Delivery") != strconv.Itoa(i+1) || g.header.Get("X-HSMSigner-Event") != rec.ids()[0] || string(g.body) != string(heard[0].body) {
			t.Fatalf("try %d: %v", i+1, g.header)
		}
		if i > 0 && g.at.Sub(heard[i-1].at) < 9*time.Millisecond<<(i-1) {
			t.Errorf("try %d came %v after the last", i+1, g.at.Sub(heard[i-1].at))
		}
	}
}

func TestRetryAfterIsHonoured(t *testing.T) {
	db := openStore(t)
	rec := receive(t, func(n int, w http.ResponseWriter, _ *http.Request) {
		if n == 0 {
			w.Header().Set("Retry-After", "1")
			w.WriteHeader(http.StatusTooManyRequests)
		}
	})
	h := newHooks(t, fast(db, hookTo("shop", rec.server.URL)))
	start(t, h)
	put(t, db, h, 1)
	eventually(t, "it is delivered", func() bool { return waiting(t, db) == 0 })
	if heard := rec.all(); len(heard) != 2 || heard[1].at.Sub(heard[0].at) < time.Second {
		t.Fatalf("%d tries", len(heard))
	}
}

func TestGoneIsDropped(t *testing.T) {
	db := openStore(t)
	rec := receive(t, status(http.StatusGone))
	watch := &observer{}
	cfg := fast(db, hookTo("shop", rec.server.URL))
	cfg.Observer = watch
	h := newHooks(t, cfg)
	start(t, h)
	put(t, db, h, 2)
	eventually(t, "both are dropped", func() bool { return waiting(t, db) == 0 })
	eventually(t, "that is told", func() bool { return watch.count("dropped treasury/shop") >= 2 })
	if len(rec.all()) != 2 || watch.count("dropped treasury/shop") != 2 {
		t.Fatalf("%d tries, %v", len(rec.all()), watch.seen())
	}
}

func TestGivenUpAfterItsTime(t *testing.T) {
	db := openStore(t)
	rec := receive(t, status(http.StatusServiceUnavailable))
	var log strings.Builder
	cfg := fast(db, hookTo("shop", rec.server.URL+"/k3y"))
	cfg.GiveUp, cfg.Logger = 5*time.Second, slog.New(slog.NewTextHandler(&log, nil))
	h := newHooks(t, cfg)
	stop := start(t, h)
	put(t, db, h, 1)
	eventually(t, "it is dropped", func() bool { return waiting(t, db) == 0 })
	stop()
	if n := len(rec.all()); n < 3 {
		t.Errorf("%d tries", n)
	}
	if text := log.String(); !strings.Contains(text, "level=ERROR") || !strings.Contains(text, "status 503") || strings.Contains(text, "k3y") || strings.Contains(text, theSecret) {
		t.Errorf("the log says %s", text)
	}
}

func TestSlowReceiverHoldsUpNobody(t *testing.T) {
	db := openStore(t)
	release := make(chan struct{})
	slow := receive(t, func(_ int, _ http.ResponseWriter, r *http.Request) {
		select {
		case <-release:
		case <-r.Context().Done():
		}
	})
	quick := receive(t, nil)
	cfg := fast(db, hookTo("slow", slow.server.URL), hookTo("quick", quick.server.URL))
	cfg.Concurrency = 3
	h := newHooks(t, cfg)
	start(t, h)
	put(t, db, h, 100)
	eventually(t, "the quick one has all", func() bool { return len(quick.all()) == 100 })
	eventually(t, "the slow one is full", func() bool { return len(slow.all()) == 3 })
	time.Sleep(50 * time.Millisecond)
	if n := len(slow.all()); n != 3 {
		t.Errorf("%d tries at the same time, want 3", n)
	}
	close(release)
	eventually(t, "the slow one has all", func() bool { return waiting(t, db) == 0 })
	if n := len(slow.all()); n != 100 {
		t.Errorf("%d tries", n)
	}
}

func TestTimeoutIsAFailedTry(t *testing.T) {
	db := openStore(t)
	rec := receive(t, func(n int, _ http.ResponseWriter, r *http.Request) {
		if n == 0 {
			<-r.Context().Done()
		}
	})
	hook := hookTo("shop", rec.server.URL)
	hook.Timeout = 3 * time.Second // the second try is answered in this time
	watch := &observer{}
	cfg := fast(db, hook)
	cfg.Observer = watch
	h := newHooks(t, cfg)
	start(t, h)
	put(t, db, h, 1)
	eventually(t, "it is delivered", func() bool { return waiting(t, db) == 0 })
	eventually(t, "that is told", func() bool { return watch.count("delivered treasury/shop") == 1 })
	if watch.count("failed treasury/shop timeout") != 1 {
		t.Errorf("got %v", watch.seen())
	}
}

// A receiver that answers without end, or with a compressed bomb, is cut off.
func TestLongAnswersAreNotRead(t *testing.T) {
	db := openStore(t)
	var sent int64
	ended := make(chan struct{})
	rec := receive(t, func(n int, w http.ResponseWriter, r *http.Request) {
		if n > 0 {
			return
		}
		defer close(ended)
		page := make([]byte, 32<<10)
		for r.Context().Err() == nil && sent < 1<<30 {
			m, err := w.Write(page)
			sent += int64(m)
			if err != nil {
				return
			}
		}
	})
	h := newHooks(t, fast(db, hookTo("shop", rec.server.URL)))
	start(t, h)
	put(t, db, h, 1)
	eventually(t, "it is delivered", func() bool { return waiting(t, db) == 0 })
	<-ended
	if sent > 64<<20 { // what the kernel buffers comes on top
		t.Errorf("%d bytes were taken", sent)
	}
}

// observer notes what it is told.
type observer struct {
	mu    sync.Mutex
	notes []string
}

func (o *observer) note(format string, args ...any) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.notes = append(o.notes, fmt.Sprintf(format, args...))
}

func (o *observer) seen() []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Clone(o.notes)
}

func (o *observer) count(note string) (n int) {
	for _, s := range o.seen() {
		if s == note {
			n++
		}
	}
	return n
}

func (o *observer) Delivered(hook string, _ time.Duration) { o.note("delivered %s", hook) }
func (o *observer) Failed(hook, kind string)               { o.note("failed %s %s", hook, kind) }
func (o *observer) Dropped(hook string)                    { o.note("dropped %s", hook) }
func (o *observer) Pending(hooks map[string]int)           { o.note("pending %v", hooks) }
