// SPDX-License-Identifier: Apache-2.0

package console_test

import (
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
)

// known are pages to begin with, by the name of their picture. Those that a link
// of theirs leads to are visited as well.
func known() map[string]string {
	return map[string]string{
		"overview": "/overview", "configurations": "/configurations", "configuration": "/configurations/{configuration}",
		"configuration-new": "/configurations/new", "configuration-azure": "/configurations/new?provider=azure",
		"wallets": "/wallets", "wallet-new": "/wallets/new", "wallet": "/wallets/{wallet}", "accounts": "/wallets/{wallet}/accounts",
		"account": "/wallets/{wallet}/accounts/{account}", "transactions": "/wallets/{wallet}/transactions", "transaction": "/wallets/{wallet}/transactions/{tx}",
		"wallet-policy": "/wallets/{wallet}/policy", "connect": "/wallets/{wallet}/connect", "settings": "/wallets/{wallet}/settings",
		"nodes": "/nodes", "node-new": "/nodes/new", "node": "/nodes/{node}",
		"approvals": "/approvals", "policy": "/policy", "freeze": "/freeze", "audit": "/audit", "documents": "/documents?wallet={wallet}",
		"contract": "/contracts/{wallet}/at/{contract}", "token": "/tokens/{wallet}/at/{token}", "stream": "/streams/{wallet}/of/{stream}", "wallet-misled": "/wallets/{liar}",
		"transaction-refused": "/wallets/{wallet}/transactions/{refused}", "contract-answer": "/contracts/{wallet}/at/{contract}?call=label()",
		"contract-refuses": "/contracts/{wallet}/at/{contract}?call=share(uint256,uint256)",
		"memberships":      "/memberships", "credentials": "/credentials", "keys": "/keys",
		"nothing": "/nothing-here", "wallet-unknown": "/wallets/unknown",
	}
}

// refusing are those that are no page, or say what is wrong with what was asked.
func refusing() map[string]int {
	return map[string]int{"nothing": http.StatusNotFound, "wallet-unknown": http.StatusNotFound, "contract-refuses": http.StatusUnprocessableEntity}
}

// variable are the parts of paths in which pages of one kind differ.
var variable = regexp.MustCompile(`/(h0[0-9a-z]{8}|0x[0-9a-fA-F]{40}|0x[0-9a-f]{64}|[0-9a-f]{32}|\d+)(/|$)`)

// kindOf is the same for all pages of one kind.
func kindOf(path string) string {
	path, query, _ := strings.Cut(strings.TrimPrefix(path, home), "?")
	path = variable.ReplaceAllString(variable.ReplaceAllString(path, "/-$2"), "/-$2")
	if q, err := url.ParseQuery(query); err == nil && q.Get("provider") != "" {
		path += "?provider=" + q.Get("provider")
	}
	return path
}

// album visits pages, each kind once.
type album struct {
	*stage
	folder string // for pictures; empty: none

	mu   sync.Mutex
	seen map[string]bool // kinds
	next []page
}

type page struct{ name, path string }

// begin has the known pages visited, with what there is in the stage.
func (a *album) begin() {
	for name, path := range known() {
		for id, is := range a.ids {
			path = strings.ReplaceAll(path, "{"+id+"}", is)
		}
		a.seen[kindOf(home+path)] = true
		a.next = append(a.next, page{name, home + path})
	}
}

// add has a page visited, unless one of its kind is.
func (a *album) add(p page) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if kind := kindOf(p.path); !a.seen[kind] {
		a.seen[kind] = true
		a.next = append(a.next, p)
	}
}

func (a *album) take() (page, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.next) == 0 {
		return page{}, false
	}
	p := a.next[0]
	a.next = a.next[1:]
	return p, true
}

// links are where a page leads to in the console.
const links = `[...document.querySelectorAll('a[href^="/console/in/"]')].filter((a) => !a.hasAttribute("download")).map((a) => a.getAttribute("href"))`

// unfold opens what a page shows only to who opens it: forms, menus, what asks again.
const unfold = `(() => {
  const all = document.querySelectorAll("main details:not([open])");
  for (const one of all) one.open = true;
  return all.length;
})()`

// visit looks at a page in both themes at both widths, and at what is folded in it.
func (a *album) visit(b *tab, p page) {
	b.t.Helper()
	want := http.StatusOK
	if is, ok := refusing()[p.name]; ok {
		want = is
	}
	if got := b.visit(p.path).Status; got != want {
		b.t.Errorf("%s: HTTP %d, want %d", p.path, got, want)
	}
	found, _ := b.run(links).([]any)
	for _, link := range found {
		to := link.(string)
		a.add(page{strings.Trim(strings.NewReplacer("/-", "-one", "/", "-", "?provider=", "-").Replace(kindOf(to)), "-"), to})
	}
	b.look(p.name, a.folder)
	if b.run(unfold) != 0.0 {
		b.lookIn(appearances()[:1], p.name+", unfolded", "")
	}
	b.quiet(http.StatusNotFound, http.StatusUnprocessableEntity)
}

// appearance is a theme and a width.
type appearance struct {
	name  string
	width int
	dark  bool
	rules []string // what is checked; nil: all
}

// appearances are all in which pages are looked at. Of the second theme and width,
// only what they can break is checked again.
func appearances() []appearance {
	colours := []string{"color-contrast", "link-in-text-block"}
	layout := []string{"scrollable-region-focusable", "target-size", "link-name", "button-name", "label"}
	return []appearance{{"", 1280, false, nil}, {"-narrow-dark", 375, true, colours}, {"-dark", 1280, true, colours}, {"-narrow", 375, false, layout}}
}

// look checks what is shown in both themes at both widths, and takes pictures of it
// unless folder is empty.
func (b *tab) look(name, folder string) {
	b.t.Helper()
	b.lookIn(appearances(), name, folder)
}

// fine checks what is shown in a light and wide window, and in a dark and narrow one.
func (b *tab) fine(name string) {
	b.t.Helper()
	b.lookIn(appearances()[:2], name, "")
}

func (b *tab) lookIn(all []appearance, name, folder string) {
	b.t.Helper()
	for _, is := range all {
		b.do("look", args{"width": is.width, "dark": is.dark})
		found := b.do("check", args{"rules": is.rules})
		for _, v := range found.Violations {
			b.t.Errorf("%s%s: %s", name, is.name, v)
		}
		if found.Wide > 1 {
			b.t.Errorf("%s%s: scrolls sideways by %d px", name, is.name, found.Wide)
		}
		if folder != "" {
			b.do("shot", args{"file": filepath.Join(folder, name+is.name+".png")})
		}
	}
	b.do("look", args{"width": 1280, "dark": false})
}

func TestEveryPage(t *testing.T) {
	t.Parallel()
	s := set(t, "", "")
	s.lying("", "the node is out of order")
	s.act("", "", "")
	s.ids["account"] = s.accounts[0].Hex()
	a := &album{stage: s, folder: os.Getenv("HSMSIGNER_SCREENSHOTS"), seen: map[string]bool{}}
	if a.folder != "" {
		must(t, os.MkdirAll(a.folder, 0o755))
	}
	out := s.open(nil)
	out.look("sign-in", a.folder)
	out.quiet()
	a.begin()
	t.Run("tabs", func(t *testing.T) {
		for range 2 {
			t.Run("tab", func(t *testing.T) {
				t.Parallel()
				b := s.signIn(s.Key, nil)
				b.t = t
				for p, ok := a.take(); ok; p, ok = a.take() {
					a.visit(b, p)
				}
			})
		}
	})
	if len(a.seen) < 35 {
		t.Errorf("only %d kinds of pages", len(a.seen))
	}
	t.Logf("%d kinds of pages", len(a.seen))
}
