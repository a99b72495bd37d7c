// SPDX-License-Identifier: Apache-2.0

package syslog

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"sync/atomic"
	"time"
)

// link is a connection to a server.
type link struct {
	conn    net.Conn
	below   *counted // conn, or what TLS runs over
	stream  bool
	timeout time.Duration
	broken  atomic.Pointer[error] // by which the server's side was found to be gone
}

// dial connects. Of a Unix socket it finds out by itself which sort it is.
func (s Server) dial(ctx context.Context) (*link, error) {
	ctx, cancel := context.WithTimeout(ctx, s.timeout())
	defer cancel()
	l := &link{timeout: s.timeout(), stream: s.Network != "udp"}
	var d net.Dialer
	var conn net.Conn
	var err error
	switch s.Network {
	case "udp", "tcp":
		conn, err = d.DialContext(ctx, s.Network, s.Address)
	case "tls":
		conn, err = d.DialContext(ctx, "tcp", s.Address)
	case "unix":
		if conn, err = d.DialContext(ctx, "unixgram", s.Address); err == nil {
			l.stream = false
		} else {
			conn, err = d.DialContext(ctx, "unix", s.Address)
		}
	default:
		err = fmt.Errorf("no network %q: want udp, tcp, tls or unix", s.Network)
	}
	if err == nil {
		l.below = &counted{Conn: conn}
		l.conn = l.below
		if s.Network == "tls" {
			l.conn, err = s.handshake(ctx, l.below)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("syslog: %w", err)
	}
	if l.stream {
		go l.watch()
	}
	return l, nil
}

// counted counts the bytes that were written.
type counted struct {
	net.Conn
	n atomic.Int64
}

// Write implements io.Writer.
func (c *counted) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	c.n.Add(int64(n))
	return n, err
}

// written is how many bytes were given to the kernel.
func (l *link) written() int64 { return l.below.n.Load() }

// acknowledged is how many of them the other side has, as far as the kernel knows.
func (l *link) acknowledged() int64 {
	n, known := unsent(l.below.Conn)
	if !known {
		return 0
	}
	return l.written() - int64(n)
}

func (s Server) handshake(ctx context.Context, below net.Conn) (net.Conn, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if s.TLS != nil {
		config = s.TLS.Clone()
	}
	if config.ServerName == "" {
		host, _, err := net.SplitHostPort(s.Address)
		if err != nil {
			return nil, errors.Join(err, below.Close())
		}
		config.ServerName = host
	}
	conn := tls.Client(below, config)
	if err := conn.HandshakeContext(ctx); err != nil {
		return nil, errors.Join(err, below.Close())
	}
	return conn, nil
}

func (s Server) timeout() time.Duration {
	if s.Timeout > 0 {
		return s.Timeout
	}
	return 10 * time.Second
}

// watch finds out that the server has closed: it never sends anything, so all
// that can be read is the end. It ends with the connection.
func (l *link) watch() {
	_, err := io.Copy(io.Discard, l.conn)
	if err == nil {
		err = io.EOF
	}
	l.broken.Store(&err)
}

// err says why nothing more will arrive; nil if nothing is known against it.
func (l *link) err() error {
	if e := l.broken.Load(); e != nil {
		return fmt.Errorf("syslog: the server has ended the connection: %w", *e)
	}
	return nil
}

func (l *link) write(message []byte) error {
	if err := l.conn.SetWriteDeadline(time.Now().Add(l.timeout)); err != nil {
		return fmt.Errorf("syslog: %w", err)
	}
	if l.stream {
		message = framed(message)
	}
	if _, err := l.conn.Write(message); err != nil {
		return fmt.Errorf("syslog: %w", err)
	}
	return nil
}

func (l *link) close() { _ = l.conn.Close() }
