// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/hsmsigner/hsmsigner/internal/platform"
	"github.com/hsmsigner/hsmsigner/internal/sqlite"
)

const (
	consoleRequests = 200 // of each page
	consoleLimit    = 200 // ms, of 95 in 100 of them
)

// console measures how soon the pages answer that show the most rows: one browser,
// signed in with a key, that asks for one page after the other.
func console(ctx context.Context, b *bench, p *Part) error {
	s, d, err := b.startLarge(ctx, setup{Management: true})
	if err != nil {
		return err
	}
	w, err := d.signIn(ctx, b.binary(false))
	if err != nil {
		return err
	}
	wallet := "/console/in/" + platform.DefaultConsortium + "/" + platform.DefaultEnvironment + "/wallets/" + platform.DeclaredID("bench")
	from := s.keys.Addresses[seedAddresses/2].Hex()
	list := wallet + "/transactions"
	oldest, hash, nonce, err := w.ends(ctx, list, s.data)
	if err != nil {
		return err
	}
	for _, page := range []struct{ what, path string }{
		{"accounts, first page", wallet + "/accounts"},
		{"accounts, last page", wallet + "/accounts?from=9951"},
		{"accounts, search", wallet + "/accounts?search=" + from[2:12]},
		{"transactions, newest", list},
		{"transactions, an older page", list + "?before=" + oldest.middle},
		{"transactions, the last page", list + "?before=" + oldest.last},
		{"transactions, by state confirmed", list + "?state=confirmed"},
		{"transactions, by state failed", list + "?state=failed"},
		{"transactions, by address", list + "?from=" + from},
		{"transactions, by address and state", list + "?state=confirmed&from=" + from},
		{"transactions, search for a hash", list + "?search=" + hash},
		{"transactions, search for a nonce", list + "?search=" + nonce},
		{"transactions, search for a nonce of an address", list + "?search=" + nonce + "&from=" + from},
		{"transactions, search for a key that nobody gave", list + "?search=no-such-key"},
		{"an account", wallet + "/accounts/" + from},
	} {
		took, err := w.times(ctx, page.path)
		if err != nil {
			return fmt.Errorf("%s: %w", page.what, err)
		}
		p.atMost(page.what+", p95", took[len(took)*95/100], consoleLimit, "ms")
		p.note("%s: p50 %.1f ms, p95 %.1f ms, at most %.1f ms of %d", page.what, took[len(took)/2], took[len(took)*95/100], took[len(took)-1], len(took))
	}
	return nil
}

// watcher is a browser that is signed in.
type watcher struct {
	client *http.Client
	base   string
}

// signIn makes a key as an operator does, and signs in with it.
func (d *daemon) signIn(ctx context.Context, program string) (*watcher, error) {
	key, err := exec.CommandContext(ctx, program, "admin", "bootstrap", "--config", d.config).Output()
	if err != nil {
		return nil, fmt.Errorf("hsmsigner admin bootstrap: %w", err)
	}
	jar, err := cookiejar.New(nil)
	if err != nil {
		return nil, err
	}
	w := &watcher{&http.Client{Jar: jar, Timeout: time.Minute}, "http://" + d.Admin}
	stays := *w.client
	stays.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	for range 100 { // the daemon takes the new key within a second
		form := url.Values{"key": {strings.TrimSpace(string(key))}}
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, w.base+"/console/sign-in", strings.NewReader(form.Encode()))
		if err != nil {
			return nil, err
		}
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		res, err := stays.Do(req)
		if err != nil {
			return nil, err
		}
		res.Body.Close()
		if res.StatusCode == http.StatusSeeOther {
			return w, nil
		}
		time.Sleep(50 * time.Millisecond)
	}
	return nil, errors.New("nobody could sign in with the key that admin bootstrap made")
}

// get reads a page to its end.
func (w *watcher) get(ctx context.Context, path string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, w.base+path, http.NoBody)
	if err != nil {
		return "", err
	}
	res, err := w.client.Do(req)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err == nil && (res.StatusCode != http.StatusOK || strings.HasSuffix(res.Request.URL.Path, "/sign-in")) {
		err = fmt.Errorf("GET %s: %s %.300s", path, res.Status, text)
	}
	return string(text), err
}

// times asks for a page, again and again, and returns how long each took, in ms, the
// shortest first. The first answers are not counted: they fill caches.
func (w *watcher) times(ctx context.Context, path string) ([]float64, error) {
	var took []float64
	for i := range consoleRequests + 5 {
		began := time.Now()
		if _, err := w.get(ctx, path); err != nil {
			return nil, err
		}
		if i >= 5 {
			took = append(took, float64(time.Since(began).Microseconds())/1000)
		}
	}
	slices.Sort(took)
	return took, nil
}

// places are ids before which the middle and the last page of a list begin.
type places struct{ middle, last string }

// ends looks for what the other pages are asked with.
func (w *watcher) ends(ctx context.Context, list, data string) (at places, hash, nonce string, err error) {
	if at, hash, nonce, err = inRows(ctx, data); err != nil {
		return at, "", "", err
	}
	text, err := w.get(ctx, list)
	if err == nil && strings.Count(text, "<tr>") < 50 {
		err = fmt.Errorf("GET %s shows %d rows", list, strings.Count(text, "<tr>"))
	}
	return at, hash, nonce, err
}

// inRows reads ids, a hash and a nonce in the database beside the daemon.
func inRows(ctx context.Context, data string) (at places, hash, nonce string, err error) {
	db, err := sql.Open(sqlite.Driver, filepath.Join(data, "hsmsigner.db"))
	if err != nil {
		return at, "", "", err
	}
	defer db.Close()
	err = errors.Join(
		db.QueryRowContext(ctx, `SELECT id FROM tx ORDER BY id LIMIT 1 OFFSET 40`).Scan(&at.last),
		db.QueryRowContext(ctx, `SELECT id, '0x' || lower(hex(hash)), nonce FROM tx WHERE nonce IS NOT NULL AND hash IS NOT NULL ORDER BY id LIMIT 1 OFFSET 500000`).Scan(&at.middle, &hash, &nonce),
	)
	return at, hash, nonce, err
}
