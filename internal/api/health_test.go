// SPDX-License-Identifier: Apache-2.0

package api_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/hsmsigner/hsmsigner/internal/api"
)

func fine(context.Context) error   { return nil }
func broken(context.Context) error { return errors.New("http://secret@node/ is down") }
func hung(ctx context.Context) error {
	<-ctx.Done()
	return ctx.Err()
}

func handler(store, firstNode api.Check) *api.Handler {
	return api.New(api.Config{
		Metrics: http.NotFoundHandler(), Store: store, Hosts: []string{"[::5]", "Admin.example"},
		Explain: func(error) string { return "not reachable" },
		Wallets: []api.Wallet{
			{Name: "first", Node: firstNode, Backend: fine, Keys: fine},
			{Name: "second", Node: fine, Backend: fine, Keys: fine},
		},
	})
}

func get(h http.Handler, path, host string) (int, string) {
	r := httptest.NewRequest(http.MethodGet, path, nil)
	r.Host = host
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Code, w.Body.String()
}

func TestReadyWhileAnyWalletCanSignAndSend(t *testing.T) {
	h := handler(fine, broken)
	code, body := get(h, "/readyz", "localhost")
	if code != 200 || !strings.Contains(body, "not reachable") || strings.Contains(body, "secret") {
		t.Errorf("%d %s", code, body)
	}
	for wallet, want := range map[string]int{"first": 503, "second": 200, "third": 404} {
		if code, body := get(h, "/readyz?wallet="+wallet, "127.0.0.1:8080"); code != want {
			t.Errorf("%s: %d %s", wallet, code, body)
		}
	}
}

func TestNotReadyWithoutStoreOrWhileStopping(t *testing.T) {
	if code, _ := get(handler(broken, fine), "/readyz", "localhost"); code != 503 {
		t.Errorf("without a store: %d", code)
	}
	h := handler(fine, fine)
	h.Stopping()
	if code, body := get(h, "/readyz", "localhost"); code != 503 || !strings.Contains(body, "stopping") {
		t.Errorf("stopping: %d %s", code, body)
	}
	if code, _ := get(h, "/livez", "localhost"); code != 200 {
		t.Errorf("stopping, yet alive: %d", code)
	}
}

func TestNotReadyWhileTheAuditLogDoesNotKeepUp(t *testing.T) {
	for _, c := range []struct {
		audit api.Check
		code  int
		says  string
	}{{nil, 200, `"store": "ok"`}, {fine, 200, `"audit": "ok"`}, {broken, 503, "audit log does not keep up"}} {
		h := api.New(api.Config{
			Metrics: http.NotFoundHandler(), Store: fine, Audit: c.audit, Explain: func(error) string { return "behind" },
			Wallets: []api.Wallet{{Name: "first", Node: fine, Backend: fine, Keys: fine}},
		})
		if code, body := get(h, "/readyz", "localhost"); code != c.code || !strings.Contains(body, c.says) || strings.Contains(body, "secret") {
			t.Errorf("%d %s", code, body)
		}
	}
}

func TestOneHungNodeDoesNotHoldUpTheAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		code, body := get(handler(fine, hung), "/readyz", "localhost")
		if code != 200 {
			t.Errorf("%d %s", code, body)
		}
		synctest.Wait()
	})
}

func TestOnlyOwnHostNamesAreServed(t *testing.T) {
	h := handler(fine, fine)
	for host, want := range map[string]int{
		"localhost": 200, "[::1]:8080": 200, "[::5]:8080": 200, "admin.example": 200,
		"rebound.example": 403, "10.0.0.1": 403, "": 403,
	} {
		if code, _ := get(h, "/livez", host); code != want {
			t.Errorf("%q: %d", host, code)
		}
	}
}
