// SPDX-License-Identifier: Apache-2.0

package config

import (
	"errors"
	"fmt"
	"math"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"
)

const instanceWant = "1 to 32 of a-z, 0-9 and -, not - first"

var (
	instancePattern = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,31}$`)
	headerName      = regexp.MustCompile("^[!#$%&'*+.^_`|~0-9A-Za-z-]+$") // RFC 9110 §5.6.2: token
	headerValue     = regexp.MustCompile(`^[\t\x20-\x7e\x80-\xff]*$`)
)

// maxChainID is the bound of EIP-2294: above it the v of EIP-155 overflows
// 64 bits in some clients.
const maxChainID = math.MaxUint64/2 - 36

// maxNodes bounds how many nodes one wallet may have.
const maxNodes = 16

func readNode(v value) (Node, error) {
	n := Node{Timeout: 10 * time.Second, MaxResponse: 32 << 20, Poll: time.Second}
	o := v.object()
	if urls, ok := o.given("urls"); ok {
		readNodes(o, urls, &n)
	} else {
		readSingleNode(o, &n)
	}
	need(o, "chain_id", &n.ChainID, integer[uint64](1, maxChainID))
	field(o, "instance", &n.Instance, matching(instancePattern, instanceWant))
	field(o, "timeout", &n.Timeout, duration(100*time.Millisecond, 5*time.Minute))
	field(o, "max_response", &n.MaxResponse, size(64<<10, 1<<30))
	field(o, "poll", &n.Poll, duration(50*time.Millisecond, 5*time.Minute))
	o.done()
	return n, nil
}

// readSingleNode reads url and what goes with it.
func readSingleNode(o *object, n *Node) {
	need(o, "url", &n.URL, nodeURL("http", "https"))
	field(o, "ws_url", &n.WSURL, nodeURL("ws", "wss"))
	field(o, "headers", &n.Headers, readHeaders)
	for _, key := range []string{"check", "down_after", "dwell", "max_lag"} {
		if item, ok := o.given(key); ok {
			item.fail("is for several nodes, and url is one: leave it out, or want urls in place of url")
		}
	}
}

// readNodes reads urls and what goes with it.
func readNodes(o *object, urls value, n *Node) {
	n.Check, n.DownAfter, n.Dwell, n.MaxLag = 2*time.Second, 5*time.Second, 30*time.Second, 5
	field(o, "urls", &n.Endpoints, list(readEndpoint))
	field(o, "check", &n.Check, duration(100*time.Millisecond, 5*time.Minute))
	field(o, "down_after", &n.DownAfter, duration(time.Second, time.Hour))
	field(o, "dwell", &n.Dwell, duration(time.Second, 24*time.Hour))
	field(o, "max_lag", &n.MaxLag, integer[uint64](1, 1_000_000))
	if single, ok := o.given("url"); ok {
		single.fail("is given beside urls: want one of them")
	}
	for _, key := range []string{"ws_url", "headers"} {
		if item, ok := o.given(key); ok {
			item.fail("belongs to one node: want it in an item of urls, beside its url")
		}
	}
	if urls.node.Kind != yamlList {
		return
	}
	switch count := len(urls.node.Content); {
	case count == 0:
		urls.fail("is empty: want at least one node")
	case count > maxNodes:
		urls.fail("has %d nodes: want at most %d", count, maxNodes)
	case count == len(n.Endpoints): // else a mistake was reported already
		n.nameEndpoints(urls)
	}
}

// nameEndpoints gives a name to those that have none, and reports what occurs
// twice.
func (n *Node) nameEndpoints(urls value) {
	names, addresses := make(map[string]bool), make(map[string]string)
	for i := range n.Endpoints {
		e := &n.Endpoints[i]
		if e.Name == "" {
			e.Name = fmt.Sprintf("node-%d", i+1)
		}
		if names[e.Name] {
			urls.item(i).fail("another node is called %q too", e.Name)
		}
		names[e.Name] = true
		plain, err := e.URL.Reveal()
		if err != nil || plain == "" {
			continue
		}
		if twin := addresses[plain]; twin != "" {
			urls.item(i).fail("has the url of %s", twin)
			continue
		}
		addresses[plain] = e.Name
	}
}

// readEndpoint reads an item of urls: a URL alone, or a mapping.
func readEndpoint(v value) (NodeEndpoint, error) {
	var e NodeEndpoint
	address := nodeURL("http", "https")
	if v.node.Kind != yamlMapping || len(v.node.Content) == 2 && v.node.Content[0].Value == "file" {
		var err error
		e.URL, err = address(v)
		return e, err
	}
	o := v.object()
	field(o, "name", &e.Name, matching(instancePattern, instanceWant))
	need(o, "url", &e.URL, address)
	field(o, "ws_url", &e.WSURL, nodeURL("ws", "wss"))
	field(o, "headers", &e.Headers, readHeaders)
	o.done()
	return e, nil
}

// nodeURL reads a URL as a [Secret]. Its text never shows in a message, since
// it may carry an API key.
func nodeURL(schemes ...string) parser[Secret] {
	return func(v value) (Secret, error) {
		inline := v.r.inlineSecrets
		s, err := secret(v)
		if err != nil || !s.Set() {
			return s, err
		}
		plain, err := s.Reveal()
		if err != nil {
			return s, nil //nolint:nilerr // secret has reported it, with the file
		}
		want := fmt.Sprintf("want %s://host:port/…", strings.Join(schemes, ":// or "))
		u, err := url.Parse(plain)
		switch {
		case err != nil || u.Scheme == "" || u.Opaque != "":
			return s, errors.New("is not a URL: " + want)
		case !slices.Contains(schemes, u.Scheme) && v.r.scope == tenant:
			return s, errors.New("has another scheme: " + want) // which may be a part of a secret
		case !slices.Contains(schemes, u.Scheme):
			return s, fmt.Errorf("has the scheme %q: %s", u.Scheme, want)
		case u.Hostname() == "":
			return s, errors.New("has no host: " + want)
		case u.Fragment != "":
			return s, errors.New("has a #fragment, which is never sent: leave it out")
		case v.r.scope == tenant && v.r.egress.refusesURL(plain, u) != "":
			return s, errors.New(v.r.egress.refusesURL(plain, u))
		case u.User == nil && len(u.Path) <= 1 && u.RawQuery == "":
			v.r.inlineSecrets = inline // a bare host and port is no secret
		}
		return s, nil
	}
}

func readHeaders(v value) (map[string]Secret, error) {
	if v.node.Kind != yamlMapping {
		return nil, fmt.Errorf("want a mapping (name: value), not %s", v.kind())
	}
	headers := make(map[string]Secret)
	o := v.object()
	if v.r.scope == tenant && len(o.values) > maxTenantHeaders {
		return nil, fmt.Errorf("has %d headers: want at most %d", len(o.values), maxTenantHeaders)
	}
	for name, item := range o.values {
		if !headerName.MatchString(name) {
			item.fail("is not the name of an HTTP header")
			continue
		}
		switch strings.ToLower(name) {
		case "host", "content-length", "content-type", "transfer-encoding", "connection", "upgrade":
			item.fail("is set by the signer itself: leave it out")
			continue
		}
		var s Secret
		field(o, name, &s, secret)
		if plain, err := s.Reveal(); err == nil && !headerValue.MatchString(plain) {
			item.fail("holds characters that an HTTP header cannot have")
		} else if err == nil && v.r.scope == tenant {
			if err := tenantHeader(name, plain); err != nil {
				item.fail("%s", err)
			}
		}
		headers[name] = s
	}
	return headers, nil
}
