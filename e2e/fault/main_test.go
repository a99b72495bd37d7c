// SPDX-License-Identifier: Apache-2.0

package fault

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"sync"
	"testing"

	"github.com/hsmsigner/hsmsigner/e2e/harness"
)

// shared is the rig of all tests of this package; the first that wants it pays.
var shared struct {
	once sync.Once
	rig  *Rig
	err  error
	dir  string

	serverOnce sync.Once
	server     *Server
	serverErr  error
}

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "hsmsigner-fault-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	shared.dir = dir
	code := m.Run()
	if shared.server != nil {
		_ = shared.server.Close()
	}
	if shared.rig != nil {
		_ = shared.rig.Close()
	}
	if code == 0 { // else somebody will want to look
		_ = os.RemoveAll(dir)
	}
	return code
}

func rig(t *testing.T) *Rig {
	t.Helper()
	shared.once.Do(func() {
		var bin harness.Binaries
		if bin, shared.err = harness.BuildFaulty(shared.dir); shared.err == nil {
			shared.rig, shared.err = NewRig(context.Background(), bin, shared.dir)
		}
	})
	if shared.err != nil {
		t.Fatal(shared.err)
	}
	return shared.rig
}

// number is an environment variable's, or a default.
func number(t *testing.T, name string, def int) int {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return def
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		t.Fatalf("%s=%q: want a number from 1", name, text)
	}
	return n
}

// postgres is the server of all tests of this package.
func postgres(t *testing.T) *Server {
	t.Helper()
	shared.serverOnce.Do(func() { shared.server, shared.serverErr = StartServer(context.Background()) })
	if shared.serverErr != nil {
		t.Fatal(shared.serverErr)
	}
	return shared.server
}
