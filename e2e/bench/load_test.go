// SPDX-License-Identifier: Apache-2.0

package main

import (
	"strings"
	"testing"
	"time"

	"github.com/hsmsigner/hsmsigner/internal/node/nodetest"
)

func TestLoadCountsEveryAnswer(t *testing.T) {
	node := nodetest.New(t, nodetest.Options{})
	body := []byte(`{"jsonrpc":"2.0","id":1,"method":"eth_blockNumber","params":[]}`)
	s, err := load(t.Context(), "node", strings.TrimPrefix(node.URL(), "http://"), 4, 200*time.Millisecond, func() ([]byte, error) { return body, nil })
	if err != nil {
		t.Fatal(err)
	}
	if got := node.Calls("eth_blockNumber"); got != s.Count || got == 0 {
		t.Errorf("counted %d answers, the node gave %d", s.Count, got)
	}
	if s.P50 <= 0 || s.P99 < s.P50 {
		t.Errorf("p50 %s, p99 %s", s.P50, s.P99)
	}
}

func TestLoadFailsWithAnErrorAnswer(t *testing.T) {
	node := nodetest.New(t, nodetest.Options{})
	body := []byte(`{"jsonrpc":"2.0","id":1,"method":"no_suchMethod","params":[]}`)
	_, err := load(t.Context(), "node", strings.TrimPrefix(node.URL(), "http://"), 1, time.Second, func() ([]byte, error) { return body, nil })
	if err == nil || !strings.Contains(err.Error(), "no_suchMethod") {
		t.Errorf("got %v, want the node's error", err)
	}
}

func TestPresignedTransactionsAreAllMined(t *testing.T) {
	node := nodetest.New(t, nodetest.Options{
		ChainID: chainID, DefaultBalance: nodetest.Ether(1_000_000), Interval: 100 * time.Millisecond, GasLimit: 1_000_000_000, AccountQueue: 1 << 16,
	})
	s, err := sendRaw(t.Context(), strings.TrimPrefix(node.URL(), "http://"), 500*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%+v", s)
}
