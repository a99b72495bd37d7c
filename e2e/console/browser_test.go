// SPDX-License-Identifier: Apache-2.0

package console_test

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// driver is Chromium, one for all tests. Safe for concurrent use.
type driver struct {
	once sync.Once
	err  error
	cmd  *exec.Cmd
	in   io.WriteCloser

	mu      sync.Mutex
	next    int
	waiting map[int]chan answer
}

// answer is what came of a command.
type answer struct {
	ID         int
	Error      string
	Status     int
	URL        string
	Text       string
	Value      any
	Wide       int
	Violations []string
	Said       []string
}

func (d *driver) start() error {
	path, err := chromium()
	if err != nil {
		return err
	}
	d.cmd = exec.Command("node", "browser.mjs", path)
	d.cmd.Stderr = os.Stderr
	if d.in, err = d.cmd.StdinPipe(); err != nil {
		return err
	}
	out, err := d.cmd.StdoutPipe()
	if err != nil {
		return err
	}
	started := make(chan answer, 1)
	d.waiting = map[int]chan answer{0: started}
	if err := d.cmd.Start(); err != nil {
		return err
	}
	go d.read(out)
	select {
	case a := <-started:
		if a.Error != "" {
			return errors.New(a.Error)
		}
		return nil
	case <-time.After(3 * time.Minute):
		return errors.New("Chromium did not start within three minutes")
	}
}

func chromium() (string, error) {
	if path := os.Getenv("HSMSIGNER_CHROMIUM"); path != "" {
		return path, nil
	}
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			return path, nil
		}
	}
	return "", errors.New("no chromium: apt-get install chromium, or name one in HSMSIGNER_CHROMIUM")
}

// read gives the answers to who waits for them, until there are no more.
func (d *driver) read(out io.Reader) {
	lines := bufio.NewScanner(out)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		var a answer
		if err := json.Unmarshal(lines.Bytes(), &a); err != nil {
			continue
		}
		d.mu.Lock()
		to := d.waiting[a.ID]
		delete(d.waiting, a.ID)
		d.mu.Unlock()
		if to != nil {
			to <- a
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for id, to := range d.waiting {
		delete(d.waiting, id)
		to <- answer{Error: "the browser has ended"}
	}
	d.waiting = nil
}

// do has the browser do something, and waits until it has.
func (d *driver) do(command string, args map[string]any) answer {
	if d.once.Do(func() { d.err = d.start() }); d.err != nil {
		return answer{Error: d.err.Error()}
	}
	to := make(chan answer, 1)
	d.mu.Lock()
	if d.waiting == nil {
		d.mu.Unlock()
		return answer{Error: "the browser has ended"}
	}
	d.next++
	line := map[string]any{"id": d.next, "command": command}
	for name, value := range args {
		line[name] = value
	}
	text, err := json.Marshal(line)
	if err == nil {
		d.waiting[d.next] = to
		_, err = d.in.Write(append(text, '\n'))
	}
	d.mu.Unlock()
	if err != nil {
		return answer{Error: err.Error()}
	}
	return <-to
}

// stop ends the browser, if it was started.
func (d *driver) stop() {
	if d.in == nil {
		return
	}
	_ = d.in.Close()
	_ = d.cmd.Wait()
}

// tab is a tab of the browser. Its methods end the test if they cannot be done.
type tab struct {
	t    *testing.T
	name string
	root string // URL of the console
}

type args = map[string]any

func (b *tab) do(command string, more args) answer {
	b.t.Helper()
	a := b.try(command, more)
	if a.Error != "" {
		shown := chrome.do("text", args{"tab": b.name, "at": "body"})
		where := chrome.do("run", args{"tab": b.name, "code": "location.href"})
		b.t.Fatalf("%s %v\n%s\n%v shows:\n%s", command, more, a.Error, where.Value, shown.Text)
	}
	return a
}

func (b *tab) try(command string, more args) answer {
	all := args{"tab": b.name}
	for name, value := range more {
		all[name] = value
	}
	return chrome.do(command, all)
}

// open makes a tab in a browser that knows of no other tab.
func open(t *testing.T, root string, more args) *tab {
	t.Helper()
	b := &tab{t: t, name: fmt.Sprintf("%s %d", t.Name(), time.Now().UnixNano()), root: root}
	b.do("open", more)
	t.Cleanup(func() { b.try("close", nil) })
	return b
}

// beside is a second tab of the same browser.
func (b *tab) beside() *tab {
	b.t.Helper()
	return open(b.t, b.root, args{"beside": b.name})
}

// visit opens a path of the console's origin, or a whole URL.
func (b *tab) visit(path string) answer {
	b.t.Helper()
	if !strings.Contains(path, "://") {
		path = b.root + path
	}
	return b.do("goto", args{"url": path})
}

func (b *tab) click(at string) string { b.t.Helper(); return b.do("click", args{"at": at}).URL }

func (b *tab) press(button string) string {
	b.t.Helper()
	return b.click(fmt.Sprintf("main button:has-text(%q):visible", button))
}

func (b *tab) see(text string) { b.t.Helper(); b.do("see", args{"text": text}) }

func (b *tab) seeAt(at, text string) { b.t.Helper(); b.do("see", args{"at": at, "text": text}) }

// reach waits until the tab is at an address with a part, for where the page before
// shows the same words.
func (b *tab) reach(part string) { b.t.Helper(); b.do("reach", args{"part": part}) }

// becomes waits until code in the page, which stays, gives a value.
func (b *tab) becomes(code string, want any) {
	b.t.Helper()
	for end := time.Now().Add(patience); b.run(code) != want; time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			b.t.Fatalf("%s is %v, want %v", code, b.run(code), want)
		}
	}
}

func (b *tab) text(at string) string { b.t.Helper(); return b.do("text", args{"at": at}).Text }

func (b *tab) run(code string) any { b.t.Helper(); return b.do("run", args{"code": code}).Value }

// fill types into fields, by their names in the API.
func (b *tab) fill(fields map[string]string) {
	b.t.Helper()
	for name, text := range fields {
		b.do("fill", args{"at": fmt.Sprintf("main [name=%q]:visible", name), "text": text})
	}
}

// quiet demands that nothing has complained since it was asked last, but for
// answers that say no: the browser writes those on the console as well.
func (b *tab) quiet(refusals ...int) {
	b.t.Helper()
	said := slices.DeleteFunc(b.do("said", nil).Said, func(s string) bool {
		return slices.ContainsFunc(refusals, func(code int) bool { return strings.Contains(s, fmt.Sprintf("status of %d ", code)) })
	})
	if len(said) > 0 {
		b.t.Errorf("the browser said: %s", strings.Join(said, "\n"))
	}
}
