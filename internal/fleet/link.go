// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/hsmsigner/hsmsigner/internal/config"
	"github.com/hsmsigner/hsmsigner/internal/node"
)

// link is a node's client and the wallets that use it.
type link struct {
	fleet  *Fleet
	key    Version
	client *node.Client
	ctx    context.Context // ends with the link
	stop   context.CancelFunc
	users  int           // guarded by Fleet.mu
	known  chan struct{} // closed when the node has shown the pinned chain

	mu      sync.Mutex
	err     error // of the last try to see that
	checked time.Time
}

// verifyPause is the longest time between two tries to see a node's chain.
const verifyPause = 5 * time.Second

// link gives the client of a node, which release gives back. Where the node has
// one in that version it is shared, unless it is to be a fresh one.
func (f *Fleet) link(v Version, n config.Node, dial Dial, fresh bool, log *slog.Logger) (*link, error) {
	if l := f.sharedLink(v); l != nil && !fresh {
		return l, nil
	} else if l != nil {
		f.releaseLink(l)
	}
	client, err := openNode(n, dial, log)
	if err != nil {
		return nil, fmt.Errorf("node: %w", err)
	}
	l := &link{fleet: f, key: v, client: client, users: 1, known: make(chan struct{})}
	if !fresh {
		if other := f.sharedLink(v); other != nil { // opened meanwhile
			client.Close()
			return other, nil
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if v.ID != "" {
		f.links[v] = l
	}
	l.ctx, l.stop = context.WithCancel(f.ctx)
	f.wg.Go(l.verify)
	return l, nil
}

func (f *Fleet) sharedLink(v Version) *link {
	f.mu.Lock()
	defer f.mu.Unlock()
	if v.ID == "" {
		return nil
	}
	l := f.links[v]
	if l != nil {
		l.users++
	}
	return l
}

// releaseLink closes the client once nobody uses it.
func (f *Fleet) releaseLink(l *link) {
	f.mu.Lock()
	l.users--
	last := l.users == 0
	if last && f.links[l.key] == l {
		delete(f.links, l.key)
	}
	f.mu.Unlock()
	if last {
		l.stop()
		l.client.Close()
	}
}

// verify asks the node which chain it is until it has said so.
func (l *link) verify() {
	for wait := 250 * time.Millisecond; l.ctx.Err() == nil; wait = min(2*wait, verifyPause) {
		_, err := l.client.Identity(l.ctx)
		if err == nil {
			close(l.known)
			return
		}
		l.mu.Lock()
		if l.ctx.Err() == nil {
			l.err, l.checked = err, time.Now()
		}
		l.mu.Unlock()
		select {
		case <-l.ctx.Done():
		case <-time.After(wait):
		}
	}
}

// shown reports whether the node has shown the pinned chain once.
func (l *link) shown() bool {
	select {
	case <-l.known:
		return true
	default:
		return false
	}
}

// status is how the node was when it was last asked anything.
func (l *link) status() (verified bool, d Dependency) {
	if !l.shown() {
		l.mu.Lock()
		defer l.mu.Unlock()
		return false, Dependency{Err: l.err, Checked: l.checked}
	}
	s := l.client.Stats()
	d = Dependency{OK: s.LastSuccess.After(s.LastFailure), Checked: s.LastSuccess}
	if !d.OK {
		d.Err, d.Checked = s.LastError, s.LastFailure
	}
	return true, d
}

func openNode(n config.Node, dial Dial, log *slog.Logger) (*node.Client, error) {
	cfg := node.Config{
		ChainID: n.ChainID, Instance: n.Instance, Timeout: n.Timeout, MaxResponse: n.MaxResponse, Logger: log,
		Check: n.Check, DownAfter: n.DownAfter, MaxLag: n.MaxLag, Dwell: n.Dwell, DialContext: dial,
	}
	endpoints := n.Endpoints
	if len(endpoints) == 0 {
		endpoints = []config.NodeEndpoint{{URL: n.URL, WSURL: n.WSURL, Headers: n.Headers}}
	}
	for _, e := range endpoints {
		endpoint, err := openEndpoint(e)
		if err != nil {
			return nil, err // it names the file
		}
		cfg.Endpoints = append(cfg.Endpoints, endpoint)
	}
	return node.New(cfg)
}

// openEndpoint reveals what the node's client needs of an endpoint.
func openEndpoint(e config.NodeEndpoint) (node.Endpoint, error) {
	out := node.Endpoint{Name: e.Name, Headers: make(map[string]string, len(e.Headers))}
	var err error
	if out.URL, err = e.URL.Reveal(); err != nil {
		return out, err
	}
	if e.WSURL.Set() {
		if out.WSURL, err = e.WSURL.Reveal(); err != nil {
			return out, err
		}
	}
	for name, value := range e.Headers {
		if out.Headers[name], err = value.Reveal(); err != nil {
			return out, fmt.Errorf("headers.%s: %w", name, err)
		}
	}
	return out, nil
}
