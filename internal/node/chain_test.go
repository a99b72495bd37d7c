// SPDX-License-Identifier: Apache-2.0

package node_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/hsmsigner/hsmsigner/internal/node"
	"github.com/hsmsigner/hsmsigner/internal/node/nodetest"
)

func TestIdentityIsAskedOnceAndPinned(t *testing.T) {
	chain, c := pair(t, nodetest.Options{ChainID: 99})
	want := node.Chain{ID: 99, Genesis: chain.Genesis()}
	for range 3 {
		if got, err := c.Identity(ctx(t)); err != nil || got != want {
			t.Fatal(got, err)
		}
	}
	if n := chain.Calls("eth_chainId"); n != 1 {
		t.Errorf("asked %d times", n)
	}
	chain.Reset()
	if got, err := c.FreshIdentity(ctx(t)); err != nil || got.ID != 99 || got.Genesis == want.Genesis || got.Genesis != chain.Genesis() {
		t.Error("a chain started anew is not noticed:", got, err)
	}
	if got, _ := c.Identity(ctx(t)); got != want {
		t.Error("the remembered identity changed")
	}
}

func TestChangedChainIDIsRefused(t *testing.T) {
	chain := nodetest.New(t, nodetest.Options{ChainID: 5})
	c := client(t, node.Config{URL: chain.URL(), ChainID: 5})
	if err := c.VerifyChain(ctx(t)); err != nil {
		t.Fatal(err)
	}
	chain.SetChainID(6)
	var mismatch *node.ChainMismatchError
	if err := c.VerifyChain(ctx(t)); !errors.As(err, &mismatch) || *mismatch != (node.ChainMismatchError{Want: 5, Got: 6}) {
		t.Error(err)
	}
	if err := c.Health(ctx(t)); !errors.As(err, &mismatch) {
		t.Error(err)
	}
	if _, err := c.FreshIdentity(ctx(t)); !errors.As(err, &mismatch) {
		t.Error(err)
	}
}

func TestFirstAnswerPinsTheChain(t *testing.T) {
	chain, c := pair(t, nodetest.Options{ChainID: 5})
	if err := c.VerifyChain(ctx(t)); err != nil {
		t.Fatal(err)
	}
	chain.SetChainID(6)
	var mismatch *node.ChainMismatchError
	if err := c.VerifyChain(ctx(t)); !errors.As(err, &mismatch) {
		t.Error(err)
	}
}

func TestAbsurdChainIDsAreBad(t *testing.T) {
	for _, answer := range []string{`"0x0"`, `null`, `"0x8000000000000000"`, `1`, `"1"`, `"0x"`, `{}`} {
		c := client(t, node.Config{URL: answering(t, func(w http.ResponseWriter, body []byte) { answerTo(w, body, answer) })})
		if err := c.VerifyChain(ctx(t)); !errors.Is(err, node.ErrBadResponse) {
			t.Errorf("%s: %v", answer, err)
		}
	}
}

func TestConcurrentVerificationsShareFewCalls(t *testing.T) {
	chain, c := pair(t, nodetest.Options{})
	chain.Delay("eth_chainId", time.Second) // longer than it takes until all are there
	var wg sync.WaitGroup
	for range 300 {
		wg.Go(func() {
			if err := c.VerifyChain(context.Background()); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := chain.Calls("eth_chainId"); n > 5 {
		t.Errorf("%d calls for 300 callers", n)
	}
}

// TestVerificationIsNeverOlderThanItsCaller: the chain id changes while a check
// is under way; a caller that comes after the change must not be served by it.
func TestVerificationIsNeverOlderThanItsCaller(t *testing.T) {
	first := make(chan struct{})
	let := make(chan struct{})
	var mu sync.Mutex
	id, n := 1, 0
	c := client(t, node.Config{ChainID: 1, URL: answering(t, func(w http.ResponseWriter, body []byte) {
		mu.Lock()
		answer := fmt.Sprintf(`"0x%x"`, id)
		n++
		one := n == 1
		mu.Unlock()
		if one {
			close(first)
			<-let
		}
		answerTo(w, body, answer)
	})})
	early, late := make(chan error, 1), make(chan error, 1)
	go func() { early <- c.VerifyChain(context.Background()) }()
	<-first
	mu.Lock()
	id = 2
	mu.Unlock()
	go func() { late <- c.VerifyChain(context.Background()) }()
	time.Sleep(50 * time.Millisecond)
	close(let)
	if err := <-early; err != nil {
		t.Error("early:", err)
	}
	var mismatch *node.ChainMismatchError
	if err := <-late; !errors.As(err, &mismatch) {
		t.Error("late caller got the answer of an earlier check:", err)
	}
}

func TestVerificationObeysItsCallersContext(t *testing.T) {
	chain, c := pair(t, nodetest.Options{})
	defer chain.Hang("eth_chainId")()
	short, cancel := context.WithTimeout(context.Background(), 30*time.Millisecond)
	defer cancel()
	if err := c.VerifyChain(short); !errors.Is(err, node.ErrTimeout) {
		t.Error(err)
	}
}
