// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ethereum/go-ethereum/common"
)

// target is what a load goes to. Requests are whole HTTP requests; connection i of
// n sends numbers i, i+n, i+2n …, over and over, so that all get their turn, or
// with Pinned number i alone.
type target struct {
	Addresses []string // connection i goes to number i
	Requests  [][]byte
	Conns     int
	Pinned    bool
	Hashes    bool           // answers are transaction hashes, and kept
	Once      bool           // each request is sent once
	Keys      *atomic.Uint64 // of what has numbered in requests stands for; nil: nothing stands there
}

// numbered stands in a request for a number that each sending has for itself.
const numbered = "################"

// answers is what came of a load.
type answers struct {
	Length time.Duration
	Took   []time.Duration // of each answer, ascending
	Hashes []common.Hash
	Served []int // answers by number of the request
}

func (a *answers) perSecond() float64 { return float64(len(a.Took)) / a.Length.Seconds() }

// load sends requests over all connections for the given time, closed-loop: each
// connection sends its next request when it has the answer. Any failed request
// fails the whole.
func (t target) load(ctx context.Context, length time.Duration) (*answers, error) {
	workers := make([]*client, t.Conns)
	for i := range workers {
		c, err := dialConn(t.Addresses[i%len(t.Addresses)])
		if err != nil {
			return nil, err
		}
		defer c.Close()
		if err := c.SetDeadline(time.Now().Add(length + time.Minute)); err != nil {
			return nil, err
		}
		workers[i] = &client{conn: c, t: t, i: i, served: make([]int, len(t.Requests))}
	}
	stop := context.AfterFunc(ctx, func() {
		for _, w := range workers {
			_ = w.conn.Close()
		}
	})
	defer stop()
	var wg sync.WaitGroup
	started := time.Now()
	end := started.Add(length)
	for _, w := range workers {
		wg.Go(func() { w.err = w.until(end) })
	}
	wg.Wait()
	sum := &answers{Length: time.Since(started), Served: make([]int, len(t.Requests))}
	for _, w := range workers {
		if w.err != nil {
			return nil, errors.Join(ctx.Err(), w.err)
		}
		sum.Took = append(sum.Took, w.took...)
		sum.Hashes = append(sum.Hashes, w.hashes...)
		for i, n := range w.served {
			sum.Served[i] += n
		}
	}
	slices.Sort(sum.Took)
	return sum, nil
}

type client struct {
	conn   *conn
	t      target
	i      int
	took   []time.Duration
	hashes []common.Hash
	served []int
	err    error
}

func (w *client) until(end time.Time) error {
	w.took = make([]time.Duration, 0, 4096)
	now := time.Now()
	for at := w.i; now.Before(end); at += w.t.Conns {
		if w.t.Pinned {
			at = w.i
		}
		if w.t.Once && at >= len(w.t.Requests) {
			return nil
		}
		n := at % len(w.t.Requests)
		request := w.t.Requests[n]
		if w.t.Keys != nil {
			request = bytes.Replace(request, []byte(numbered), fmt.Appendf(nil, "%016d", w.t.Keys.Add(1)), 1)
		}
		body, err := w.conn.do(request)
		if err != nil {
			return err
		}
		if w.t.Hashes {
			h, err := hashIn(body)
			if err != nil {
				return err
			}
			w.hashes = append(w.hashes, h)
		}
		then := now
		now = time.Now()
		w.took = append(w.took, now.Sub(then))
		w.served[n]++
	}
	return nil
}

// hashIn reads the hash that is the result of an answer, or that the gateway tells.
func hashIn(body []byte) (h common.Hash, err error) {
	_, rest, ok := bytes.Cut(body, []byte(`"result":"0x`))
	if !ok {
		_, rest, ok = bytes.Cut(body, []byte(`"transactionHash":"0x`))
	}
	if !ok || len(rest) < 2*len(h) {
		return h, fmt.Errorf("no hash in the answer %s", body)
	}
	_, err = hex.Decode(h[:], rest[:2*len(h)])
	return h, err
}

// quantile of ascending times.
func quantile(sorted []time.Duration, q float64) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[min(len(sorted)-1, int(q*float64(len(sorted))))]
}
