// SPDX-License-Identifier: Apache-2.0

package config

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

func TestTenantsNodeIsHeldToTheRules(t *testing.T) {
	c, dir := tenantConfig(t)
	const itself = "is an address of the machine that the signer runs on, and the operator's egress.allow does not have it"
	const metadata = "leads to a service that gives out the machine's own credentials, which no tenant may reach"
	const number = "has a host that some take for an IP address: write an address as 203.0.113.7 or [2001:db8::1]"
	const want = "want http:// or https://host:port/…"
	base := pairs("url", "https://node.example.org/v3/hunter2", "chain_id", 1)
	many := map[string]any{}
	for i := range 17 {
		many[fmt.Sprint("X-", i)] = "v"
	}
	for in, lines := range map[string]string{
		"file:///etc/hunter2":                         "url: has another scheme: " + want,
		"hunter2:x":                                   "url: is not a URL: " + want,
		"hunter2://x":                                 "url: has another scheme: " + want,
		"ws://node.example.org/hunter2":               "url: has another scheme: " + want,
		"node.example.org/hunter2":                    "url: is not a URL: " + want,
		"http:///hunter2":                             "url: has no host: " + want,
		"http://:8545/hunter2":                        "url: has no host: " + want,
		"http://node.example.org/#hunter2":            "url: has a #fragment, which is never sent: leave it out",
		"http://a:hunter2@node.example.org@10.8.0.1/": "url: has more than one @ before the path, so that readers differ about its host: write it as %40 in a password",
		"http://node.example.org\\@10.8.0.1/hunter2":  "url: is not a URL: " + want,
		"http://node.example.org\t/hunter2":           "url: is not a URL: " + want,
		"http://node .example.org/hunter2":            "url: is not a URL: " + want,
		"http://nöde.example.org/hunter2":             "url: has a host that is no name: want letters, digits, . and - (an international name in its xn-- form)",
		"http://node%2eexample.org/hunter2":           "url: is not a URL: " + want,
		"http://[fe80::1%25eth0]/hunter2":             "url: has a host with a % in it: want a plain name or address",
		"http://node.example.org:0/hunter2":           "url: has a port that is no number from 1 to 65535",
		"http://node.example.org:99999/hunter2":       "url: has a port that is no number from 1 to 65535",
		"http://node.example.org:/hunter2":            "url: has a port that is no number from 1 to 65535",
		"http://169.254.169.254/hunter2":              "url: " + metadata,
		"http://metadata.google.internal/hunter2":     "url: " + metadata,
		"http://user:hunter2@127.0.0.1:8545":          "url: " + itself,
		"http://localhost:8545/hunter2":               "url: " + itself,
		"http://[::ffff:127.0.0.1]/hunter2":           "url: " + itself,
		"http://0x7f000001/hunter2":                   "url: " + number,
		"http://2130706433/hunter2":                   "url: " + number,
		"http://192.168.1.1/hunter2":                  "url: is not a public address, and the operator's egress.allow does not have it",
		"http://x/" + strings.Repeat("hunter2", 300):  "url: has more than 2048 characters",
	} {
		_, err := c.ParseTenantNode(encoded(t, with(base, "url", in)))
		if err == nil || err.Error() != "node: "+lines {
			t.Errorf("%.60s:\ngot  %v\nwant node: %s", in, err, lines)
		}
	}
	for name, x := range map[string]struct {
		node map[string]any
		want string
	}{
		"no chain":         {with(base, "chain_id", nil), "chain_id: is missing"},
		"file":             {with(base, "url", pairs("file", dir+"/pw")), "url: want text: a file may be named in the operator's config file only"},
		"file in a list":   {with(base, "url", nil, "urls", []any{pairs("file", dir+"/pw")}), "urls[0]: want text: a file may be named in the operator's config file only"},
		"socket":           {with(base, "ws_url", "wss://127.0.0.1/hunter2"), "ws_url: " + itself},
		"user of a socket": {with(base, "ws_url", "wss://a:hunter2@node.example.org"), "ws_url: carries a user or password: want them in url, and they are used here too"},
		"second of two":    {with(base, "url", nil, "urls", []any{"https://a.example", "https://169.254.169.254"}), "urls[1]: " + metadata},
		"too many":         {with(base, "url", nil, "urls", []any{"https://a.example", "https://b.example", "https://c.example", "https://d.example", "https://e.example"}), "urls: want at most 4 nodes"},
		"unknown of urls":  {with(base, "url", nil, "urls", pairs("rpc", "https://a.example", "x", "y")), "urls: want rpc and, if it is another, wss"},
		"headers":          {with(base, "headers", many), "headers: has 17 headers: want at most 16"},
		"long header":      {with(base, "headers", pairs("X-Key", strings.Repeat("hunter2", 600))), "headers.X-Key: has more than 4096 characters"},
		"broken header":    {with(base, "headers", pairs("X-Key", "hunter2\r\nHost: evil")), "headers.X-Key: holds characters that an HTTP header cannot have"},
		"header of a hop":  {with(base, "headers", pairs("Proxy-Authorization", "Basic hunter2")), "headers.Proxy-Authorization: is for what stands between the signer and the node: leave it out"},
		"our header":       {with(base, "headers", pairs("host", "hunter2")), "headers.host: is set by the signer itself: leave it out"},
		"header's file":    {with(base, "headers", pairs("X-Key", pairs("file", "/etc/passwd"))), "headers.X-Key: want text: a file may be named in the operator's config file only"},
		"patience":         {with(base, "timeout", "2m"), "timeout: want at most 1m"},
		"memory":           {with(base, "max_response", "64MiB"), "max_response: want at most 32MiB"},
		"haste":            {with(base, "poll", "50ms"), "poll: want at least 200ms"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := c.ParseTenantNode(encoded(t, x.node))
			if err == nil || err.Error() != "node: "+x.want {
				t.Errorf("got  %v\nwant node: %s", err, x.want)
			}
			if err != nil && strings.Contains(err.Error(), "hunter2") {
				t.Error("shows a secret")
			}
		})
	}
}

func TestTenantsNodeIsRead(t *testing.T) {
	c, _ := tenantConfig(t)
	n, err := c.ParseTenantNode(encoded(t, pairs(
		"name", "node1", "membership_id", granted, "provider", "geth", "chain_id", 1337, "timeout", "5s",
		"urls", pairs("rpc", "https://user:pa%40ss@node.example.org/v3/key", "wss", "wss://node.example.org/ws/key"),
		"headers", pairs("Authorization", "Bearer x"),
	)))
	if err != nil || n.ChainID != 1337 || n.Timeout != 5*time.Second || n.MaxResponse != 32<<20 {
		t.Fatalf("got %+v, %v", n, err)
	}
	reveal(t, n.URL, "https://user:pa%40ss@node.example.org/v3/key")
	reveal(t, n.WSURL, "wss://node.example.org/ws/key")
	reveal(t, n.Headers["Authorization"], "Bearer x")
	for _, in := range []map[string]any{
		pairs("url", "http://10.7.1.1:8545", "chain_id", 1),
		pairs("url", "http://[2606:4700::1111]:8545", "chain_id", 1),
		pairs("urls", []any{"https://a.example", pairs("url", "https://b.example", "ws_url", "wss://b.example/ws")}, "chain_id", 1, "max_lag", 3),
	} {
		if _, err := c.ParseTenantNode(encoded(t, in)); err != nil {
			t.Errorf("%v: %v", in, err)
		}
	}
}

func FuzzParseTenantNode(f *testing.F) {
	f.Add(`{"url": "http://a:b@169.254.169.254/", "chain_id": 1}`)
	f.Add(`{"urls": {"rpc": "http://0x7f.1"}, "chain_id": 1}`)
	f.Fuzz(func(t *testing.T, text string) {
		n, err := (&Config{}).ParseTenantNode([]byte(text))
		if err != nil {
			return
		}
		for _, s := range []Secret{n.URL, n.WSURL} {
			plain, err := s.Reveal()
			if err != nil || s.File() != "" || strings.Contains(plain, "@169.254.") || strings.Contains(plain, "//127.") {
				t.Fatalf("got %q, %v", plain, err)
			}
		}
	})
}
