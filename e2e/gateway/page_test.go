// SPDX-License-Identifier: Apache-2.0

package gateway_test

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/hsmsigner/hsmsigner/e2e/harness"
)

// A contract's page, in Chromium: who has signed in calls a method and sends a
// transaction by an account that he chooses.
func TestPageSendsAsWhoHasSignedIn(t *testing.T) {
	t.Parallel()
	r, w := shop(t)
	w.deploy("shop")
	page := strings.TrimPrefix(w.admin, r.daemon.AdminURL) + "/contracts/shop?ui"
	r.browse(5, "page.mjs", page, w.accounts[1].Hex())
	r.eventually(patience, "it is in the chain", func() bool { return r.node.Nonce(t, w.accounts[1]) == 1 })
}

// pages is where the console's pages of the environment are.
var pages = strings.NewReplacer("/consortia/", "/console/in/", "/environments/", "/").Replace(place)

// A contract from the console's pages, from its upload to its events.
func TestContractFromTheConsole(t *testing.T) {
	t.Parallel()
	r, w := shop(t)
	hook := receive(r)
	r.browse(5, "contracts.mjs", pages, w.id, w.from(1), hook.url)
	r.eventually(patience, "what was sent last is in the chain", func() bool {
		return w.want(http.StatusOK, "GET", "/contracts/shop/placed", nil).say("output") == "1"
	})
	r.eventually(patience, "the event is posted", func() bool {
		got := hook.got()
		return len(got) == 1 && strings.EqualFold(fmt.Sprint(got[0]["data"].(map[string]any)["buyer"]), w.from(1))
	})
}

// fromTheConsole deploys tokens from the console's pages.
func (w *wallet) fromTheConsole() {
	w.Helper()
	w.browse(3, "console.mjs", pages+"/tokens/"+w.id, w.from(0), w.from(1))
	w.answers("coin", "symbol", "CCN")
	w.answers("deeds", "balance?account="+w.from(0), "3")
	w.eventually(patience, "the transfer is in the chain", func() bool {
		return w.want(http.StatusOK, "GET", "/tokens/coin/balance?account="+w.from(1), nil).say("output") == "1250"
	})
}

// browse has a script of this folder do things in Chromium, of which so many have
// to hold.
func (r *rig) browse(holds int, script string, arguments ...string) {
	r.Helper()
	ctx, cancel := context.WithTimeout(r.Context(), 10*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "node", append([]string{script, chromium(r.T), r.daemon.AdminURL}, arguments...)...)
	cmd.Env = append(cmd.Environ(), "API_KEY="+r.Key)
	cmd.SysProcAttr, cmd.WaitDelay = harness.DieWithParent(), time.Minute
	out, err := cmd.CombinedOutput()
	r.Logf("%s", out)
	if got := strings.Count("\n"+string(out), "\nok - "); err != nil || got != holds {
		r.Errorf("%s: %d things hold, want %d: %v", script, got, holds, err)
	}
}

func chromium(t *testing.T) string {
	t.Helper()
	if path := os.Getenv("HSMSIGNER_CHROMIUM"); path != "" {
		return path
	}
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	t.Fatal("no chromium: apt-get install chromium, or name one in HSMSIGNER_CHROMIUM")
	return ""
}
