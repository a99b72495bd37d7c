// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/hsmsigner/hsmsigner/e2e/harness"
	"github.com/hsmsigner/hsmsigner/internal/node/nodetest"
)

// chainID of the stub node.
const chainID = 1337

// child is a process that this program starts of itself: "node ADDRESS" or "proxy
// ADDRESS TARGET". It runs until it is killed.
func child(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	var err error
	switch {
	case args[0] == "node" && len(args) == 2:
		err = stubNode(ctx, args[1])
	case args[0] == "proxy" && len(args) == 3:
		err = bareProxy(ctx, args[1], args[2])
	default:
		err = errors.New("want node ADDRESS or proxy ADDRESS TARGET")
	}
	if err != nil {
		fmt.Fprintln(stderr, "bench:", err)
		return 1
	}
	return 0
}

func stubNode(ctx context.Context, address string) error {
	node, err := nodetest.Start(nodetest.Options{
		ChainID:        chainID,
		DefaultBalance: nodetest.Ether(1_000_000),
		Interval:       100 * time.Millisecond,
		GasLimit:       1_000_000_000,
		AccountQueue:   1 << 16, // presigned transactions arrive in any order
		Listen:         address,
	})
	if err != nil {
		return err
	}
	defer node.Close()
	<-ctx.Done()
	return nil
}

// bareProxy is the least that anything between client and node can be in Go.
func bareProxy(ctx context.Context, address, target string) error {
	to, err := url.Parse(target)
	if err != nil {
		return err
	}
	server := http.Server{Addr: address, ReadHeaderTimeout: 10 * time.Second, Handler: &httputil.ReverseProxy{
		Rewrite:   func(r *httputil.ProxyRequest) { r.SetURL(to) },
		Transport: &http.Transport{MaxIdleConns: 1024, MaxIdleConnsPerHost: 1024, DisableCompression: true},
	}}
	context.AfterFunc(ctx, func() { server.Close() })
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// startSelf starts this program as a child and waits until it listens.
func startSelf(h *host, role string, args ...string) (address string) {
	self, err := os.Executable()
	if err != nil {
		h.Fatalf("%v", err)
	}
	address = harness.FreeAddress(h)
	process := harness.Start(h, role, self, append([]string{role, address}, args...)...)
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		conn, err := net.Dial("tcp", address)
		if err == nil {
			conn.Close()
			return address
		}
		if process.Ended() || time.Now().After(end) {
			h.Fatalf("%s does not listen on %s: %v\n%s", role, address, err, process.Output())
		}
	}
}

// machine says on what this was measured.
func machine() string {
	name := "unknown processor"
	if f, err := os.Open("/proc/cpuinfo"); err == nil {
		defer f.Close()
		for s := bufio.NewScanner(f); s.Scan(); {
			if k, v, ok := strings.Cut(s.Text(), ":"); ok && strings.TrimSpace(k) == "model name" {
				name = strings.TrimSpace(v)
				break
			}
		}
	}
	return fmt.Sprintf("%d × %s", numCPU(), name)
}
