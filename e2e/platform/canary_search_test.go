// SPDX-License-Identifier: Apache-2.0

package platform_test

import (
	"bytes"
	"compress/gzip"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// canaries are secrets that were given to a daemon, by where they were given.
type canaries struct {
	mu  sync.Mutex
	all map[string]string
}

// new makes a secret for an input. Its last characters are written differently in
// URLs, JSON and base64.
func (c *canaries) new(where string) string { return c.plain(where) + `&/+"=` }

// plain is new of letters and digits only, for where nothing else may stand.
func (c *canaries) plain(where string) string { return c.add(where, "Canary"+rand.Text()) }

// add has a secret that somebody else made looked for as well.
func (c *canaries) add(where, secret string) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.all == nil {
		c.all = map[string]string{}
	}
	if _, taken := c.all[where]; taken {
		where = fmt.Sprintf("%s (%d)", where, len(c.all))
	}
	c.all[where] = secret
	return secret
}

// forms are how a text can be hidden in another: as it is, as hexadecimal digits,
// decimal bytes, base64 at each of the three offsets that it can have in what is
// encoded as a whole, and escaped for a URL or JSON.
func forms(secret string) map[string]string {
	f := map[string]string{
		"plain": secret, "hex": hex.EncodeToString([]byte(secret)), "HEX": strings.ToUpper(hex.EncodeToString([]byte(secret))),
		"bytes": strings.Trim(fmt.Sprint([]byte(secret)), "[]"),
		"query": url.QueryEscape(secret), "path": url.PathEscape(secret), "userinfo": strings.TrimPrefix(url.UserPassword("", secret).String(), ":"),
	}
	quoted, _ := json.Marshal(secret)
	f["JSON"] = strings.Trim(string(quoted), `"`)
	for offset := range 3 {
		for name, encoding := range map[string]*base64.Encoding{"base64": base64.RawStdEncoding, "base64url": base64.RawURLEncoding} {
			text := encoding.EncodeToString(append(make([]byte, offset), secret...))
			// The characters at the edges also depend on what stands beside.
			f[fmt.Sprint(name, "+", offset)] = text[(offset*8+5)/6 : len(text)-1]
		}
	}
	return f
}

// find reports every canary that occurs in a text.
func (c *canaries) find(t *testing.T, where string, text []byte) {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	for from, secret := range c.all {
		for form, hidden := range forms(secret) {
			if i := bytes.Index(text, []byte(hidden)); i >= 0 {
				t.Errorf("%s holds the secret given as %s (%s): …%.200q…", where, from, form, text[max(0, i-120):min(len(text), i+80)])
				break
			}
		}
	}
}

// findInFiles looks through all files below a folder but the key that seals.
func (c *canaries) findInFiles(t *testing.T, dir string) (all []byte) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() || entry.Name() == "seal.key" {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		c.find(t, entry.Name(), text)
		all = append(all, text...)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// The search must find what is there, in whatever form, or its silence means
// nothing.
func TestSearchFindsACanaryInEachForm(t *testing.T) {
	for _, secret := range []string{(&canaries{}).new("x"), (&canaries{}).plain("y"), "k8-_Zz09abcdefgh"} {
		quoted, _ := json.Marshal(map[string]string{"x": secret})
		for name, text := range map[string]string{
			"plain": "a" + secret + "b", "hex": fmt.Sprintf("%x", secret), "HEX": fmt.Sprintf("%X", "b"+secret), "bytes": fmt.Sprint([]byte("a" + secret)),
			"query": url.Values{"k": {secret}}.Encode(), "path": (&url.URL{Path: "/a/" + secret}).String() + url.PathEscape(secret),
			"JSON": string(quoted), "userinfo": url.UserPassword("u", secret).String(),
			"base64":    base64.StdEncoding.EncodeToString([]byte(secret)),
			"base64+1":  base64.URLEncoding.EncodeToString([]byte("u" + secret + "v")),
			"base64+2":  base64.StdEncoding.EncodeToString([]byte("u:" + secret + ":w")),
			"Basic":     base64.StdEncoding.EncodeToString([]byte("h0abcdefgh:" + secret)),
			"base64url": base64.RawURLEncoding.EncodeToString([]byte("abcd" + secret)),
		} {
			found := false
			for _, hidden := range forms(secret) {
				found = found || strings.Contains(text, hidden)
			}
			if !found {
				t.Errorf("%s: %q is not found in %q", name, secret, text)
			}
		}
	}
}

// collector is where spans go.
type collector struct {
	*httptest.Server
	mu    sync.Mutex
	spans bytes.Buffer
}

func startCollector(t *testing.T) *collector {
	t.Helper()
	c := &collector{}
	c.Server = httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		from := io.Reader(r.Body)
		if r.Header.Get("Content-Encoding") == "gzip" {
			if z, err := gzip.NewReader(from); err == nil {
				from = z
			}
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		_, _ = io.Copy(&c.spans, from)
	}))
	t.Cleanup(c.Close)
	return c
}

func (c *collector) text() []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	return bytes.Clone(c.spans.Bytes())
}

// recorder keeps every answer, headers and all, but for the secrets that are new
// in it.
type recorder struct {
	mu   sync.Mutex
	seen bytes.Buffer
}

// note keeps an answer; fresh are the members of it that are shown this once.
func (r *recorder) note(what string, res *http.Response, text []byte, fresh ...string) {
	for _, secret := range fresh {
		text = bytes.ReplaceAll(text, []byte(secret), nil)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	fmt.Fprintf(&r.seen, "%s: %s %v %s\n", what, res.Status, res.Header, text)
}
