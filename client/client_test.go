// SPDX-License-Identifier: Apache-2.0

package client_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hsmsigner/hsmsigner/client"
)

const key = "h0abcdefgh-0123456789"

// serve answers every request with what handle does, after checking what all
// requests must have.
func serve(t *testing.T, handle func(w http.ResponseWriter, r *http.Request, body string)) *client.Client {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		if r.Header.Get("Authorization") != "Bearer "+key || r.Header.Get("User-Agent") != "test/1" {
			t.Errorf("headers %v", r.Header)
		}
		if want := map[bool]string{true: "application/json"}[len(body) > 0]; r.Header.Get("Content-Type") != want {
			t.Errorf("%s %s: Content-Type %q", r.Method, r.URL, r.Header.Get("Content-Type"))
		}
		handle(w, r, string(body))
	}))
	t.Cleanup(server.Close)
	c, err := client.New(client.Config{URL: server.URL, Key: func() (string, error) { return key, nil }, UserAgent: "test/1"})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestEveryMethodSendsWhatTheAPIDocuments(t *testing.T) {
	const in = "/api/v1/consortia/c/environments/e"
	for _, call := range []struct {
		want   string // method, path and query, body
		status int
		answer string
		do     func(ctx context.Context, c *client.Client) (any, error)
	}{
		{"GET /api/v1/consortia ", 200, `[{"_id": "x"}]`, func(ctx context.Context, c *client.Client) (any, error) {
			all, err := c.Consortia().List(ctx, nil)
			return all[0].ID, err
		}},
		{"POST /api/v1/consortia/c/memberships " + `{"org_name":"a"}`, 201, `{"_id": "x"}`, func(ctx context.Context, c *client.Client) (any, error) {
			m, err := c.Memberships("c").Create(ctx, client.NewMembership{OrgName: "a"})
			return m.ID, err
		}},
		{"PATCH /api/v1/consortia/c/environments/e " + `{"name":"b"}`, 200, `{"_id": "x"}`, func(ctx context.Context, c *client.Client) (any, error) {
			m, err := c.Environments("c").Update(ctx, "e", map[string]any{"name": "b"})
			return m.ID, err
		}},
		{"GET " + in + "/nodes/n ", 200, `{"_id": "x", "chain_id": 1}`, func(ctx context.Context, c *client.Client) (any, error) {
			n, err := c.In("c", "e").Nodes().Get(ctx, "n")
			return n.ID, err
		}},
		{"GET " + in + "/configurations?details.provider=%5Eaz&limit=2 ", 200, `[{"_id": "x", "details": {"a": [1]}}]`, func(ctx context.Context, c *client.Client) (any, error) {
			all, err := c.In("c", "e").Configurations().List(ctx, url.Values{"details.provider": {"^az"}, "limit": {"2"}})
			return all[0].ID, err
		}},
		{"POST " + in + "/services " + `{"name":"s","service":"cloudhsm","details":{"cloudhsm_id":"u"}}`, 201, `{"_id": "x", "created_at": "2026-01-02T03:04:05Z", "urls": {"http": "u"}}`, func(ctx context.Context, c *client.Client) (any, error) {
			s, err := c.In("c", "e").Services().Create(ctx, client.NewService{Name: "s", Service: "cloudhsm", Details: map[string]any{"cloudhsm_id": "u"}})
			if s.Created.Year() != 2026 || s.URLs["http"] != "u" {
				return s, err
			}
			return s.ID, err
		}},
		{"DELETE " + in + "/appcreds/a ", 204, ``, func(ctx context.Context, c *client.Client) (any, error) {
			gone, err := c.In("c", "e").AppCreds().Delete(ctx, "a")
			return map[bool]string{true: "x"}[gone], err
		}},
		{"DELETE " + in + "/services/s ", 202, `{"_id": "s"}`, func(ctx context.Context, c *client.Client) (any, error) {
			gone, err := c.In("c", "e").Services().Delete(ctx, "s")
			return map[bool]string{false: "x"}[gone], err
		}},
		{"POST " + in + "/appcreds/a/regenerate ", 200, `{"_id": "a", "password": "x"}`, func(ctx context.Context, c *client.Client) (any, error) {
			a, err := c.In("c", "e").Regenerate(ctx, "a")
			return a.Password, err
		}},
		{"POST /api/v1/apikeys " + `{"name":"k","grants":[{"consortium_id":"c","role":"admin"}]}`, 201, `{"key": "x"}`, func(ctx context.Context, c *client.Client) (any, error) {
			k, err := c.APIKeys().Create(ctx, client.NewAPIKey{Name: "k", Grants: []client.Grant{{Consortium: "c", Role: "admin"}}})
			return k.Key, err
		}},
		{"GET /api/v1/whoami ", 200, `{"name": "x", "grants": []}`, func(ctx context.Context, c *client.Client) (any, error) {
			w, err := c.WhoAmI(ctx)
			return w.Name, err
		}},
		{"GET " + in + "/services/s/status ", 200, `{"state": "x", "backend": {"ok": true}}`, func(ctx context.Context, c *client.Client) (any, error) {
			s, err := c.In("c", "e").Status(ctx, "s")
			return s.State, err
		}},
		{"PUT " + in + "/services/s/reset {}", 200, `{"_id": "x"}`, func(ctx context.Context, c *client.Client) (any, error) {
			s, err := c.In("c", "e").ResetService(ctx, "s")
			return s.ID, err
		}},
		{"PUT " + in + "/nodes/n/reset {}", 200, `{"_id": "x"}`, func(ctx context.Context, c *client.Client) (any, error) {
			n, err := c.In("c", "e").ResetNode(ctx, "n")
			return n.ID, err
		}},
		{"GET " + in + "/services/s/accounts?balance=true&nonce=true ", 200, `[{"address": "x", "nonce": 0}]`, func(ctx context.Context, c *client.Client) (any, error) {
			all, err := c.In("c", "e").Accounts(ctx, "s", client.AccountQuery{Balance: true, Nonce: true})
			return all[0].Address, err
		}},
		{"PUT " + in + "/services/s/accounts/refresh {}", 200, `{"found": 1, "problems": [{"reason": "x"}]}`, func(ctx context.Context, c *client.Client) (any, error) {
			r, err := c.In("c", "e").RefreshAccounts(ctx, "s")
			return r.Problems[0].Reason, err
		}},
		{"PATCH " + in + "/services/s/accounts/0xAb " + `{"label":""}`, 200, `{"address": "x"}`, func(ctx context.Context, c *client.Client) (any, error) {
			a, err := c.In("c", "e").LabelAccount(ctx, "s", "0xAb", "")
			return a.Address, err
		}},
		{"GET " + in + "/services/s/transactions?limit=3&state%5B%5D=sent&state%5B%5D=mined ", 200, `[{"id": "x"}]`, func(ctx context.Context, c *client.Client) (any, error) {
			all, err := c.In("c", "e").Transactions(ctx, "s", client.TransactionQuery{States: []string{"sent", "mined"}, Limit: 3})
			return all[0].ID, err
		}},
		{"POST " + in + "/services/s/transactions/t/speed-up " + `{"max_fee_per_gas":"9"}`, 200, `{"id": "x"}`, func(ctx context.Context, c *client.Client) (any, error) {
			tx, err := c.In("c", "e").SpeedUpTransaction(ctx, "s", "t", client.Fees{MaxFee: "9"})
			return tx.ID, err
		}},
		{"POST " + in + "/services/s/transactions/t/cancel ", 200, `{"id": "x"}`, func(ctx context.Context, c *client.Client) (any, error) {
			tx, err := c.In("c", "e").CancelTransaction(ctx, "s", "t")
			return tx.ID, err
		}},
		{"GET /api/v1/audit/records?before=00&from=2026-01-02T03%3A04%3A05Z&kind%5B%5D=intent&limit=2&wallet=w ", 200, `{"records": [{"id": "x"}], "next": ""}`, func(ctx context.Context, c *client.Client) (any, error) {
			page, err := c.AuditRecords(ctx, client.AuditQuery{Kinds: []string{"intent"}, From: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Wallet: "w", Before: "00", Limit: 2})
			return page.Records[0].ID, err
		}},
		{"GET /api/v1/audit/records/r/proof ", 200, `{"record": "x"}`, func(ctx context.Context, c *client.Client) (any, error) {
			p, err := c.AuditProof(ctx, "r")
			return p.Record, err
		}},
		{"GET /api/v1/audit/checkpoint ", 200, `{"origin": "x", "size": 7}`, func(ctx context.Context, c *client.Client) (any, error) {
			p, err := c.AuditCheckpoint(ctx)
			return p.Origin, err
		}},
		{"GET /api/v1/audit/consistency?from=3 ", 200, `{"checkpoint": "x"}`, func(ctx context.Context, c *client.Client) (any, error) {
			p, err := c.AuditConsistency(ctx, 3, 0)
			return p.Checkpoint, err
		}},
		{"GET " + in + "/services/a%2F..%2Fb ", 200, `{"_id": "x"}`, func(ctx context.Context, c *client.Client) (any, error) {
			s, err := c.In("c", "e").Services().Get(ctx, "a/../b") // an id never leads elsewhere
			return s.ID, err
		}},
	} {
		c := serve(t, func(w http.ResponseWriter, r *http.Request, body string) {
			if got := r.Method + " " + r.URL.RequestURI() + " " + body; got != call.want {
				t.Errorf("got  %s\nwant %s", got, call.want)
			}
			w.WriteHeader(call.status)
			_, _ = io.WriteString(w, call.answer)
		})
		if got, err := call.do(t.Context(), c); got != "x" || err != nil {
			t.Errorf("%s: %v, %v", call.want, got, err)
		}
	}
}

func TestRefusalIsTyped(t *testing.T) {
	c := serve(t, func(w http.ResponseWriter, _ *http.Request, _ string) {
		w.WriteHeader(http.StatusBadRequest)
		_ = json.NewEncoder(w).Encode(map[string]string{"errorMessage": "details.vault_name: want letters", "error": "invalid", "field": "details.vault_name", "request_id": "R1"})
	})
	_, err := c.In("c", "e").Configurations().Create(t.Context(), client.NewConfiguration{})
	var e *client.Error
	if !errors.As(err, &e) || e.Status != 400 || e.Field != "details.vault_name" || !client.Is(err, client.Invalid) || client.Is(err, client.Conflict) {
		t.Errorf("%#v", err)
	}
	if err.Error() != "details.vault_name: want letters (request R1)" {
		t.Errorf("%q", err)
	}
}

func TestProxyErrorPageIsStillAnError(t *testing.T) {
	c := serve(t, func(w http.ResponseWriter, _ *http.Request, _ string) {
		w.WriteHeader(http.StatusNotFound)
		_, _ = io.WriteString(w, "<html>no such page</html>")
	})
	_, err := c.Consortia().Get(t.Context(), "x")
	if !client.Is(err, client.NotFound) || strings.Contains(err.Error(), "<html>") {
		t.Error(err)
	}
}

func TestOnlyReadingIsTriedAgain(t *testing.T) {
	var asked atomic.Int64
	c := serve(t, func(w http.ResponseWriter, _ *http.Request, _ string) {
		if asked.Add(1) < 3 {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		_, _ = io.WriteString(w, `{"_id": "x"}`)
	})
	if got, err := c.Consortia().Get(t.Context(), "x"); err != nil || got.ID != "x" || asked.Load() != 3 {
		t.Errorf("%v, %v after %d", got, err, asked.Load())
	}
	for name, do := range map[string]func() error{
		"create": func() error { _, err := c.Consortia().Create(t.Context(), client.NewConsortium{}); return err },
		"update": func() error { _, err := c.Consortia().Update(t.Context(), "x", struct{}{}); return err },
		"delete": func() error { _, err := c.Consortia().Delete(t.Context(), "x"); return err },
		"reset":  func() error { _, err := c.In("c", "e").ResetNode(t.Context(), "x"); return err },
	} {
		asked.Store(-10)
		if err := do(); err == nil || asked.Load() != -9 {
			t.Errorf("%s: %v after %d requests", name, err, asked.Load()+10)
		}
	}
}

func TestDroppedConnectionIsTriedAgainForReadingOnly(t *testing.T) {
	var asked atomic.Int64
	c := serve(t, func(_ http.ResponseWriter, _ *http.Request, _ string) {
		asked.Add(1)
		panic(http.ErrAbortHandler)
	})
	if _, err := c.WhoAmI(t.Context()); err == nil || asked.Load() < 2 {
		t.Errorf("%v after %d requests", err, asked.Load())
	}
	asked.Store(0)
	if _, err := c.Consortia().Create(t.Context(), client.NewConsortium{Name: "x"}); err == nil || asked.Load() != 1 {
		t.Errorf("%v after %d requests", err, asked.Load())
	}
}

func TestContextEndsTheWait(t *testing.T) {
	c := serve(t, func(w http.ResponseWriter, _ *http.Request, _ string) {
		w.Header().Set("Retry-After", "3600")
		w.WriteHeader(http.StatusTooManyRequests)
	})
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Second) // the answer comes in this time
	defer cancel()
	began := time.Now()
	_, err := c.WhoAmI(ctx)
	var e *client.Error
	if !errors.As(err, &e) || e.Status != 429 || e.RetryAfter != time.Hour || time.Since(began) > time.Minute {
		t.Errorf("%v after %v", err, time.Since(began))
	}
}

func TestRedirectIsNotFollowed(t *testing.T) {
	canary := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		t.Errorf("the key went elsewhere: %s", r.Header.Get("Authorization"))
	}))
	defer canary.Close()
	c := serve(t, func(w http.ResponseWriter, r *http.Request, _ string) {
		http.Redirect(w, r, canary.URL, http.StatusFound)
	})
	if _, err := c.WhoAmI(t.Context()); err == nil {
		t.Error("no error")
	}
}

func TestServerIsRefusedWhereTheKeyWouldBeReadOnTheWay(t *testing.T) {
	for address, ok := range map[string]bool{
		"https://signer.example.org": true, "https://signer.example.org:8080/api/v1/": true, "http://127.0.0.1:8080": true, "http://[::1]:8080": true, "http://localhost:8080": true,
		"http://signer.example.org": false, "http://10.0.0.1:8080": false, "signer.example.org": false, "ftp://127.0.0.1": false, "https://u:p@h": false, "https://h?x=1": false, "": false,
	} {
		_, err := client.New(client.Config{URL: address, Key: client.KeyEnv("X")})
		if (err == nil) != ok {
			t.Errorf("%s: %v", address, err)
		}
		if err != nil && strings.Contains(err.Error(), "u:p") {
			t.Errorf("shows the password: %v", err)
		}
	}
}

func TestKeyIsNeverPrinted(t *testing.T) {
	path := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(path, []byte(key+"\nrest\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	config := client.Config{URL: "http://127.0.0.1:1", Key: client.KeyFile(path)}
	c, err := client.New(config)
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.WhoAmI(t.Context())
	for _, text := range []string{fmt.Sprintf("%+v %#v", config, c), fmt.Sprint(err)} {
		if strings.Contains(text, "0123456789") {
			t.Errorf("shows the key: %s", text)
		}
	}
}
