// SPDX-License-Identifier: Apache-2.0

package fault

import (
	"context"
	"fmt"
	"net"
	"sync"
	"time"
)

// LinkFault is something that goes wrong on a TCP connection.
type LinkFault string

// The faults of a link.
const (
	LinkUp      LinkFault = "up"           // none
	LinkCut     LinkFault = "link-cut"     // connections break as soon as a byte moves, new ones are refused
	LinkStall   LinkFault = "link-stall"   // nothing moves, and nobody is told
	LinkDelay   LinkFault = "link-delay"   // what the server says comes late
	LinkSilence LinkFault = "link-silence" // the server gets everything, and what it says is lost: a COMMIT of unknown outcome
)

// LinkFaults lists all but LinkUp.
func LinkFaults() []LinkFault { return []LinkFault{LinkCut, LinkStall, LinkDelay, LinkSilence} }

// Link is a TCP proxy between a daemon and its database. It knows nothing of what
// it carries. It is safe for concurrent use.
type Link struct {
	Address  string
	network  string
	target   string
	listener net.Listener
	wg       sync.WaitGroup

	mu      sync.Mutex
	state   LinkFault
	changed chan struct{} // closed when state changes
	conns   map[net.Conn]struct{}
	closed  bool
}

// NewLink starts a proxy on loopback for a server at a network ("tcp" or "unix")
// and address.
func NewLink(network, target string) (*Link, error) {
	listener, err := new(net.ListenConfig).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("fault: link: %w", err)
	}
	l := &Link{
		Address: listener.Addr().String(), network: network, target: target, listener: listener,
		state: LinkUp, changed: make(chan struct{}), conns: map[net.Conn]struct{}{},
	}
	l.wg.Go(l.accept)
	return l, nil
}

// Set changes what happens on all connections, present and future. What a fault
// but LinkDelay has done to a connection cannot be mended: going back to LinkUp
// breaks those, as a router that comes back does.
func (l *Link) Set(f LinkFault) {
	l.mu.Lock()
	defer l.mu.Unlock()
	was := l.state
	l.state = f
	close(l.changed)
	l.changed = make(chan struct{})
	if f == LinkCut || was == LinkSilence {
		for c := range l.conns {
			reset(c)
		}
	}
}

// Close breaks everything.
func (l *Link) Close() {
	l.mu.Lock()
	l.closed = true
	_ = l.listener.Close()
	close(l.changed)
	l.changed = make(chan struct{})
	for c := range l.conns {
		reset(c)
	}
	l.mu.Unlock()
	l.wg.Wait()
}

// reset closes a connection with RST, as a crash does.
func reset(c net.Conn) {
	if tcp, ok := c.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = c.Close()
}

func (l *Link) accept() {
	for {
		client, err := l.listener.Accept()
		if err != nil {
			return
		}
		l.mu.Lock()
		refuse := l.state == LinkCut || l.closed
		l.mu.Unlock()
		if refuse {
			reset(client)
			continue
		}
		server, err := (&net.Dialer{Timeout: 5 * time.Second}).DialContext(context.Background(), l.network, l.target)
		if err != nil {
			reset(client)
			continue
		}
		if !l.keep(client, server) {
			continue
		}
		l.wg.Go(func() { l.carry(server, client, false) })
		l.wg.Go(func() { l.carry(client, server, true) })
	}
}

func (l *Link) keep(conns ...net.Conn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, c := range conns {
		if l.closed {
			reset(c)
			continue
		}
		l.conns[c] = struct{}{}
	}
	return !l.closed
}

// carry copies from one side to the other until either breaks. reply says that
// it is the server who speaks.
func (l *Link) carry(to, from net.Conn, reply bool) {
	defer func() {
		l.mu.Lock()
		delete(l.conns, to)
		delete(l.conns, from)
		l.mu.Unlock()
		reset(to)
		reset(from)
	}()
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		if n > 0 {
			switch f := l.pass(); {
			case f == LinkCut:
				return
			case f == LinkSilence && reply:
				continue
			case f == LinkDelay && reply:
				time.Sleep(5 * time.Millisecond)
			}
			if _, err := to.Write(buf[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// pass waits while the link stalls, and says what happens to the next bytes.
func (l *Link) pass() LinkFault {
	for {
		l.mu.Lock()
		f, changed, closed := l.state, l.changed, l.closed
		l.mu.Unlock()
		switch {
		case closed:
			return LinkCut
		case f != LinkStall:
			return f
		}
		<-changed
	}
}
