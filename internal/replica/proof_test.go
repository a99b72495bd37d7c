// SPDX-License-Identifier: Apache-2.0

package replica

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/common"

	"github.com/hsmsigner/hsmsigner/internal/store"
)

// Only a process whose key stands in the table is answered, and only for the
// question that it asked.
func TestOnlyReplicasOnTheDatabaseAreAnswered(t *testing.T) {
	ctx, log := context.Background(), slog.New(slog.DiscardHandler)
	db, err := store.OpenSQLite(ctx, store.Config{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	asked := New(Config{Store: db, Owner: "asked", URL: "http://asked", Logger: log})
	asking := New(Config{Store: db, Owner: "asking", URL: "http://asking", Logger: log})
	stranger := New(Config{Store: db, Owner: "asking", Logger: log}) // another key under a known name
	live := 0
	asked.look(ctx, &live)
	asking.look(ctx, &live)
	stranger.peers = asking.peers
	peer, ok := asking.peer("asked")
	if !ok {
		t.Fatal("the peer is not known")
	}
	question := func(by *Registry, change func(*http.Request)) error {
		r := httptest.NewRequest(http.MethodPost, "http://asked/replica/v1/await", strings.NewReader("{}"))
		if by != nil {
			if err := by.sign(peer, r, []byte("{}")); err != nil {
				t.Fatal(err)
			}
		}
		if change != nil {
			change(r)
		}
		_, err := asked.body(httptest.NewRecorder(), r, 100)
		return err
	}
	if err := question(asking, nil); err != nil {
		t.Errorf("a replica: %v", err)
	}
	for what, err := range map[string]error{
		"nobody":        question(nil, nil),
		"stranger":      question(stranger, nil),
		"other content": question(asking, func(r *http.Request) { r.Body = io.NopCloser(strings.NewReader("[]")) }),
		"other path":    question(asking, func(r *http.Request) { r.URL.Path = "/replica/v1/operate" }),
		"other name":    question(asking, func(r *http.Request) { replace(r, "asking", "asked") }),
		"old": question(asking, func(r *http.Request) {
			key, err := asking.shared(peer)
			must(t, err)
			at := strconv.FormatInt(time.Now().Add(-2*freshness).Unix(), 10)
			r.Header.Set("Authorization", strings.Join([]string{scheme, "asking", at, proof(key, "asking", "asked", at, r.URL.Path, []byte("{}"))}, " "))
		}),
	} {
		if err == nil {
			t.Errorf("%s was answered", what)
		}
	}
}

// What another replica finds is heard of within a beat; what was stored before
// the start is no news.
func TestOtherReplicasAccountsAreHeardOf(t *testing.T) {
	ctx, log := context.Background(), slog.New(slog.DiscardHandler)
	db, err := store.OpenSQLite(ctx, store.Config{Dir: t.TempDir()})
	must(t, err)
	defer db.Close()
	save := func(address common.Address) {
		must(t, db.SaveAccounts(ctx, "main", []store.Account{{Wallet: "main", Address: address, Ref: "r", State: "enabled"}}))
	}
	save(common.Address{1})
	var heard []string
	live, counts := 0, []int(nil)
	r := New(Config{
		Store: db, Owner: "one", Logger: log, Live: func(n int) { counts = append(counts, n) },
		Snapshot: func(_ context.Context, wallet string) { heard = append(heard, wallet) },
	})
	r.look(ctx, &live)
	r.look(ctx, &live)
	if len(heard) != 0 {
		t.Errorf("heard of %v although nothing has changed", heard)
	}
	save(common.Address{2})
	r.look(ctx, &live)
	if len(heard) != 1 || heard[0] != "main" {
		t.Errorf("heard of %v", heard)
	}
	second := New(Config{Store: db, Owner: "two", Logger: log})
	seen := 0
	second.look(ctx, &seen)
	r.look(ctx, &live)
	if len(counts) != 2 || counts[0] != 1 || counts[1] != 2 {
		t.Errorf("replicas alive: %v", counts)
	}
}

func replace(r *http.Request, old, with string) {
	r.Header.Set("Authorization", strings.Replace(r.Header.Get("Authorization"), old, with, 1))
}
