// SPDX-License-Identifier: Apache-2.0

package node

import (
	"bufio"
	"bytes"
	"io"
	"net/http"
	"testing"
	"testing/iotest"
)

// FuzzAnswerReader compares the reader of HTTP answers with net/http: whatever
// it takes, net/http takes as the same answer. That it refuses more is its
// purpose.
func FuzzAnswerReader(f *testing.F) {
	for _, s := range []string{
		"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;x=y\r\n{\r\n01\r\n}\r\n0\r\nA: b\r\n\r\nrest",
		"HTTP/1.0 500 x\nA:b\n\n{}", "HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\n{}",
		"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nConnection: keep-alive, close\r\n\r\n{}",
		"HTTP/1.1 304 x\r\nTransfer-Encoding: chunked\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\n{}",
		"HTTP/1.1 200 OK\r\ntransfer-encoding:chunked\r\n\r\n0\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 02 \r\n\r\n{}x",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		if len(text) > 4<<10 {
			return // net/http looks no further for the end of trailers
		}
		a := answerReader{from: bufio.NewReaderSize(bytes.NewReader(text), 4<<10)}
		a.reset()
		status, err := a.head()
		if err != nil {
			return
		}
		body, err := io.ReadAll(iotest.OneByteReader(&a))
		if err != nil {
			return
		}
		left, _ := io.ReadAll(a.from)
		from := bufio.NewReader(bytes.NewReader(text))
		for {
			resp, err := http.ReadResponse(from, &http.Request{Method: http.MethodPost})
			if err != nil {
				t.Fatalf("%q: taken, but net/http says %v", text, err)
			}
			if resp.StatusCode >= 100 && resp.StatusCode < 200 {
				continue
			}
			want, err := io.ReadAll(resp.Body)
			if err != nil || resp.StatusCode != status || !bytes.Equal(body, want) {
				t.Fatalf("%q: %d %q, net/http has %d %q %v", text, status, body, resp.StatusCode, want, err)
			}
			if !a.closing && resp.Close {
				t.Fatalf("%q: the connection would be kept, net/http closes it", text)
			}
			rest, _ := io.ReadAll(from)
			if !a.closing && !bytes.Equal(left, rest) {
				t.Fatalf("%q: %q is left, net/http leaves %q", text, left, rest)
			}
			return
		}
	})
}
