// SPDX-License-Identifier: Apache-2.0

package replica

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

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
			parts := strings.Split(r.Header.Get("Authorization"), " ")
			replace(r, parts[2], "1700000000")
		}),
	} {
		if err == nil {
			t.Errorf("%s was answered", what)
		}
	}
}

func replace(r *http.Request, old, with string) {
	r.Header.Set("Authorization", strings.Replace(r.Header.Get("Authorization"), old, with, 1))
}
