// SPDX-License-Identifier: Apache-2.0

package stub

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net"
	"strconv"
	"time"
)

// Serve answers JSON-RPC over HTTP/1.1 and mines, until ctx ends.
func (c *Chain) Serve(ctx context.Context, l net.Listener) error {
	stop := context.AfterFunc(ctx, func() { _ = l.Close() })
	defer stop()
	go func() {
		tick := time.NewTicker(Interval)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				c.Mine()
			case <-ctx.Done():
				return
			}
		}
	}()
	for {
		conn, err := l.Accept()
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
		go func() {
			defer conn.Close()
			_ = c.talk(conn) // the peer went away, or speaks something else
		}()
	}
}

// The length has a fixed width, so that head and body are written at once.
const (
	headStart = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: "
	headEnd   = "\r\n\r\n"
	lengthAt  = len(headStart)
	bodyAt    = lengthAt + 10 + len(headEnd)
)

// maxBody bounds a request; the daemon's batches stay under 2 MiB.
const maxBody = 8 << 20

// talk serves one connection.
func (c *Chain) talk(conn net.Conn) error {
	in := bufio.NewReaderSize(conn, 64<<10)
	var body, out []byte
	for {
		length, err := readHead(in)
		if err != nil || length > maxBody {
			return err
		}
		if cap(body) < length {
			body = make([]byte, length)
		}
		body = body[:length]
		if _, err := io.ReadFull(in, body); err != nil {
			return err
		}
		out = append(append(append(out[:0], headStart...), "0000000000"...), headEnd...)
		out = c.answer(out, body)
		digits := strconv.AppendInt(nil, int64(len(out)-bodyAt), 10)
		copy(out[lengthAt+10-len(digits):], digits)
		if _, err := conn.Write(out); err != nil {
			return err
		}
	}
}

var contentLength = []byte("content-length:")

func readHead(in *bufio.Reader) (length int, err error) {
	for {
		line, err := in.ReadSlice('\n')
		if err != nil {
			return 0, err
		}
		if len(line) <= 2 {
			return length, nil
		}
		if len(line) > len(contentLength) && (line[0] == 'C' || line[0] == 'c') && bytes.EqualFold(line[:len(contentLength)], contentLength) {
			if length, err = strconv.Atoi(string(bytes.TrimSpace(line[len(contentLength):]))); err != nil {
				return 0, err
			}
		}
	}
}
