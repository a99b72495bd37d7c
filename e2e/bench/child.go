// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"runtime/debug"
	"time"

	"github.com/hsmsigner/hsmsigner/e2e/bench/stub"
	"github.com/hsmsigner/hsmsigner/e2e/harness"
	"github.com/hsmsigner/hsmsigner/internal/node/nodetest"
)

// chainID of the stub nodes.
const chainID = 1337

// child is a process that this program starts of itself: "stub ADDRESS", "feed
// ADDRESS" or "proxy ADDRESS TARGET". It runs until it is killed.
func child(ctx context.Context, args []string, stderr io.Writer) int {
	var err error
	switch {
	case args[0] == "stub" && len(args) == 2:
		err = stubNode(ctx, args[1])
	case args[0] == "feed" && len(args) == 2:
		err = feedNode(ctx, args[1])
	case args[0] == "proxy" && len(args) == 3:
		err = bareProxy(ctx, args[1], args[2])
	default:
		err = errors.New("want stub ADDRESS, feed ADDRESS or proxy ADDRESS TARGET")
	}
	if err != nil {
		fmt.Fprintln(stderr, "bench:", err)
		return 1
	}
	return 0
}

func stubNode(ctx context.Context, address string) error {
	debug.SetGCPercent(800) // its memory is nobody's concern, its time is
	l, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	return stub.New(chainID).Serve(ctx, l)
}

// feedNode is a node with WebSocket subscriptions, for what is not about speed.
func feedNode(ctx context.Context, address string) error {
	node, err := nodetest.Start(nodetest.Options{
		ChainID: chainID, DefaultBalance: nodetest.Ether(1_000_000), Interval: time.Second, Listen: address,
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

// own is a child of this program.
type own struct {
	*harness.Process
	address string
}

// startSelf starts this program as a child and waits until it listens.
func startSelf(h *host, role string, args ...string) own {
	self, err := os.Executable()
	if err != nil {
		h.Fatalf("%v", err)
	}
	c := own{address: harness.FreeAddress(h)}
	c.Process = harness.Start(h, role, self, append([]string{role, c.address}, args...)...)
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		conn, err := net.Dial("tcp", c.address)
		if err == nil {
			conn.Close()
			return c
		}
		if c.Ended() || time.Now().After(end) {
			h.Fatalf("%s does not listen on %s: %v\n%s", role, c.address, err, c.Output())
		}
	}
}
