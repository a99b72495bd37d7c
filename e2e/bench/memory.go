// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/coder/websocket"

	"github.com/hsmsigner/hsmsigner/e2e/harness"
)

const (
	sockets       = 1000
	knownAccounts = 10_000
)

// memory measures how soon a daemon with many accounts and stored transactions is
// ready, and how much memory it holds with many idle WebSockets.
func memory(ctx context.Context, b *bench, p *Part) error {
	s, d, err := b.startLarge(ctx, setup{Limits: fmt.Sprintf("connections: %d", sockets+10)})
	if err != nil {
		return err
	}
	first := d.Ready
	var ready []float64
	for range b.rounds {
		d.Stop()
		d.start()
		ready = append(ready, d.Ready.Seconds())
	}
	median, spread := middle(ready)
	p.atMost(fmt.Sprintf("until ready, with %d known accounts and %d stored transactions", knownAccounts, s.rows), median, 2, "s")
	p.note("spread of the %d starts %.0f %%; the start that saw the accounts for the first time took %.2f s", b.rounds, 100*spread, first.Seconds())

	if err := d.awaitAccounts(knownAccounts); err != nil {
		return err
	}
	before := mib(d.Memory())
	close, err := subscribe(ctx, d.Address)
	if err != nil {
		return err
	}
	defer close()
	time.Sleep(5 * time.Second) // a few heads to everybody
	p.atMost(fmt.Sprintf("resident with %d idle WebSockets, each with a subscription", sockets), mib(d.Memory()), 200, "MiB")
	p.note("%.0f MiB before the WebSockets, at most %.0f MiB since the start", before, mib(d.PeakMemory()))
	return nil
}

// startLarge starts a daemon that knows many accounts, on a database with a million
// transactions, which is made if no part before has left one.
func (b *bench) startLarge(ctx context.Context, s setup) (*seeded, *daemon, error) {
	if b.seeded == nil {
		if _, _, err := b.withRows(ctx, "", millionRows); err != nil {
			return nil, nil, err
		}
		b.h.sweep()
	}
	b.seeded.keys.Add(b.h, max(0, knownAccounts-len(b.seeded.keys.Addresses)))
	s.Node, s.Keys, s.Data = startSelf(b.h, "feed").address, b.seeded.keys, b.seeded.data
	d := b.startDaemon(s)
	return b.seeded, d, d.awaitAccounts(knownAccounts)
}

func mib(bytes int64) float64 { return float64(bytes) / (1 << 20) }

// awaitAccounts waits until the daemon knows n accounts.
func (d *daemon) awaitAccounts(n int) error {
	got := 0
	for end := time.Now().Add(2 * time.Minute); time.Now().Before(end); time.Sleep(200 * time.Millisecond) {
		text, err := call(d.Address, "eth_accounts", "")
		if err != nil {
			return err
		}
		if got = strings.Count(text, "0x"); got == n {
			return nil
		}
	}
	return fmt.Errorf("the daemon knows %d accounts after two minutes, want %d", got, n)
}

// subscribe opens the WebSockets, and subscribes each to new heads. It returns
// when each has heard of one.
func subscribe(ctx context.Context, address string) (closeAll func(), err error) {
	conns := make([]*websocket.Conn, sockets)
	errs := make([]error, sockets)
	var wg sync.WaitGroup
	slots := make(chan struct{}, 50)
	for i := range conns {
		wg.Go(func() {
			slots <- struct{}{}
			conns[i], errs[i] = dialHeads(ctx, address)
			<-slots
		})
	}
	wg.Wait()
	closeAll = func() {
		for _, c := range conns {
			if c != nil {
				_ = c.CloseNow()
			}
		}
	}
	for i, err := range errs {
		if err != nil {
			closeAll()
			return nil, fmt.Errorf("WebSocket %d: %w", i, err)
		}
	}
	for _, c := range conns {
		go func() { // an idle client reads all the same
			for {
				if _, _, err := c.Read(ctx); err != nil {
					return
				}
			}
		}()
	}
	return closeAll, nil
}

func dialHeads(ctx context.Context, address string) (*websocket.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	c, err := harness.DialWS(ctx, "ws://"+address)
	if err != nil {
		return nil, err
	}
	if err := c.Write(ctx, websocket.MessageText, []byte(`{"jsonrpc":"2.0","id":1,"method":"eth_subscribe","params":["newHeads"]}`)); err != nil {
		return c, err
	}
	for range 2 { // the answer, and a head
		_, text, err := c.Read(ctx)
		if err != nil {
			return c, err
		}
		if strings.Contains(string(text), `"error"`) {
			return c, fmt.Errorf("answer %s", text)
		}
	}
	return c, nil
}
