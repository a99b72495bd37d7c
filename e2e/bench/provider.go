// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ethereum/go-ethereum/common"

	"github.com/hsmsigner/hsmsigner/internal/key"
	"github.com/hsmsigner/hsmsigner/internal/secp"
)

// provider is an adapter, and the SDK below it by itself, on one service and with
// the same client settings.
type provider struct {
	name  string
	call  string // what bare calls, in the words of the SDK
	bare  func(context.Context, [32]byte) error
	local bool // it asks nobody over a network

	backend key.Backend
	ref     key.Ref
	address common.Address

	// What the service has counted so far, and what that is called. Counted is a
	// backend that is counted in place of backend; nil: backend itself.
	counted                  key.Backend
	calls, links             func() (int, error)
	countedCall, countedLink string
}

// closes closes the backend with the part.
func (b *bench) closes(backend key.Backend) {
	b.h.Cleanup(func() {
		if err := backend.Close(); err != nil {
			b.h.Logf("bench: %v", err)
		}
	})
}

func (pr *provider) sign(ctx context.Context, digest [32]byte) error {
	_, err := pr.backend.SignDigest(ctx, pr.ref, digest)
	return err
}

const (
	warmers = 64 // signatures at a time, to open all connections
	burst   = 32 // signatures at a time while they are counted
	bursts  = 10
)

// count makes signatures, checks each, and returns how many calls one took, and how
// many connections they opened although enough were open.
func (pr *provider) count(ctx context.Context) (calls, links float64, err error) {
	backend := pr.counted
	if backend == nil {
		backend = pr.backend
	}
	for range 2 {
		if err := pr.together(ctx, backend, warmers); err != nil {
			return 0, 0, err
		}
	}
	callsBefore, err1 := pr.calls()
	linksBefore, err2 := pr.links()
	for range bursts {
		err = errors.Join(err, pr.together(ctx, backend, burst))
	}
	callsAfter, err3 := pr.calls()
	linksAfter, err4 := pr.links()
	if err := errors.Join(err, err1, err2, err3, err4); err != nil {
		return 0, 0, err
	}
	if calls = float64(callsAfter-callsBefore) / (burst * bursts); calls < 1 {
		return 0, 0, fmt.Errorf("the service counted %.2f calls per signature", calls)
	}
	return calls, float64(linksAfter - linksBefore), nil
}

func (pr *provider) together(ctx context.Context, backend key.Backend, n int) error {
	errs := make([]error, n)
	var wg sync.WaitGroup
	for i := range errs {
		wg.Go(func() {
			digest := digestOf(uint64(i))
			sig, err := backend.SignDigest(ctx, pr.ref, digest)
			if err == nil {
				_, err = secp.Finish(pr.address, digest, sig.R, sig.S)
			}
			errs[i] = err
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// digestOf is another digest for every n.
func digestOf(n uint64) (d [32]byte) {
	binary.BigEndian.PutUint64(d[:], n+1)
	d[31] = byte(n)
	return d
}

// dialer counts the connections that it opens.
type dialer struct{ opened atomic.Int64 }

func (d *dialer) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	d.opened.Add(1)
	return (&net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second}).DialContext(ctx, network, address)
}

// bareClient is an HTTP client with the settings of the adapters' own.
func (b *bench) bareClient(settings *tls.Config) *http.Client {
	settings.MinVersion = tls.VersionTLS12
	t := &http.Transport{
		DialContext: new(dialer).DialContext, TLSClientConfig: settings, ForceAttemptHTTP2: true,
		MaxIdleConns: warmers, MaxIdleConnsPerHost: warmers, IdleConnTimeout: time.Minute,
	}
	b.h.Cleanup(t.CloseIdleConnections)
	return &http.Client{Transport: t}
}

// always makes a count that cannot fail.
func always(f func() int) func() (int, error) { return func() (int, error) { return f(), nil } }
