// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hsmsigner/hsmsigner/internal/config"
	"github.com/hsmsigner/hsmsigner/internal/freeport"
	"github.com/hsmsigner/hsmsigner/internal/key/keystore"
	"github.com/hsmsigner/hsmsigner/internal/node/nodetest"
)

// daemon is serve in this process, on free ports.
type daemon struct {
	t       *testing.T
	dir     string
	rpc     string
	admin   string
	account string
	chain   *nodetest.Chain
	log     *bytes.Buffer
}

func freePort(t *testing.T) string {
	t.Helper()
	address, err := freeport.Address(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return address
}

// startDaemon runs serve with one keystore wallet. rpcExtra is YAML inside of
// the rpc section; before is done before the start.
func startDaemon(t *testing.T, rpcExtra func(dir string) string, before ...func(*daemon)) *daemon {
	t.Helper()
	d := &daemon{t: t, dir: t.TempDir(), rpc: freePort(t), admin: freePort(t), log: &bytes.Buffer{}}
	d.chain = nodetest.New(t, nodetest.Options{Interval: 50 * time.Millisecond, DefaultBalance: nodetest.Ether(10)})
	keys := filepath.Join(d.dir, "keys")
	_, account, err := keystore.Create(keys, []byte("password"), keystore.LightScrypt)
	if err != nil {
		t.Fatal(err)
	}
	d.account = account.Hex()
	d.write("password", "password\n")
	for _, do := range before {
		do(d)
	}
	d.write("config.yaml", fmt.Sprintf(`data: ./data
rpc:
  listen: %s
%s
admin: {listen: %s}
default_wallet: treasury
wallets:
  - name: treasury
    node: {url: %q, chain_id: 1337, poll: 50ms}
    details: {provider: keystore, path: ./keys, user_secret: {file: ./password}}
`, d.rpc, rpcExtra(d.dir), d.admin, d.chain.URL()))
	c, _, err := config.Load(filepath.Join(d.dir, "config.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- serve(ctx, c, slog.New(slog.NewTextHandler(d.log, nil))) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("serve ended with %v", err)
		}
		if strings.Contains(d.log.String(), "open sesame") {
			t.Error("a password stands in the log")
		}
	})
	for end := time.Now().Add(2 * time.Minute); ; {
		r, err := http.Get("http://" + d.admin + "/readyz")
		if err == nil {
			_ = r.Body.Close()
			if r.StatusCode == http.StatusOK {
				return d
			}
		}
		if time.Now().After(end) {
			t.Fatalf("not ready: %v\n%s", err, d.log)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func (d *daemon) write(name, text string) {
	d.t.Helper()
	if err := os.WriteFile(filepath.Join(d.dir, name), []byte(text), 0o600); err != nil {
		d.t.Fatal(err)
	}
}

// call posts one request and returns status and body.
func (d *daemon) call(client *http.Client, url, method, params string) (int, string) {
	d.t.Helper()
	body := fmt.Sprintf(`{"jsonrpc":"2.0","id":1,"method":%q,"params":%s}`, method, params)
	r, err := client.Post(url, "application/json", strings.NewReader(body))
	if err != nil {
		return 0, err.Error()
	}
	defer r.Body.Close()
	text, err := io.ReadAll(r.Body)
	if err != nil {
		d.t.Fatal(err)
	}
	return r.StatusCode, string(text)
}

func none(string) string { return "  auth: none" }

func TestTransactionThroughTheWholeDaemon(t *testing.T) {
	d := startDaemon(t, none)
	for _, path := range []string{"/", "/treasury"} {
		status, body := d.call(http.DefaultClient, "http://"+d.rpc+path, "eth_sendTransaction",
			fmt.Sprintf(`[{"from":%q,"to":"0x00000000000000000000000000000000000000aa","value":"0x1"}]`, d.account))
		if status != 200 || !strings.Contains(body, `"result":"0x`) {
			t.Fatalf("%d %s", status, body)
		}
	}
	r, err := http.Get("http://" + d.admin + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	text, _ := io.ReadAll(r.Body)
	for _, want := range []string{"hsmsigner_rpc_requests_total", "hsmsigner_signatures_total", `hsmsigner_node_head_block`} {
		if !strings.Contains(string(text), want) {
			t.Errorf("metrics lack %s", want)
		}
	}
}

func TestReadinessNamesWhatIsWrong(t *testing.T) {
	d := startDaemon(t, none)
	d.chain.SetChainID(5)
	for end := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) { // a check may not be done in time
		r, err := http.Get("http://" + d.admin + "/readyz?wallet=treasury")
		if err != nil {
			t.Fatal(err)
		}
		var s struct {
			Ready   bool
			Wallets map[string]struct{ Node, Backend, Keys string }
		}
		err = json.NewDecoder(r.Body).Decode(&s)
		r.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		if r.StatusCode == http.StatusOK || s.Ready {
			t.Fatalf("%d %+v", r.StatusCode, s)
		}
		if w := s.Wallets["treasury"]; strings.Contains(w.Node, "chain id") && w.Backend == "ok" && w.Keys == "ok" {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%d %+v", r.StatusCode, s)
		}
	}
}

func TestAdminRefusesForeignHostNames(t *testing.T) {
	d := startDaemon(t, none)
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+d.admin+"/metrics", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Host = "rebound.example"
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusForbidden {
		t.Errorf("status %d", answer.StatusCode)
	}
}

func TestBasicCredentialIsRequired(t *testing.T) {
	d := startDaemon(t, func(string) string {
		return "  auth: basic\n  credentials:\n    - {username: payroll, password: open sesame}"
	})
	for url, want := range map[string]int{
		"http://" + d.rpc:                                     401,
		"http://payroll:wrong@" + d.rpc:                       401,
		"http://other:open%20sesame@" + d.rpc:                 401,
		"http://payroll:@" + d.rpc:                            401,
		"http://payroll:open%20sesame@" + d.rpc:               200,
		"http://payroll:open%20sesame@" + d.rpc + "/treasury": 200,
	} {
		status, body := d.call(http.DefaultClient, url, "eth_accounts", "[]")
		if status != want {
			t.Errorf("%s: %d %s", url, status, body)
		}
		if want == 200 != strings.Contains(strings.ToLower(body), strings.ToLower(d.account)) {
			t.Errorf("%s: %s", url, body)
		}
	}
}

func TestSecondDaemonOnTheSameDataRefuses(t *testing.T) {
	d := startDaemon(t, none)
	c, _, err := config.Load(filepath.Join(d.dir, "config.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	err = serve(t.Context(), c, slog.New(slog.DiscardHandler))
	if err == nil || !strings.Contains(err.Error(), filepath.Join(d.dir, "data")) {
		t.Errorf("got %v", err)
	}
}

func TestAdminRefusesWebPages(t *testing.T) {
	d := startDaemon(t, none)
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+d.admin+"/readyz", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Origin", "https://elsewhere.example")
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusForbidden {
		t.Errorf("status %d", answer.StatusCode)
	}
}

func TestServerHasEveryTimeoutThatGuardsARefusedBody(t *testing.T) {
	s := newServer(http.NotFoundHandler(), 10, slog.New(slog.DiscardHandler))
	if s.ReadTimeout <= 0 || s.ReadHeaderTimeout <= 0 || s.IdleTimeout <= 0 || s.MaxHeaderBytes <= 0 {
		t.Errorf("%+v", s)
	}
}

// TestStopWhileStartingIsNoFailure: whenever the signal comes, the daemon ends
// without an error.
func TestStopWhileStartingIsNoFailure(t *testing.T) {
	for _, after := range []time.Duration{0, 1, 5, 10, 15, 20, 25, 30, 35, 40, 50, 60, 80, 100, 150} {
		dir := t.TempDir()
		path := filepath.Join(dir, "config.yaml")
		text := fmt.Sprintf(`data: ./data
rpc: {listen: %s, auth: none}
admin: {listen: %s}
default_wallet: treasury
wallets:
  - name: treasury
    node: {url: "http://127.0.0.1:1", chain_id: 1337}
    details: {provider: keystore, path: ./keys, user_secret: password}
`, freePort(t), freePort(t))
		if err := errors.Join(os.Mkdir(filepath.Join(dir, "keys"), 0o700), os.WriteFile(path, []byte(text), 0o600)); err != nil {
			t.Fatal(err)
		}
		c, _, err := config.Load(path)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		stop := time.AfterFunc(after*time.Millisecond, cancel)
		if after == 0 {
			cancel()
		}
		if err := serve(ctx, c, slog.New(slog.DiscardHandler)); err != nil {
			t.Errorf("stopped after %d ms, the daemon ends with: %v", after, err)
		}
		stop.Stop()
		cancel()
	}
}
