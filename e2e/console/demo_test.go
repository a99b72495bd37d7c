// SPDX-License-Identifier: Apache-2.0

package console_test

import (
	"bufio"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/hsmsigner/hsmsigner/e2e/harness"
)

// What `make demo` runs once it has built shows a link. Behind it is a console with a
// wallet that is started, transactions that go on, and pictures of them.
func TestDemoOpensOnAConsoleThatShowsSomething(t *testing.T) {
	t.Parallel()
	harness.Turn(t, "demo")
	cmd := exec.CommandContext(t.Context(), built.Of(t).Hsmsigner, "demo")
	cmd.Dir, cmd.SysProcAttr, cmd.WaitDelay = t.TempDir(), harness.DieWithParent(), time.Minute
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	said, link := banner(out)
	if link == "" {
		t.Fatalf("hsmsigner demo: %v; no link to the console: %s", cmd.Wait(), said)
	}
	root, _, _ := strings.Cut(link, "/console/")
	b := open(t, root, nil)
	b.visit(link)
	if b.run(`document.querySelector("main button").matches(":focus")`) != true || strings.Contains(b.run("location.href").(string), "#") {
		t.Error("the key is not filled in, or stays in the address")
	}
	b.do("key", args{"name": "Enter"})
	b.seeAt("h1", "Overview")
	b.seeAt("main", "demo")
	b.seeAt("main", "started")
	for _, picture := range []string{"Signatures per second", "Time in each stage", "What went wrong", "Blocks from the node"} {
		b.seeAt(`main figure:has(svg)`, picture)
	}
	b.fine("overview of the demo")
	b.click(`main a:has-text("demo")`)
	b.seeAt("h1", "demo")
	b.click(`nav.tabs a:has-text("Transactions")`)
	b.seeAt("main table", "1 ETH")
	for end := time.Now().Add(patience); b.do("count", args{"at": "main table tbody tr"}).Value.(float64) < 3; time.Sleep(100 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("no traffic goes on")
		}
	}
	b.visit(root + "/console/")
	b.see("signatures in all")
	b.quiet()
	must(t, cmd.Process.Signal(os.Interrupt))
	if err := cmd.Wait(); err != nil {
		t.Errorf("after an interrupt: %v", err)
	}
}

// banner reads what the demo says until the end of its banner, and the link to the
// console in it. What follows is read as well, so that the demo never waits for it.
func banner(out interface{ Read([]byte) (int, error) }) (said, link string) {
	lines := bufio.NewScanner(out)
	console := regexp.MustCompile(`http://\S+/console/sign-in#\S+`)
	for lines.Scan() {
		said += lines.Text() + "\n"
		if found := console.FindString(lines.Text()); found != "" {
			link = found
		}
		if link != "" && strings.Contains(lines.Text(), "Ctrl-C") {
			break
		}
	}
	go func() {
		for lines.Scan() { // to its end, or it could not write any more
		}
	}()
	return said, link
}
