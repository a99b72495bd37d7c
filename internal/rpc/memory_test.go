// SPDX-License-Identifier: Apache-2.0

package rpc

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/hsmsigner/hsmsigner/internal/node/nodetest"
)

const handshake = "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" +
	"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"

// rawSocket is a WebSocket that costs its client next to nothing, so that
// what a process holds is the door's: no goroutine, and one buffer for all.
type rawSocket struct {
	net.Conn
	read *bufio.Reader // shared by all
}

func dialRaw(t testing.TB, address string, read *bufio.Reader) rawSocket {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	_, _ = io.WriteString(conn, handshake)
	read.Reset(conn)
	for {
		line, err := read.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		if line == "\r\n" {
			return rawSocket{conn, read}
		}
	}
}

// send writes a text message of less than 126 bytes, masked with zeros.
func (s rawSocket) send(msg string) { _, _ = io.WriteString(s, masked(msg)) }

func masked(msg string) string {
	return string([]byte{0x81, 0x80 | byte(len(msg)), 0, 0, 0, 0}) + msg
}

// next reads one message of less than 64 KiB.
func (s rawSocket) next(t testing.TB) string {
	t.Helper()
	s.read.Reset(s.Conn)
	var head [4]byte
	_, err := io.ReadFull(s.read, head[:2])
	n := int(head[1])
	if n == 126 && err == nil {
		_, err = io.ReadFull(s.read, head[2:])
		n = int(head[2])<<8 | int(head[3])
	}
	msg := make([]byte, n)
	if err == nil {
		_, err = io.ReadFull(s.read, msg)
	}
	if err != nil {
		t.Fatal(err)
	}
	return string(msg)
}

// held is what the process holds in heap and stacks.
func held() (heap, stack uint64) {
	var m runtime.MemStats
	for range 3 { // finalizers, then what they kept, then shrunk stacks
		runtime.GC()
	}
	runtime.ReadMemStats(&m)
	return m.HeapAlloc, m.StackInuse
}

// The buffers that the upgrade changes may hold what came behind it.
func TestMessagesRightBehindTheUpgradeAreRead(t *testing.T) {
	r := newRig(t)
	for _, n := range []int{1, 40} { // less and more than a buffer
		s := rawSocket{r.open(handshake + strings.Repeat(masked(ping), n)), bufio.NewReader(nil)}
		_ = s.SetReadDeadline(time.Now().Add(time.Minute))
		var all bytes.Buffer
		for strings.Count(all.String(), `"result":"0x1"`) < n {
			if _, err := io.CopyN(&all, s, 1); err != nil {
				t.Fatalf("after %d messages: %v in %q", n, err, all.String())
			}
		}
	}
}

func TestAnswersThatNobodyTakesAreNotMade(t *testing.T) {
	r := newRig(t, func(c *Config) { c.Limits.SocketRequests = 4 })
	large := `"result":"` + strings.Repeat("x", 2<<20) + `"`
	r.wire.answers(func(string, json.RawMessage) string { return large })
	raw := dialRaw(t, r.http.Listener.Addr().String(), bufio.NewReader(nil))
	for range 100 {
		raw.send(ping)
	}
	asked := 0
	eventually(t, "no more are made", func() bool {
		before := asked
		asked = len(r.wire.calls(t))
		time.Sleep(200 * time.Millisecond)
		return asked > 0 && asked == before
	})
	if asked > 30 { // the network takes some
		t.Errorf("%d answers were made", asked)
	}
}

// idleSockets opens n of them, each with a subscription.
func idleSockets(t testing.TB, r *rig, n int) {
	t.Helper()
	read := bufio.NewReader(nil)
	for i := range n {
		s := dialRaw(t, r.http.Listener.Addr().String(), read)
		s.send(fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"method":"eth_subscribe","params":["newHeads"]}`, i))
		if got := s.next(t); !strings.Contains(got, `"result":"0x`) {
			t.Fatal(got)
		}
	}
}

// What is held is heap and stacks, of the door, its client of the node, and a
// little of the test's. With the race detector it is more.
func TestIdleSocketsKeepLittle(t *testing.T) {
	const n, most = 300, 40 << 10
	r, chain := chained(t)
	idleSockets(t, r, 20) // what is there once
	heap, stack := held()
	idleSockets(t, r, n)
	for range 3 {
		chain.Mine() // to everybody
	}
	time.Sleep(200 * time.Millisecond)
	heap2, stack2 := held()
	if each := (int(heap2) - int(heap) + int(stack2) - int(stack)) / n; each > most {
		t.Errorf("an idle socket keeps %d bytes, want at most %d", each, most)
	}
}

// BenchmarkIdleSocket measures what an idle WebSocket with one subscription
// keeps.
func BenchmarkIdleSocket(b *testing.B) {
	const n = 900
	chain := nodetest.New(b, nodetest.Options{})
	r := newRig(b, func(c *Config) { c.Services["treasury"].Node = dial(b, chain.URL()) })
	for b.Loop() {
		heap, stack := held()
		routines := runtime.NumGoroutine()
		idleSockets(b, r, n)
		heap2, stack2 := held()
		b.ReportMetric(float64(heap2-heap)/n, "heap-B/socket")
		b.ReportMetric(float64(stack2-stack)/n, "stack-B/socket")
		b.ReportMetric(float64(runtime.NumGoroutine()-routines)/n, "goroutines/socket")
	}
}

// BenchmarkSocket measures requests that the door answers by itself, on one
// WebSocket with several under way and on several.
func BenchmarkSocket(b *testing.B) {
	for _, sockets := range []int{1, 16} {
		b.Run(fmt.Sprintf("%d sockets", sockets), func(b *testing.B) {
			r := newRig(b)
			var wg sync.WaitGroup
			b.ReportAllocs()
			for range sockets {
				c := r.socket()
				const window = 16
				n := b.N / sockets
				wg.Go(func() {
					for i := range n + window {
						if i >= window {
							if _, _, err := c.ws.Read(b.Context()); err != nil {
								b.Error(err)
								return
							}
						}
						if i < n {
							if err := c.ws.Write(b.Context(), websocket.MessageText, []byte(text)); err != nil {
								b.Error(err)
								return
							}
						}
						if i < window && i >= n {
							return // fewer than the window
						}
					}
				})
			}
			wg.Wait()
		})
	}
}
