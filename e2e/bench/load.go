// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"slices"
	"sync"
	"time"
)

func numCPU() int { return runtime.NumCPU() }

// Sample is what one load against one target gave.
type Sample struct {
	Name      string        `json:"name"`
	PerSecond float64       `json:"per_second"`
	P50       time.Duration `json:"p50_ns"`
	P99       time.Duration `json:"p99_ns"`
	Count     int           `json:"count"`
	CPU       time.Duration `json:"cpu_ns,omitempty"` // that the daemon used per request; 0: not known
}

// conn is one keep-alive HTTP connection. It does as little as possible itself,
// since it shares the machine with what it measures.
type conn struct {
	net.Conn
	in   *bufio.Reader
	host string
	body []byte
}

func dialConn(address string) (*conn, error) {
	c, err := net.Dial("tcp", address)
	if err != nil {
		return nil, err
	}
	return &conn{Conn: c, in: bufio.NewReader(c), host: address}, nil
}

// post sends one JSON-RPC request and returns its result. The slice is valid until
// the next post.
func (c *conn) post(body []byte) ([]byte, error) {
	var head bytes.Buffer
	fmt.Fprintf(&head, "POST / HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n", c.host, len(body))
	head.Write(body)
	if err := c.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		return nil, err
	}
	if _, err := c.Write(head.Bytes()); err != nil {
		return nil, err
	}
	reply, err := http.ReadResponse(c.in, nil)
	if err != nil {
		return nil, err
	}
	defer reply.Body.Close()
	c.body, err = appendAll(c.body[:0], reply.Body)
	switch {
	case err != nil:
		return nil, err
	case reply.StatusCode != http.StatusOK:
		return nil, fmt.Errorf("status %d: %s", reply.StatusCode, c.body)
	case !bytes.Contains(c.body, []byte(`"result"`)):
		return nil, fmt.Errorf("answer %s", c.body)
	}
	return c.body, nil
}

func appendAll(b []byte, r io.Reader) ([]byte, error) {
	for {
		if len(b) == cap(b) {
			b = append(b, 0)[:len(b)]
		}
		n, err := r.Read(b[len(b):cap(b)])
		b = b[:len(b)+n]
		if errors.Is(err, io.EOF) {
			return b, nil
		}
		if err != nil {
			return b, err
		}
	}
}

// errDone ends the load of a connection that has nothing left to send.
var errDone = errors.New("nothing left to send")

// load lets n connections send one request after another for the given time. next
// makes the body of a request; it is called concurrently, and may return errDone.
// Any failed request fails the whole.
func load(ctx context.Context, name, address string, n int, length time.Duration, next func() ([]byte, error)) (Sample, error) {
	conns := make([]*conn, n)
	for i := range conns {
		c, err := dialConn(address)
		if err != nil {
			return Sample{}, fmt.Errorf("%s: %w", name, err)
		}
		defer c.Close()
		conns[i] = c
	}
	var (
		wg    sync.WaitGroup
		mu    sync.Mutex
		all   []time.Duration
		first error
	)
	started := time.Now()
	end := started.Add(length)
	for _, c := range conns {
		wg.Go(func() {
			took, err := c.until(ctx, end, next)
			mu.Lock()
			defer mu.Unlock()
			all = append(all, took...)
			if first == nil {
				first = err
			}
		})
	}
	wg.Wait()
	if first != nil {
		return Sample{}, fmt.Errorf("%s: %w", name, first)
	}
	return summary(name, all, time.Since(started)), nil
}

func (c *conn) until(ctx context.Context, end time.Time, next func() ([]byte, error)) ([]time.Duration, error) {
	var took []time.Duration
	for ctx.Err() == nil && time.Now().Before(end) {
		body, err := next()
		if errors.Is(err, errDone) {
			return took, nil
		}
		if err != nil {
			return took, err
		}
		started := time.Now()
		if _, err := c.post(body); err != nil {
			return took, err
		}
		took = append(took, time.Since(started))
	}
	return took, ctx.Err()
}

func summary(name string, took []time.Duration, length time.Duration) Sample {
	s := Sample{Name: name, Count: len(took), PerSecond: float64(len(took)) / length.Seconds()}
	if len(took) > 0 {
		slices.Sort(took)
		s.P50, s.P99 = took[len(took)/2], took[len(took)*99/100]
	}
	return s
}

// median returns the sample with the middle rate.
func median(samples []Sample) Sample {
	slices.SortFunc(samples, func(a, b Sample) int { return int(a.PerSecond - b.PerSecond) })
	return samples[len(samples)/2]
}
