// SPDX-License-Identifier: Apache-2.0

package config

import (
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// The bounds of a tenant's node, below those of the operator's own.
const (
	maxTenantURL      = 2048 // bytes
	maxTenantNode     = 4    // of several that serve one chain
	maxTenantHeaders  = 16
	maxTenantHeader   = 4096 // bytes of one value
	maxTenantTimeout  = time.Minute
	maxTenantResponse = 32 << 20 // bytes
	minTenantPoll     = 200 * time.Millisecond
	minTenantCheck    = time.Second
)

// ParseTenantNode reads a node, as JSON, that came from a tenant: url, chain_id
// and what else stands in a wallet's node, within narrower bounds. The addresses
// may also be given as urls: {rpc: …, wss: …}. Keys that are not known are
// ignored. The error is an [Errors], and shows nothing of a URL or a header, which
// may hold a key.
func (c *Config) ParseTenantNode(data []byte) (Node, error) {
	r := c.tenantReader("node", "")
	root, problem := jsonDocument(data)
	if problem != nil {
		problem.File = r.file
		return Node{}, Errors{*problem}
	}
	namedURLs(value{r, root, ""})
	n, err := readNode(value{r, root, ""})
	if err != nil {
		return Node{}, err
	}
	r.boundNode(value{r, root, ""}, n)
	if len(r.problems) > 0 {
		return Node{}, r.problems.Sorted()
	}
	return n, nil
}

// namedURLs turns urls: {rpc, wss} into url and ws_url.
func namedURLs(v value) {
	for i := 0; i+1 < len(v.node.Content); i += 2 {
		key, item := v.node.Content[i], v.node.Content[i+1]
		if key.Value != "urls" || item.Kind != yamlMapping {
			continue
		}
		v.node.Content = append(v.node.Content[:i:i], v.node.Content[i+2:]...)
		for j := 0; j+1 < len(item.Content); j += 2 {
			name := map[string]string{"rpc": "url", "http": "url", "wss": "ws_url", "ws": "ws_url"}[item.Content[j].Value]
			if name == "" {
				value{v.r, item, "urls"}.fail("want rpc and, if it is another, wss")
				continue
			}
			v.node.Content = append(v.node.Content, scalarNode(name), item.Content[j+1])
		}
		return
	}
}

func (r *reader) boundNode(v value, n Node) {
	o := v.object()
	limit := func(key string, wrong bool, want string) {
		if wrong {
			o.at(key).fail("%s", want)
		}
	}
	limit("timeout", n.Timeout > maxTenantTimeout, "want at most "+short(maxTenantTimeout))
	limit("max_response", n.MaxResponse > maxTenantResponse, "want at most "+bytesText(maxTenantResponse))
	limit("poll", n.Poll < minTenantPoll, "want at least "+short(minTenantPoll))
	limit("check", len(n.Endpoints) > 0 && n.Check < minTenantCheck, "want at least "+short(minTenantCheck))
	limit("urls", len(n.Endpoints) > maxTenantNode, fmt.Sprintf("want at most %d nodes", maxTenantNode))
}

// refusesURL says why a tenant's node may not have a URL, in words that show
// nothing of it.
func (e Egress) refusesURL(plain string, u *url.URL) string {
	_, rest, _ := strings.Cut(plain, "//")
	authority := rest
	if i := strings.IndexAny(rest, "/?#"); i >= 0 {
		authority = rest[:i]
	}
	port := u.Port()
	number, err := strconv.ParseUint(port, 10, 16)
	switch {
	case len(plain) > maxTenantURL:
		return fmt.Sprintf("has more than %d characters", maxTenantURL)
	case strings.Count(authority, "@") > 1:
		return "has more than one @ before the path, so that readers differ about its host: write it as %40 in a password"
	case u.User != nil && strings.HasPrefix(u.Scheme, "ws"):
		return "carries a user or password: want them in url, and they are used here too"
	case strings.Contains(authority, "%") && strings.Contains(u.Host, "%"):
		return "has a host with a % in it: want a plain name or address"
	case port != "" && (err != nil || number == 0), strings.HasSuffix(u.Host, ":"):
		return "has a port that is no number from 1 to 65535"
	}
	return e.refuses(u.Hostname())
}

// tenantHeader says why a tenant may not set a header.
func tenantHeader(name, plain string) error {
	switch strings.ToLower(name) {
	case "te", "trailer", "expect", "keep-alive", "accept-encoding", "user-agent":
		return errors.New("is set by the signer itself: leave it out")
	}
	switch lower := strings.ToLower(name); {
	case strings.HasPrefix(lower, "proxy-"), strings.HasPrefix(lower, "sec-"):
		return errors.New("is for what stands between the signer and the node: leave it out")
	case len(name) > 64:
		return errors.New("has a name of more than 64 characters")
	case len(plain) > maxTenantHeader:
		return fmt.Errorf("has more than %d characters", maxTenantHeader)
	}
	return nil
}
