// SPDX-License-Identifier: Apache-2.0

package gateway_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
)

// hook is a receiver of webhooks that keeps what it was sent.
type hook struct {
	r      *rig
	url    string
	mu     sync.Mutex
	all    []map[string]any // of the batches that were taken, in their order
	refuse func() bool      // whether to answer 503; nil: never
	tried  int              // batches that came
}

func receive(r *rig) *hook {
	r.Helper()
	h := &hook{r: r}
	server := httptest.NewServer(h)
	r.Cleanup(server.Close)
	h.url = server.URL + "/events"
	return h
}

func (h *hook) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	text, err := io.ReadAll(io.LimitReader(req.Body, 16<<20))
	var batch []map[string]any
	if err == nil {
		err = json.Unmarshal(text, &batch)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.tried++
	switch {
	case err != nil || len(batch) == 0 || req.Header.Get("X-Shop") != "only for tests":
		h.r.Errorf("the webhook got %q with %v: %v", text, req.Header, err)
		w.WriteHeader(http.StatusBadRequest)
	case h.refuse != nil && h.refuse():
		w.WriteHeader(http.StatusServiceUnavailable)
	default:
		h.all = append(h.all, batch...)
	}
}

// got is what has come so far.
func (h *hook) got() []map[string]any {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.all)
}

// events waits until at least so many have come, and returns what there is.
func (h *hook) events(want int) []map[string]any {
	h.r.Helper()
	h.r.eventually(patience, fmt.Sprintf("%d events have come", want), func() bool { return len(h.got()) >= want })
	return h.got()
}

// stream makes an event stream to a webhook and returns its id.
func (w *wallet) stream(h *hook) string {
	w.Helper()
	a := w.ask("POST", "/eventstreams", map[string]any{
		"name": "to the shop", "type": "webhook", "batchSize": 10, "batchTimeoutMS": 100, "blockedRetryDelaySec": 1,
		"webhook": map[string]any{"url": h.url, "headers": map[string]any{"X-Shop": "only for tests"}},
	})
	id, ok := a.at("id").(string)
	if a.code/100 != 2 || !ok {
		w.Fatalf("event stream: %d %s", a.code, a.text)
	}
	return id
}
