// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/hsmsigner/hsmsigner/e2e/bench/stub"
)

// startStub serves a stub node, and stops it with the test.
func startStub(t *testing.T) (address string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- stub.New(chainID).Serve(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return l.Addr().String()
}

func blockNumber(address string) []byte {
	return httpPost(address, `{"jsonrpc":"2.0","id":1,"method":"eth_blockNumber","params":[]}`)
}

func TestLoadCountsEveryAnswer(t *testing.T) {
	address := startStub(t)
	requests := [][]byte{blockNumber(address), blockNumber(address), blockNumber(address)}
	a, err := target{Addresses: []string{address}, Requests: requests, Conns: 2}.load(t.Context(), 2*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	served := 0
	for i, n := range a.Served {
		if served += n; n == 0 {
			t.Errorf("request %d was never sent", i)
		}
	}
	if served != len(a.Took) || served == 0 {
		t.Errorf("%d answers by request, %d times", served, len(a.Took))
	}
	if p50, p99 := quantile(a.Took, .5), quantile(a.Took, .99); p50 <= 0 || p99 < p50 {
		t.Errorf("p50 %s, p99 %s", p50, p99)
	}
}

func TestOnceSendsEachRequestOnce(t *testing.T) {
	address := startStub(t)
	requests := make([][]byte, 10)
	for i := range requests {
		requests[i] = blockNumber(address)
	}
	a, err := target{Addresses: []string{address}, Requests: requests, Conns: 3, Once: true}.load(t.Context(), time.Minute)
	if err != nil || len(a.Took) != len(requests) {
		t.Fatalf("%d answers, %v; want %d", len(a.Took), err, len(requests))
	}
}

func TestLoadFailsWithAnErrorAnswer(t *testing.T) {
	address := startStub(t)
	body := httpPost(address, `{"jsonrpc":"2.0","id":1,"method":"no_suchMethod","params":[]}`)
	_, err := target{Addresses: []string{address}, Requests: [][]byte{body}, Conns: 1}.load(t.Context(), time.Minute)
	if err == nil || !strings.Contains(err.Error(), "no_suchMethod") {
		t.Errorf("got %v, want the node's error", err)
	}
}

func TestMiddleOfRatesAndTheirSpread(t *testing.T) {
	if median, spread := middle([]float64{90, 110, 100}); median != 100 || spread != .2 {
		t.Errorf("median %v, spread %v; want 100 and 0.2", median, spread)
	}
	if median, _ := middle([]float64{1, 2, 3, 4}); median != 2.5 {
		t.Errorf("median of four %v, want 2.5", median)
	}
}

func TestEveryPartHasAName(t *testing.T) {
	for _, p := range parts() {
		o, err := parse([]string{"-only", p.name}, t.Output())
		if err != nil || len(o.only) != 1 || p.title == "" || p.run == nil {
			t.Errorf("part %q: %+v, %v", p.name, o, err)
		}
	}
	if _, err := parse([]string{"-only", "everything"}, t.Output()); err == nil {
		t.Error("an unknown part: no error")
	}
}
