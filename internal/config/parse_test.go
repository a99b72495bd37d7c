// SPDX-License-Identifier: Apache-2.0

package config

import (
	"math/big"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/txtar"
)

const minimal = `
wallets:
  - name: treasury
    node: {url: http://127.0.0.1:8546, chain_id: 1337}
    details: {provider: keystore, path: ./keys}
`

func TestEveryMistakeIsReportedWithItsLine(t *testing.T) {
	archive, err := txtar.ParseFile("testdata/invalid.txtar")
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	if len(archive.Files) < 60 {
		t.Fatalf("%d cases, want at least 60", len(archive.Files))
	}
	for _, file := range archive.Files {
		t.Run(file.Name, func(t *testing.T) {
			body, want, _ := strings.Cut(string(file.Data), "# want:\n")
			want = strings.TrimSpace(strings.ReplaceAll("\n"+want, "\n# ", "\n"))
			c, _, err := Parse("config.yaml", []byte(body))
			if err == nil {
				t.Fatalf("no error; want:\n%s", want)
			}
			if c != nil {
				t.Error("a config came with the error")
			}
			if got := strings.ReplaceAll(err.Error(), dir, "@DIR@"); got != want {
				t.Errorf("got:\n%s\nwant:\n%s", got, want)
			}
			for _, canary := range []string{"hunter2", "k3y"} {
				if strings.Contains(err.Error(), canary) {
					t.Errorf("shows the secret %q", canary)
				}
			}
		})
	}
}

func TestMinimalConfigHasTheDocumentedDefaults(t *testing.T) {
	dir := t.TempDir()
	c, _, err := Parse(filepath.Join(dir, "config.yaml"), []byte(minimal))
	if err != nil {
		t.Fatal(err)
	}
	want := &Config{
		Path: filepath.Join(dir, "config.yaml"),
		Data: filepath.Join(dir, "data"),
		Log:  Log{Level: "info", Format: "text"},
		RPC: RPC{
			Listen: "127.0.0.1:8545", Auth: AuthNone, Timeout: 30 * time.Second,
			Limits: Limits{Body: 1 << 20, Batch: 100, Requests: 1024, Connections: 1000, Subscriptions: 100},
		},
		Admin:    Admin{Listen: "127.0.0.1:8080"},
		Webhooks: Webhooks{GiveUp: 72 * time.Hour},
		Wallets: []Wallet{{
			Name: "treasury",
			Node: Node{
				URL: NewSecret("http://127.0.0.1:8546"), ChainID: 1337,
				Timeout: 10 * time.Second, MaxResponse: 32 << 20, Poll: time.Second,
			},
			Details: Details{Provider: ProviderKeystore, QuotaShare: DefaultQuotaShare, Keystore: &Keystore{Path: filepath.Join(dir, "keys")}},
			Window:  64, Confirmations: 12, SignTransaction: SignObject, RawOwn: RawAdopt,
			TxFeeCap: big.NewInt(1e18), Expires: 10 * time.Minute, Concurrency: 8,
			Refresh: time.Minute, BumpAfter: 5 * time.Minute, FeeCeiling: 3,
		}},
		Retention:  Retention{Transactions: 90 * 24 * time.Hour, IdempotencyKeys: 90 * 24 * time.Hour},
		Management: defaultManagement(),
		Audit:      DefaultAudit(),
		Approvals:  DefaultApprovals(),
	}
	if !reflect.DeepEqual(c, want) {
		t.Errorf("got  %+v\nwant %+v", c, want)
	}
}

func TestEveryKeyIsRead(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "pw", "correct horse battery staple\n", 0o600)
	write(t, dir, "node", "https://u:p@node.example.org/v3/apikey\n", 0o600)
	write(t, dir, "db", "postgres://signer:correct-horse@db.example.org/signer\n", 0o600)
	if err := os.Mkdir(filepath.Join(dir, "keys"), 0o700); err != nil {
		t.Fatal(err)
	}
	path := write(t, dir, "config.yaml", `
data: /var/lib/hsmsigner
default_wallet: ops
log: {level: debug, format: json}
rpc:
  listen: "[::1]:18545"
  auth: basic
  credentials:
    - {username: app, password: {file: pw}}
  hosts: [signer.example.org]
  origins: [https://app.example.org]
  methods: [eth_getProof, trace_block]
  limits: {body: 2MiB, batch: 7, requests: 8, connections: 9, subscriptions: 1}
  timeout: 1m30s
admin: {listen: 0.0.0.0:18080, tls: upstream, hosts: [signer.example.org]}
wallets:
  - name: ops
    node:
      url: {file: node}
      ws_url: wss://node.example.org/ws
      chain_id: 0x1
      instance: blue
      timeout: 3s
      headers: {Authorization: {file: pw}}
      max_response: 64MiB
      poll: 4s
    details:
      provider: keystore
      path: keys
      user_secret: {file: pw}
      include: ["ops-*"]
      exclude: ["0xdead*"]
      rate_limit: 2.5
      quota_share: 0.5
    window: 8
    confirmations: 0
    sign_transaction: hex
    raw_own: refuse
    max_fee_per_gas: 12.5 gwei
    tx_fee_cap: 0
    expires: 1h
    concurrency: 3
    refresh: 30s
    bump_after: 0
    fee_ceiling: 5
    webhooks:
      - {name: shop, url: https://shop.example.org/k3y, secret: {file: pw}}
      - name: till
        url: http://10.1.2.3:8080
        secret: {file: pw}
        old_secret: {file: node}
        events: [confirmed, failed]
        timeout: 500ms
webhooks: {allow: [10.1.0.0/16, "::1"], deny: [10.1.7.0/24], give_up: 1h}
database: {url: {file: db}, connections: 20, timeout: 4s, pooler: transaction}
replica: {listen: 0.0.0.0:8081, url: "http://signer-1.example.org:8081", lease: 2s, drain: 1s}
retention: {transactions: 24h, idempotency_keys: never, audit: 48h}
tracing: {endpoint: "http://127.0.0.1:4318", sample: 0.1, headers: {X-Key: {file: pw}}}
`, 0o600)
	c, warnings, err := Load(path)
	if err != nil {
		t.Fatal(err)
	}
	if len(warnings) != 0 {
		t.Errorf("warnings: %v", warnings)
	}
	pw := SecretFile(filepath.Join(dir, "pw"))
	want := &Config{
		Path: path, Data: "/var/lib/hsmsigner", DefaultWallet: "ops",
		Log: Log{Level: "debug", Format: "json"},
		RPC: RPC{
			Listen: "[::1]:18545", Auth: AuthBasic, Credentials: []Credential{{"app", pw}},
			Hosts: []string{"signer.example.org"}, Origins: []string{"https://app.example.org"},
			Methods: []string{"eth_getProof", "trace_block"},
			Limits:  Limits{Body: 2 << 20, Batch: 7, Requests: 8, Connections: 9, Subscriptions: 1},
			Timeout: 90 * time.Second,
		},
		Admin: Admin{Listen: "0.0.0.0:18080", TLS: TLS{Upstream: true}, Hosts: []string{"signer.example.org"}},
		Wallets: []Wallet{{
			Name: "ops",
			Node: Node{
				URL: SecretFile(filepath.Join(dir, "node")), WSURL: NewSecret("wss://node.example.org/ws"),
				ChainID: 1, Instance: "blue", Timeout: 3 * time.Second,
				Headers:     map[string]Secret{"Authorization": pw},
				MaxResponse: 64 << 20, Poll: 4 * time.Second,
			},
			Details: Details{
				Provider: ProviderKeystore, Keystore: &Keystore{Path: filepath.Join(dir, "keys"), Password: pw},
				Include: []string{"ops-*"}, Exclude: []string{"0xdead*"}, RateLimit: 2.5, QuotaShare: 0.5,
			},
			Window: 8, SignTransaction: SignHex, RawOwn: RawRefuse,
			MaxFeePerGas: big.NewInt(12_500_000_000), Expires: time.Hour,
			Concurrency: 3, Refresh: 30 * time.Second, BumpAfter: 0, FeeCeiling: 5,
			Webhooks: []Webhook{
				{Name: "shop", URL: NewSecret("https://shop.example.org/k3y"), Secret: pw, Timeout: 10 * time.Second},
				{
					Name: "till", URL: NewSecret("http://10.1.2.3:8080"), Secret: pw, OldSecret: SecretFile(filepath.Join(dir, "node")),
					Events: []string{"confirmed", "failed"}, Timeout: 500 * time.Millisecond,
				},
			},
		}},
		Webhooks: Webhooks{
			Allow: []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16"), netip.MustParsePrefix("::1/128")},
			Deny:  []netip.Prefix{netip.MustParsePrefix("10.1.7.0/24")}, GiveUp: time.Hour,
		},
		Database:   Database{URL: SecretFile(filepath.Join(dir, "db")), Connections: 20, Timeout: 4 * time.Second, Pooler: PoolerTransaction},
		Replica:    Replica{Listen: "0.0.0.0:8081", URL: "http://signer-1.example.org:8081", Lease: 2 * time.Second, Drain: time.Second},
		Retention:  Retention{Transactions: 24 * time.Hour, Audit: 48 * time.Hour},
		Management: defaultManagement(),
		Audit:      DefaultAudit(),
		Approvals:  DefaultApprovals(),
		Tracing:    Tracing{Endpoint: "http://127.0.0.1:4318", Sample: 0.1, Headers: map[string]Secret{"X-Key": pw}},
	}
	if !reflect.DeepEqual(c, want) {
		t.Errorf("got  %+v\nwant %+v", c, want)
	}
}

func TestSeveralNodesAreRead(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "hosted", "https://u:p@node.example.org/v3/apikey\n", 0o600)
	if err := os.Mkdir(filepath.Join(dir, "keys"), 0o700); err != nil {
		t.Fatal(err)
	}
	file, third := SecretFile(filepath.Join(dir, "hosted")), NewSecret("http://127.0.0.1:8547")
	for text, want := range map[string]Node{
		`[http://127.0.0.1:8546, {file: hosted}, {url: "http://127.0.0.1:8547"}]`: {
			Endpoints: []NodeEndpoint{{Name: "node-1", URL: NewSecret("http://127.0.0.1:8546")}, {Name: "node-2", URL: file}, {Name: "node-3", URL: third}},
			Check:     2 * time.Second, DownAfter: 5 * time.Second, MaxLag: 5, Dwell: 30 * time.Second,
		},
		`[{name: own, url: "http://127.0.0.1:8547", ws_url: "ws://127.0.0.1:8548", headers: {X-Key: {file: hosted}}}], check: 250ms, down_after: 1m, max_lag: 40, dwell: 1h`: {
			Endpoints: []NodeEndpoint{{Name: "own", URL: third, WSURL: NewSecret("ws://127.0.0.1:8548"), Headers: map[string]Secret{"X-Key": file}}},
			Check:     250 * time.Millisecond, DownAfter: time.Minute, MaxLag: 40, Dwell: time.Hour,
		},
	} {
		body := strings.Replace(minimal, "url: http://127.0.0.1:8546", "urls: "+text, 1)
		c, warnings, err := Load(write(t, dir, "config.yaml", body, 0o600))
		if err != nil || len(warnings) != 0 {
			t.Fatal(warnings, err)
		}
		want.ChainID, want.Timeout, want.MaxResponse, want.Poll = 1337, 10*time.Second, 32<<20, time.Second
		if got := c.Wallets[0].Node; !reflect.DeepEqual(got, want) {
			t.Errorf("got  %+v\nwant %+v", got, want)
		}
	}
}

func TestWindowIsNarrowOnPublicChains(t *testing.T) {
	for id, want := range map[string]int{"1": 16, "10": 16, "137": 16, "11155111": 16, "560048": 16, "1337": 64, "9": 64} {
		c, _, err := Parse("config.yaml", []byte(strings.Replace(minimal, "1337", id, 1)))
		if err != nil {
			t.Fatal(err)
		}
		if got := c.Wallets[0].Window; got != want {
			t.Errorf("chain %s: window %d, want %d", id, got, want)
		}
	}
}

func TestUnwiseConfigsWarn(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "pw", "hunter2", 0o644)
	path := write(t, dir, "config.yaml", `
rpc: {auth: basic, credentials: [{username: a, password: {file: pw}}, {username: b, password: hunter2-hunter2-}]}
wallets:
  - name: main
    node: {url: http://127.0.0.1:8546, chain_id: 1}
    details: {provider: keystore, path: keys}
    window: 32
    webhooks: [{name: shop, url: https://shop.example.org, secret: {file: pw}}]
`, 0o644)
	_, warnings, err := Load(path)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, w := range warnings {
		got = append(got, strings.ReplaceAll(w.String(), dir+"/", ""))
	}
	want := []string{
		"config.yaml:2: rpc.credentials[0].password.file: everybody on this machine can read the secret: chmod 600 pw",
		"config.yaml:2: rpc.credentials[0].password: is shorter than 16 characters",
		"config.yaml:6: wallets[0].details.path: no such folder: keys",
		"config.yaml:8: wallets[0].webhooks[0].secret.file: everybody on this machine can read the secret: chmod 600 pw",
		"config.yaml:8: wallets[0].webhooks[0].secret: is shorter than 16 characters",
		"config.yaml:7: wallets[0].window: nodes of public chains guarantee room for 16 transactions of one sender only",
		"config.yaml: everybody on this machine can read this file, and secrets stand in it: chmod 600 config.yaml",
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestConfigWithoutSecretsMayBeWorldReadable(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "keys"), 0o700); err != nil {
		t.Fatal(err)
	}
	_, warnings, err := Load(write(t, dir, "config.yaml", minimal, 0o644))
	if err != nil || len(warnings) != 0 {
		t.Errorf("warnings %v, error %v", warnings, err)
	}
}

func TestMissingAndOversizedFilesAreRefused(t *testing.T) {
	dir := t.TempDir()
	for _, path := range []string{
		filepath.Join(dir, "none.yaml"),
		write(t, dir, "big.yaml", strings.Repeat("#", maxFile+1), 0o600),
	} {
		if _, _, err := Load(path); err == nil || !strings.Contains(err.Error(), filepath.Base(path)) {
			t.Errorf("%s: %v", path, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(minimal)
	archive, err := txtar.ParseFile("testdata/invalid.txtar")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range archive.Files {
		f.Add(string(file.Data))
	}
	f.Add("a: &a [*a]\nwallets: &w\n - *w\n")
	f.Fuzz(func(t *testing.T, text string) {
		c, _, err := Parse("config.yaml", []byte(text))
		if (c == nil) == (err == nil) {
			t.Fatalf("config %v, error %v", c, err)
		}
	})
}

func write(t *testing.T, dir, name, content string, mode os.FileMode) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(content), mode); err != nil {
		t.Fatal(err)
	}
	return path
}
