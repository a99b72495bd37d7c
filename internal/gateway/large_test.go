// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"testing"
	"time"
)

// peak is how far the heap grows while f works, in MiB.
func peak(f func()) int {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	before, most := m.HeapAlloc, m.HeapAlloc
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-stop:
				return
			case <-time.After(2 * time.Millisecond):
				var m runtime.MemStats
				runtime.ReadMemStats(&m)
				most = max(most, m.HeapAlloc)
			}
		}
	}()
	f()
	close(stop)
	<-done
	return int((most - before) >> 20)
}

// hostile are bodies as large as an upload may be, or with as many values, that
// would take the most memory.
type hostile struct{ name, path, media, body string }

func fill(head, unit, tail string, size int) string {
	return head + strings.Repeat(unit, max(0, size-len(head)-len(tail))/len(unit)) + tail
}

func members(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `,"%x":0`, i)
	}
	return b.String()
}

func hostiles() []hostile {
	const size, most = 8 << 20, maxParts
	query := `{"headers":{"type":"Query"},"to":"0x0000000000000000000000000000000000000001","params":[0`
	form := "--b\r\nContent-Disposition: form-data; name=\"abi\"\r\n\r\n"
	const asForm, yaml = "multipart/form-data; boundary=b", "application/x-yaml"
	var list []hostile
	for _, path := range []string{"/hook", "/abis"} {
		list = append(list,
			hostile{"numbers", path, mediaJSON, fill(query, ",0", "]}", size)},
			hostile{"as many as may be", path, mediaJSON, fill(query, ",0", "]}", 2*most-64)},
			hostile{"lists in lists", path, mediaJSON, fill(`{"abi":[0`, ","+strings.Repeat("[", 25)+strings.Repeat("]", 25), "]}", 51*(most/26-4))},
			hostile{"members", path, mediaJSON, `{"abi":[]` + members(most-8) + "}"},
			hostile{"white space", path, mediaJSON, fill(`{"abi":[`, " ", `]}`, size)},
			hostile{"yaml", path, yaml, fill("a:\n", "- 1\n", "", size)})
	}
	for _, unit := range []string{"- 1\n", "-\n", "- - - - -\n", "- [[],[]]\n", "- ? ?\n", "- a:\n", "- {a,b}\n"} {
		list = append(list, hostile{fmt.Sprintf("yaml of %q", unit), "/hook", yaml, fill("a:\n", unit, "", maxYAML)})
	}
	list = append(list, hostile{"yaml of one list", "/hook", yaml, fill("a: [0", ",0", "]", maxYAML)}, hostile{"yaml of names", "/hook", yaml, fill("a: {0", ",?", "}", maxYAML)})
	return append(
		list,
		hostile{"a string of escapes", "/abis", mediaJSON, fill(`{"abi":"[0`, `\u002c0`, `]"}`, size)},
		hostile{"escapes as many as may be", "/abis", mediaJSON, fill(`{"abi":"[0`, `\u002c0`, `]"}`, 7*(most-8))},
		hostile{"a string of JSON", "/abis", mediaJSON, fill(`{"abi":"[0`, `,0`, `]"}`, 2*(most-8))},
		hostile{"a long string", "/abis", mediaJSON, fill(`{"abi":"[\u0020`, ` `, `]"}`, size)},
		hostile{"a form", "/abis", asForm, fill(form+"[0", ",0", "]\r\n--b--\r\n", size)},
		hostile{"a form, as many as may be", "/abis", asForm, fill(form+"[0", ",0", "]\r\n--b--\r\n", 2*(most-8))},
	)
}

// serve has the handler answer without a server between.
func (r *rig) serve(c Caller, path, media string, body io.Reader) *httptest.ResponseRecorder {
	// Its length is not told beforehand.
	q := httptest.NewRequestWithContext(r.t.Context(), http.MethodPost, base+path, struct{ io.Reader }{body})
	q.Header.Set("Content-Type", media)
	w := httptest.NewRecorder()
	r.handler.Serve(w, q, c, path)
	return w
}

// TestBodiesTakeWhatIsCounted: the RPC listener counts 6 bytes for each byte of a
// body, 240 for each value and 100 for each member.
func TestBodiesTakeWhatIsCounted(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(10))
	r := newRig(t)
	for _, h := range hostiles() {
		count := func(mark string) int { return strings.Count(h.body, mark) }
		counted := 6*len(h.body) + 240*(count(",")+count("[")+count("{")+count(`\u`)) + 100*count(":")
		if isYAML(h.media) {
			counted = 256 * min(len(h.body), maxYAML)
		}
		var w *httptest.ResponseRecorder
		took := peak(func() { w = r.serve(r.caller, h.path, h.media, strings.NewReader(h.body)) })
		t.Logf("%s %s: %d bytes, %d: %d MiB, counted %d MiB", h.path, h.name, len(h.body), w.Code, took, counted>>20)
		if w.Code >= 500 || took > counted>>20+8 {
			t.Errorf("%s %s: %d: %d MiB, counted %d MiB: %.200s", h.path, h.name, w.Code, took, counted>>20, w.Body)
		}
	}
}

// With what is not collected yet, one takes up to 140 MiB; of eight, four are let in.
func TestHeapStaysBoundedUnderHostileBodies(t *testing.T) {
	const one, eight = 192, 640 // MiB
	r := newRig(t)
	r.caller.Page = true
	for _, h := range hostiles() {
		took := peak(func() { r.serve(r.caller, h.path, h.media, strings.NewReader(h.body)) })
		if took < 12 && len(h.body) < 8<<20-16 {
			continue
		}
		many := peak(func() {
			var all sync.WaitGroup
			for i := range 8 {
				c := r.caller
				c.Principal.Name, c.Place.Membership = fmt.Sprint("person", i), fmt.Sprint("m", i)
				all.Go(func() { r.serve(c, h.path, h.media, strings.NewReader(h.body)) })
			}
			all.Wait()
		})
		t.Logf("%s %s: %d MiB, eight at once %d MiB", h.path, h.name, took, many)
		if took > one || many > eight {
			t.Errorf("%s %s: %d MiB, eight at once %d MiB", h.path, h.name, took, many)
		}
	}
}

// counting says how much of it was read.
type counting struct {
	from io.Reader
	read int
}

func (c *counting) Read(p []byte) (int, error) {
	n, err := c.from.Read(p)
	c.read += n
	return n, err
}

func TestWhoMayOnlyLookIsRefusedBeforeTheBodyIsRead(t *testing.T) {
	const bound = 16 // MiB
	r := newRig(t)
	r.caller.MayChange, r.caller.Page = false, true
	most := int(r.handler.cfg.Body)
	big := func(kind string, size int) string {
		return fill(`{"headers":{"type":"`+kind+`"},"params":[0`, ",0", "]}", size)
	}
	for _, c := range []struct {
		name, path, media, body string
		code, read              int
	}{
		{"upload", "/abis", mediaJSON, big("x", 8<<20), 403, 0},
		{"hook that is too large", "/hook", mediaJSON, big("Query", 8<<20), 413, most + 1},
		{"hook that sends", "/hook", mediaJSON, big("SendTransaction", 400_000), 403, most},
		{"hook of too many values", "/", mediaJSON, big("Query", most-8), 413, most},
		{"YAML", "/hook", "text/yaml", fill("a:\n", "- 1\n", "", 8<<20), 413, maxYAML + 1},
		{"YAML that sends", "/hook", "text/yaml", "headers:\n  type: DeployContract\n", 403, most},
	} {
		body := &counting{from: strings.NewReader(c.body)}
		var w *httptest.ResponseRecorder
		took := peak(func() { w = r.serve(r.caller, c.path, c.media, body) })
		t.Logf("%s: %d, %d MiB, %d bytes read", c.name, w.Code, took, body.read)
		if w.Code != c.code || body.read > c.read || took > bound {
			t.Errorf("%s: %d, %d MiB, %d bytes read: %.200s", c.name, w.Code, took, body.read, w.Body)
		}
	}
}

func TestYAMLIsBoundedAndSaysSo(t *testing.T) {
	r := newRig(t)
	_, address := r.echo()
	for _, path := range []string{"/hook", "/contracts/" + address + "/list", "/tokens"} {
		a := r.want(413, "POST", path, fill("l:\n", "- 1\n", "", maxYAML+8), "Content-Type", "application/x-yaml")
		if want := "the body is too large for YAML: want at most 65536 bytes of it, or the same as JSON"; a.str("error") != want || a.str("code") != codeLarge {
			t.Errorf("%s: %s", path, a.text)
		}
	}
}

func TestNobodyHoldsAllPlacesOfLargeBodies(t *testing.T) {
	r := newRig(t)
	r.caller.Page = true
	who := func(name, membership string) Caller {
		c := r.caller
		c.Principal.Name, c.Place.Membership = name, membership
		return c
	}
	large := bytes.Repeat([]byte(" "), largeBody+1)
	var all sync.WaitGroup
	hold := func(c Caller) *io.PipeWriter {
		body, w := io.Pipe()
		all.Go(func() { r.serve(c, "/abis", mediaJSON, body) })
		_, err := w.Write(large)
		r.must(err)
		_, _ = w.Write([]byte(" ")) // the place is taken once this is read
		return w
	}
	busyFor := func(c Caller, want bool) {
		t.Helper()
		w := r.serve(c, "/abis", mediaJSON, bytes.NewReader(large))
		if full := w.Code == http.StatusServiceUnavailable && w.Header().Get("Retry-After") == "1"; full != want {
			t.Errorf("%s of %s: %d %s", c.Principal.Name, c.Place.Membership, w.Code, w.Body)
		}
	}
	open := []*io.PipeWriter{hold(who("a", "m1")), hold(who("a", "m1"))}
	busyFor(who("a", "m1"), true)
	busyFor(who("a", "m2"), true)
	open = append(open, hold(who("b", "m1")))
	busyFor(who("c", "m1"), true)
	busyFor(who("c", "m2"), false)
	open = append(open, hold(who("c", "m2")))
	busyFor(who("d", "m3"), true)
	if w := r.serve(who("d", "m3"), "/abis", mediaJSON, strings.NewReader(`{"abi":[]}`)); w.Code == http.StatusServiceUnavailable {
		t.Errorf("a small one: %d %s", w.Code, w.Body)
	}
	atRPC := who("a", "m1")
	atRPC.Page = false
	busyFor(atRPC, false)
	for _, w := range open {
		_ = w.Close()
	}
	all.Wait()
	busyFor(who("a", "m1"), false)
	if l := &r.handler.large; l.all != 0 || len(l.caller)+len(l.membership) != 0 {
		t.Errorf("places are still held: %+v", l.all)
	}
}

func TestMembersAreFoundWithoutATree(t *testing.T) {
	for text, want := range map[string]string{
		`{"a":{"name":"x"},"name":"y"}`:               `"y"`,
		` {"x":"\"name\":1,","n\u0061me" : [1,"]"] }`: `[1,"]"]`,
		`{"name":{"a":1},"b":2}`:                      `{"a":1}`,
		`[{"name":1}]`:                                ``,
		`{"name":"`:                                   ``,
		`}}}{"name"`:                                  ``,
		`{"x":"name","y":1}`:                          ``,
		`"\`:                                          ``,
	} {
		if got := string(topMembers([]byte(text), "name")["name"]); got != want {
			t.Errorf("%s: %q, want %q", text, got, want)
		}
	}
}
