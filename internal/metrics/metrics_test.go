// SPDX-License-Identifier: Apache-2.0

package metrics

import (
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/hsmsigner/hsmsigner/internal/key"
	"github.com/hsmsigner/hsmsigner/internal/node"
	"github.com/hsmsigner/hsmsigner/internal/rpc"
	"github.com/hsmsigner/hsmsigner/internal/txmgr"
	"github.com/hsmsigner/hsmsigner/internal/wallet"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var update = flag.Bool("update", false, "write testdata/names.txt anew")

// What the working packages want to be told, a Registry takes.
var (
	_ rpc.Metrics     = (*Registry)(nil)
	_ txmgr.Observer  = (*Registry)(nil)
	_ wallet.Observer = (*Registry)(nil)
)

// scrape returns what Prometheus would get.
func scrape(t *testing.T, r *Registry) string {
	t.Helper()
	server := httptest.NewServer(r.Handler())
	defer server.Close()
	resp, err := server.Client().Get(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("status %s, %v: %s", resp.Status, err, body)
	}
	return string(body)
}

// everything tells r of one of each thing.
func everything(r *Registry) {
	r.Request("treasury", "eth_sendTransaction", "http", 0, 30*time.Millisecond)
	r.Request("treasury", "eth_sendTransaction", "ws", -32003, time.Millisecond)
	r.Request("treasury", "unknown", "http", -32601, time.Millisecond)
	r.Refused("origin")
	r.Sockets(+1)
	r.Sockets(+1)
	r.Sockets(-1)
	r.Subscriptions(+3)
	r.Signature("treasury", "ok", 20*time.Millisecond)
	r.Signature("treasury", "throttled", 2*time.Second)
	r.BackendCall("treasury", "ok", 15*time.Millisecond)
	r.BackendUp("treasury", true)
	r.BackendUp("payroll", false)
	r.Accounts("treasury", 5, 2)
	r.ObserveStage("treasury", "mine", 12*time.Second)
	r.Event("treasury", "confirmed")
	r.SetSender("treasury", "1-a", txmgr.SenderGauges{Queued: 9, InFlight: 9, Window: 10})
	r.SetSender("treasury", "1-a", txmgr.SenderGauges{Queued: 1, InFlight: 2, Window: 16})
	r.SetSender("treasury", "1-b", txmgr.SenderGauges{Queued: 3, InFlight: 12, Window: 64, Parked: true})
	r.NodeHead("treasury", 77)
	r.NodeError("treasury")
	r.WatchNode("treasury", func() node.Stats {
		return node.Stats{Requests: 10, Failures: 1, Latency: 4 * time.Millisecond, LastSuccess: time.Unix(9, 0), LastFailure: time.Unix(8, 0)}
	})
	r.WatchEndpoints("treasury", func() []node.EndpointStatus {
		return []node.EndpointStatus{{Name: "node-1", Active: true, Healthy: true, Head: 77}, {Name: "node-2", Head: 70, Lag: 7}}
	})
	r.WatchBackend("treasury", func() wallet.Status {
		return wallet.Status{
			Breaker: wallet.BreakerHalfOpen, Latency: 30 * time.Millisecond, Waiting: 12, InFlight: 3, LastSuccess: time.Unix(1000, 0),
			Quota:     key.QuotaState{Rate: 95, Share: 190, Paused: 2 * time.Second, Throttled: 8},
			Discovery: wallet.Progress{Running: true, Keys: 700, Problems: 1, Finished: time.Unix(900, 0), Took: 5 * time.Second},
		}
	})
	r.Commit(4, 2*time.Millisecond)
	r.Webhooks().Delivered("treasury/shop", time.Second)
	r.Webhooks().Failed("treasury/shop", "timeout")
	r.Webhooks().Dropped("treasury/shop")
	r.Webhooks().Pending(map[string]int{"treasury/shop": 3})
}

func TestEverythingObservedIsShown(t *testing.T) {
	r := New(Build{Version: "v1.2.3", Revision: "abc"})
	everything(r)
	text := scrape(t, r)
	for _, want := range []string{
		`hsmsigner_rpc_requests_total{method="eth_sendTransaction",outcome="ok",transport="http",wallet="treasury"} 1`,
		`hsmsigner_rpc_requests_total{method="eth_sendTransaction",outcome="denied",transport="ws",wallet="treasury"} 1`,
		`hsmsigner_rpc_requests_total{method="other",outcome="no method",transport="http",wallet="treasury"} 1`,
		`hsmsigner_rpc_request_seconds_count{class="send",wallet="treasury"} 2`,
		`hsmsigner_rpc_request_seconds_bucket{class="send",wallet="treasury",le="0.05"} 2`,
		`hsmsigner_rpc_refused_total{reason="origin"} 1`,
		`hsmsigner_rpc_websockets 1`,
		`hsmsigner_rpc_subscriptions 3`,
		`hsmsigner_signatures_total{outcome="ok",wallet="treasury"} 1`,
		`hsmsigner_signatures_total{outcome="throttled",wallet="treasury"} 1`,
		`hsmsigner_signature_seconds_count{wallet="treasury"} 2`,
		`hsmsigner_backend_calls_total{outcome="ok",wallet="treasury"} 1`,
		`hsmsigner_backend_up{wallet="treasury"} 1`,
		`hsmsigner_backend_up{wallet="payroll"} 0`,
		`hsmsigner_accounts{state="usable",wallet="treasury"} 5`,
		`hsmsigner_accounts{state="unusable",wallet="treasury"} 2`,
		`hsmsigner_transaction_stage_seconds_bucket{stage="mine",wallet="treasury",le="30"} 1`,
		`hsmsigner_transaction_events_total{kind="confirmed",wallet="treasury"} 1`,
		`hsmsigner_senders{wallet="treasury"} 2`,
		`hsmsigner_senders_parked{wallet="treasury"} 1`,
		`hsmsigner_transactions_queued{wallet="treasury"} 4`,
		`hsmsigner_transactions_in_flight{wallet="treasury"} 14`,
		`hsmsigner_nonce_window_used{wallet="treasury"} 12`,
		`hsmsigner_nonce_window_limit{wallet="treasury"} 64`,
		`hsmsigner_backend_held_back{wallet="treasury"} 1`,
		`hsmsigner_backend_latency_seconds{wallet="treasury"} 0.03`,
		`hsmsigner_backend_waiting{wallet="treasury"} 12`,
		`hsmsigner_backend_calls_in_flight{wallet="treasury"} 3`,
		`hsmsigner_backend_rate{wallet="treasury"} 95`,
		`hsmsigner_backend_rate_share{wallet="treasury"} 190`,
		`hsmsigner_backend_paused_seconds{wallet="treasury"} 2`,
		`hsmsigner_backend_throttled_total{wallet="treasury"} 8`,
		`hsmsigner_backend_last_success_timestamp_seconds{wallet="treasury"} 1000`,
		`hsmsigner_discovery_running{wallet="treasury"} 1`,
		`hsmsigner_discovery_keys{wallet="treasury"} 700`,
		`hsmsigner_discovery_last_success_timestamp_seconds{wallet="treasury"} 900`,
		`hsmsigner_discovery_seconds{wallet="treasury"} 5`,
		`hsmsigner_node_head_block{wallet="treasury"} 77`,
		`hsmsigner_node_errors_total{wallet="treasury"} 1`,
		`hsmsigner_node_up{wallet="treasury"} 1`,
		`hsmsigner_node_requests_total{wallet="treasury"} 10`,
		`hsmsigner_node_failures_total{wallet="treasury"} 1`,
		`hsmsigner_node_latency_seconds{wallet="treasury"} 0.004`,
		`hsmsigner_store_commit_seconds_count 1`,
		`hsmsigner_store_commit_writes_sum 4`,
		`go_goroutines `,
	} {
		if !strings.Contains(text, "\n"+want) {
			t.Errorf("not shown: %s", want)
		}
	}
	if !regexp.MustCompile(`\nhsmsigner_build_info\{goversion="go[^"]+",revision="abc",version="v1.2.3"\} 1\n`).MatchString(text) {
		t.Error("build info is not shown")
	}
	if t.Failed() {
		t.Log(text)
	}
}

func TestNamesAreThoseWritten(t *testing.T) {
	r := New(Build{})
	everything(r)
	families, err := r.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var got strings.Builder
	for _, f := range families {
		if !strings.HasPrefix(f.GetName(), "hsmsigner_") {
			continue
		}
		var labels []string
		for _, l := range f.GetMetric()[0].GetLabel() {
			labels = append(labels, l.GetName())
		}
		fmt.Fprintf(&got, "%s{%s} %s: %s\n", f.GetName(), strings.Join(labels, ","), strings.ToLower(f.GetType().String()), f.GetHelp())
	}
	const file = "testdata/names.txt"
	if *update {
		if err := os.WriteFile(file, []byte(got.String()), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got.String() != string(want) {
		t.Errorf("the metrics are\n%s\nand %s (go test -run Names -update) says\n%s", got.String(), file, want)
	}
}

func TestCallersCannotGrowTheRegistry(t *testing.T) {
	r := New(Build{})
	for i := range 10_000 {
		r.Request(fmt.Sprint("w", i), fmt.Sprint("eth_", i), "http", i, time.Millisecond)
		r.SetSender("w", fmt.Sprint("1-", i), txmgr.SenderGauges{})
	}
	r.Request("\xff", "\xff", "http", 0, 0)
	families, err := r.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if n := len(f.GetMetric()); n > 2*maxWallets {
			t.Errorf("%s has %d series", f.GetName(), n)
		}
	}
	var methods []string
	for _, f := range families {
		if f.GetName() != "hsmsigner_rpc_requests_total" {
			continue
		}
		for _, m := range f.GetMetric() {
			for _, l := range m.GetLabel() {
				if l.GetName() == "method" && !slices.Contains(methods, l.GetValue()) {
					methods = append(methods, l.GetValue())
				}
			}
		}
	}
	if len(methods) != maxMethods+1 || !slices.Contains(methods, other) {
		t.Errorf("%d methods", len(methods))
	}
}

func TestEveryMethodHasItsClassAndEveryCodeItsOutcome(t *testing.T) {
	for method, want := range map[string]string{
		"eth_sendRawTransaction": "send", "personal_sign": "sign", "eth_signTypedData_v4": "sign", "eth_subscribe": "subscribe",
		"eth_accounts": "own", "eth_call": "read", "net_version": "read", "unknown": other, "admin_peers": other,
	} {
		if got := class(method); got != want {
			t.Errorf("class(%s) = %s, want %s", method, got, want)
		}
	}
	names := map[string]bool{}
	for _, code := range []int{0, 3, -32000, -32002, -32003, -32005, -32010, -32011, -32600, -32601, -32602, -32603} {
		names[outcome(code)] = true
	}
	if len(names) != 12 || outcome(-32700) != outcome(-32600) || outcome(12345) != "error" {
		t.Errorf("outcomes %v", names)
	}
}

func TestANodeThatIsNoLongerWatchedIsNotShown(t *testing.T) {
	r := New(Build{})
	r.WatchNode("treasury", func() node.Stats { return node.Stats{LastFailure: time.Unix(1, 0)} })
	if text := scrape(t, r); !strings.Contains(text, `hsmsigner_node_up{wallet="treasury"} 0`) {
		t.Error("a node that failed is shown as up")
	}
	r.WatchNode("treasury", nil)
	if text := scrape(t, r); strings.Contains(text, "hsmsigner_node_up{") {
		t.Error("the node is still shown")
	}
}

func TestRegistriesShareNothing(t *testing.T) {
	one, two := New(Build{}), New(Build{})
	one.Refused("host")
	if strings.Contains(scrape(t, two), "hsmsigner_rpc_refused_total{") {
		t.Error("what one registry was told, the other shows")
	}
}

func TestObservingAndScrapingGoTogether(t *testing.T) {
	r := New(Build{})
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 50 {
				everything(r)
			}
		})
		all.Go(func() { scrape(t, r) })
	}
	all.Wait()
	if text := scrape(t, r); !strings.Contains(text, `hsmsigner_transaction_events_total{kind="confirmed",wallet="treasury"} 400`) {
		t.Error("observations were lost")
	}
}
