// SPDX-License-Identifier: Apache-2.0

package rpc

import (
	"bytes"
	"errors"
	"io"
	"time"
)

// Limits bounds what callers can make the door spend. A zero field takes its
// default.
//
// Where services of several memberships are served, MemoryEach, ConcurrentEach
// and SocketsEach bound what the services of one may have, so that one whose
// vault or node hangs leaves the door to the others. By default a membership
// gets no more than is then left free: half, as long as the others want
// nothing, and a third beside one that wants as much. Where all services are
// of one membership, it may have all.
type Limits struct {
	Body       int64 // bytes of one HTTP body or WebSocket message; 1 MiB. Blobs need 6 MiB
	Memory     int64 // bytes of all large requests together, while read and at work; 256 MiB
	MemoryEach int64 // of those, for one of several memberships; as many as are left free
	Batch      int   // requests in one batch; 100

	Concurrent     int           // requests at work; 1024. A batch counts once
	ConcurrentEach int           // of those, for one of several memberships; as many as are left free
	BatchAtWork    int           // requests of one batch at work at once, beside those that the node gets in one piece; 16
	ReadTime       time.Duration // from the first to the last byte of a body or message; 10 s
	WriteTime      time.Duration // for an answer or message to be taken by the caller; 30 s

	Sockets        int           // open WebSockets; 1000
	SocketsEach    int           // of those, for one of several memberships; as many as are left free
	SocketRequests int           // requests of one socket at work; 64. More wait unread
	Subscriptions  int           // of one socket; 100
	SendBuffer     int           // bytes of notifications that a socket may lag behind; 4 MiB
	Ping           time.Duration // between pings; 30 s. A socket that does not answer within one more is closed
	Idle           time.Duration // without request and without subscription; 10 min
}

func (l Limits) withDefaults() Limits {
	def(&l.Body, 1<<20)
	def(&l.Memory, 256<<20)
	def(&l.Batch, 100)
	def(&l.Concurrent, 1024)
	def(&l.BatchAtWork, 16)
	def(&l.ReadTime, 10*time.Second)
	def(&l.WriteTime, 30*time.Second)
	def(&l.Sockets, 1000)
	def(&l.SocketRequests, 64)
	def(&l.Subscriptions, 100)
	def(&l.SendBuffer, 4<<20)
	def(&l.Ping, 30*time.Second)
	def(&l.Idle, 10*time.Minute)
	return l
}

func (l *Limits) pools() pools {
	return pools{
		requests: pool{limit: int64(l.Concurrent), each: int64(l.ConcurrentEach)},
		sockets:  pool{limit: int64(l.Sockets), each: int64(l.SocketsEach)},
		memory:   pool{limit: l.Memory, each: l.MemoryEach},
	}
}

func def[T comparable](v *T, to T) {
	var zero T
	if *v == zero {
		*v = to
	}
}

// smallRequest is what a request may cost without being counted, in bytes:
// the number of requests bounds those.
const smallRequest = 64 << 10

var errTooLarge = errors.New("request body is too large")

// readBody reads r to its end into buf, at most limit bytes.
func readBody(r io.Reader, buf []byte, limit int64, c *claim) ([]byte, error) {
	buf = buf[:0]
	for {
		if len(buf) == cap(buf) {
			if err := c.grow(2 * int64(cap(buf))); err != nil {
				return buf, err
			}
			buf = append(buf, 0)[:len(buf)]
		}
		n, err := r.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		if int64(len(buf)) > limit {
			return buf, errTooLarge
		}
		if err == io.EOF {
			return buf, c.grow(int64(cap(buf)) + treeCost(buf))
		}
		if err != nil {
			return buf, err
		}
	}
}

// treeCost estimates what the parsed tree takes. A comma costs one byte to
// send and a whole value in memory, so a body of commas would otherwise cost
// fifty times its size.
func treeCost(body []byte) int64 { return 128 * int64(bytes.Count(body, []byte(","))) }
