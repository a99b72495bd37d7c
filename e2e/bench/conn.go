// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"
)

// conn is one keep-alive HTTP connection. It does as little as possible itself,
// since it shares the machine with what it measures: one write and as few reads as
// the kernel allows, nothing parsed but the status and the length.
type conn struct {
	net.Conn
	in   *bufio.Reader
	body []byte
}

func dialConn(address string) (*conn, error) {
	c, err := net.Dial("tcp", address)
	if err != nil {
		return nil, err
	}
	return &conn{Conn: c, in: bufio.NewReaderSize(c, 4<<10)}, nil
}

// httpPost is a whole HTTP request, made once and sent many times.
func httpPost(host, body string) []byte {
	return fmt.Appendf(nil, "POST / HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", host, len(body), body)
}

// do sends a request and returns the body of its answer, which is valid until the
// next do. Any other answer than a JSON-RPC result, or the gateway's word that it
// has sent a transaction, is an error.
func (c *conn) do(request []byte) ([]byte, error) {
	if _, err := c.Write(request); err != nil {
		return nil, err
	}
	status, length, err := c.readHead()
	if err != nil {
		return nil, err
	}
	if length < 0 {
		return nil, errors.New("answer without Content-Length")
	}
	if cap(c.body) < length {
		c.body = make([]byte, length)
	}
	c.body = c.body[:length]
	if _, err := io.ReadFull(c.in, c.body); err != nil {
		return nil, err
	}
	switch {
	case status == "202" && bytes.Contains(c.body, []byte(`"sent":true`)):
	case status != "200":
		return nil, fmt.Errorf("status %s: %s", status, c.body)
	case !bytes.Contains(c.body, []byte(`"result":`)):
		return nil, fmt.Errorf("answer %s", c.body)
	}
	return c.body, nil
}

var lengthName = []byte("content-length:")

func (c *conn) readHead() (status string, length int, err error) {
	length = -1
	for first := true; ; first = false {
		line, err := c.in.ReadSlice('\n')
		if err != nil {
			return "", 0, err
		}
		switch {
		case first:
			if len(line) < 12 || string(line[:7]) != "HTTP/1." {
				return "", 0, fmt.Errorf("not HTTP: %q", line)
			}
			status = "200"
			if string(line[9:12]) != status {
				status = string(line[9:12])
			}
		case len(line) <= 2:
			return status, length, nil
		case len(line) > len(lengthName) && (line[0] == 'C' || line[0] == 'c') && bytes.EqualFold(line[:len(lengthName)], lengthName):
			if length, err = strconv.Atoi(string(bytes.TrimSpace(line[len(lengthName):]))); err != nil {
				return "", 0, err
			}
		}
	}
}

// call is one request over a connection of its own, for what is not measured. The
// result is its JSON, without quotes if it is a string.
func call(address, method, params string) (string, error) {
	c, err := dialConn(address)
	if err != nil {
		return "", err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		return "", err
	}
	body, err := c.do(httpPost(address, fmt.Sprintf(`{"jsonrpc":"2.0","id":1,"method":%q,"params":[%s]}`, method, params)))
	if err != nil {
		return "", fmt.Errorf("%s: %w", method, err)
	}
	_, result, _ := strings.Cut(string(body), `"result":`)
	return strings.Trim(strings.TrimSuffix(strings.TrimSpace(result), "}"), `"`), nil
}
