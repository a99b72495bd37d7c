// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	coltracepb "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"google.golang.org/protobuf/proto"
)

// spanNames is a collector that keeps the names of each trace's spans.
type spanNames struct {
	mu     sync.Mutex
	traces map[string]map[string]bool
	bodies bytes.Buffer
}

func (c *spanNames) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	var got coltracepb.ExportTraceServiceRequest
	if r.URL.Path != "/v1/traces" || r.Header.Get("X-Key") != "collector key" || proto.Unmarshal(body, &got) != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.bodies.Write(body)
	for _, rs := range got.ResourceSpans {
		for _, ss := range rs.ScopeSpans {
			for _, s := range ss.Spans {
				id := hex.EncodeToString(s.TraceId)
				if c.traces[id] == nil {
					c.traces[id] = map[string]bool{}
				}
				c.traces[id][s.Name] = true
			}
		}
	}
}

func (c *spanNames) of(trace string) []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Sorted(maps.Keys(c.traces[trace]))
}

func (d *daemon) pay(header http.Header) string {
	d.t.Helper()
	body := fmt.Sprintf(`{"jsonrpc":"2.0","id":1,"method":"eth_sendTransaction","params":[{"from":%q,"to":"0x00000000000000000000000000000000000000aa","value":"0x1"}]}`, d.account)
	r, err := http.NewRequestWithContext(d.t.Context(), http.MethodPost, "http://"+d.rpc, strings.NewReader(body))
	if err != nil {
		d.t.Fatal(err)
	}
	r.Header = header
	r.Header.Set("Content-Type", "application/json")
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		d.t.Fatal(err)
	}
	defer answer.Body.Close()
	text, _ := io.ReadAll(answer.Body)
	if !strings.Contains(string(text), `"result":"0x`) {
		d.t.Fatalf("%d %s", answer.StatusCode, text)
	}
	return string(text)
}

func TestTraceOfATransactionReachesTheCollector(t *testing.T) {
	c := &spanNames{traces: map[string]map[string]bool{}}
	server := httptest.NewServer(c)
	t.Cleanup(server.Close)
	d := startDaemon(t, func(string) string {
		return fmt.Sprintf("  auth: none\ntracing: {endpoint: %q, sample: 0, headers: {X-Key: {file: ./collector}}}", server.URL)
	}, func(d *daemon) { d.write("collector", "collector key\n") })
	const trace = "0af7651916cd43dd8448eb211c80319c"
	d.pay(http.Header{"Traceparent": {"00-" + trace + "-b7ad6b7169203331-01"}})
	d.pay(http.Header{}) // of which nothing is kept
	want := []string{"accept", "build", "commit", "eth_sendTransaction", "mine", "policy", "send", "sign", "store"}
	var got []string
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		got = slices.DeleteFunc(c.of(trace), func(name string) bool { return !slices.Contains(want, name) })
		if len(got) == len(want) {
			break
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("spans %v, want %v", got, want)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.traces) != 1 {
		t.Errorf("%d traces", len(c.traces))
	}
	for _, secret := range []string{d.account, d.account[2:], "000000aa", d.chain.URL(), "password"} {
		if bytes.Contains(bytes.ToLower(c.bodies.Bytes()), []byte(strings.ToLower(secret))) {
			t.Errorf("the collector got %s", secret)
		}
	}
}

func TestTransactionsGoOnWithTheCollectorAway(t *testing.T) {
	d := startDaemon(t, func(string) string {
		return fmt.Sprintf("  auth: none\ntracing: {endpoint: \"http://%s\"}", freePort(t))
	})
	for range 10 {
		d.pay(http.Header{})
	}
}
