// SPDX-License-Identifier: Apache-2.0

package node

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"time"
)

func readAll(m *memory, text string, announced, limit int64) ([]byte, error) {
	return m.read(context.Background(), time.Now().Add(time.Minute), strings.NewReader(text), announced, limit)
}

// TestAnswersOfEverySizeAreReadWhole looks around every size at which another
// buffer is taken, and makes sure that no two answers share one.
func TestAnswersOfEverySizeAreReadWhole(t *testing.T) {
	m := newMemory()
	var given, read [][]byte
	for i, size := range []int{
		0, 1, firstBuffer, firstBuffer + 1, smallAnswer - 1, smallAnswer, smallAnswer + 1, 3 << 20,
		middleAnswer, middleAnswer + 1, 9 << 20, 20 << 20, 20 << 20, 5 << 20,
	} {
		text := bytes.Repeat([]byte{byte('a' + i)}, size)
		for _, announced := range []int64{-1, int64(size)} {
			for _, limit := range []int64{int64(size), 32 << 20} {
				got, err := m.read(context.Background(), time.Now().Add(time.Minute), bytes.NewReader(text), announced, limit)
				if err != nil {
					t.Fatalf("%d bytes, %d announced, limit %d: %v", size, announced, limit, err)
				}
				given, read = append(given, text), append(read, got)
			}
			if size == 0 {
				continue
			}
			if _, err := m.read(context.Background(), time.Now().Add(time.Minute), bytes.NewReader(text), announced, int64(size)-1); !errors.Is(err, ErrTooLarge) {
				t.Errorf("%d bytes, %d announced, limit one less: %v", size, announced, err)
			}
		}
	}
	for i := range given {
		if !bytes.Equal(given[i], read[i]) {
			t.Fatalf("answer %d of %d bytes was written over", i, len(given[i]))
		}
		if cap(read[i]) > 2*len(read[i]) && len(read[i]) > firstBuffer {
			t.Errorf("answer of %d bytes holds %d", len(read[i]), cap(read[i]))
		}
	}
	if len(m.middle) != middleSlots || len(m.large) != 1 {
		t.Errorf("%d and %d slots are left", len(m.middle), len(m.large))
	}
}

func TestBrokenAnswersGiveTheirSlotsBack(t *testing.T) {
	m := newMemory()
	broken := errors.New("broken")
	for _, size := range []int{10, 2 << 20, 6 << 20} {
		r := io.MultiReader(strings.NewReader(strings.Repeat("x", size)), iotest.ErrReader(broken))
		if _, err := m.read(context.Background(), time.Now().Add(time.Minute), r, -1, 32<<20); !errors.Is(err, broken) {
			t.Error(err)
		}
	}
	if len(m.middle) != middleSlots || len(m.large) != 1 {
		t.Errorf("%d and %d slots are left", len(m.middle), len(m.large))
	}
}

// dripper sends all but the end of an answer, and the end when it is let go.
type dripper struct {
	begin *strings.Reader
	there chan struct{} // closed when the beginning was read
	let   chan struct{}
	once  sync.Once
}

func (d *dripper) Read(b []byte) (int, error) {
	if d.begin.Len() > 0 {
		return d.begin.Read(b)
	}
	d.once.Do(func() { close(d.there) })
	<-d.let
	return 0, io.EOF
}

// TestLargeAnswersWaitForEachOtherAndSmallOnesDoNot has one answer that takes
// the only large slot and does not end.
func TestLargeAnswersWaitForEachOtherAndSmallOnesDoNot(t *testing.T) {
	m := newMemory()
	d := &dripper{begin: strings.NewReader(strings.Repeat("x", 5<<20)), there: make(chan struct{}), let: make(chan struct{})}
	var wg sync.WaitGroup
	wg.Go(func() {
		if b, err := m.read(context.Background(), time.Now().Add(time.Minute), d, -1, 32<<20); err != nil || len(b) != 5<<20 {
			t.Error(len(b), err)
		}
	})
	<-d.there
	for _, size := range []int{1000, smallAnswer, middleAnswer - 1} {
		if _, err := readAll(m, strings.Repeat("y", size), -1, 32<<20); err != nil {
			t.Errorf("%d bytes: %v", size, err)
		}
	}
	text := strings.Repeat("y", 5<<20)
	_, err := m.read(context.Background(), time.Now().Add(30*time.Millisecond), strings.NewReader(text), -1, 32<<20)
	if !errors.Is(err, ErrTimeout) || !strings.HasSuffix(err.Error(), "too many large answers at a time") {
		t.Error(err)
	}
	cancelled, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := m.read(cancelled, time.Now().Add(time.Minute), strings.NewReader(text), -1, 32<<20); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	wg.Go(func() {
		if b, err := readAll(m, text, -1, 32<<20); err != nil || string(b) != text {
			t.Error(len(b), err)
		}
	})
	close(d.let)
	wg.Wait()
}

// TestMonstrousAnswersTakeOneBufferAtATime has forty callers whose node answers
// each with more than the limit, as fast as it can.
func TestMonstrousAnswersTakeOneBufferAtATime(t *testing.T) {
	m := newMemory()
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	var wg sync.WaitGroup
	for range 40 {
		wg.Go(func() {
			endless := io.LimitReader(zeros{}, 100<<20)
			if _, err := m.read(context.Background(), time.Now().Add(time.Minute), endless, -1, 32<<20); !errors.Is(err, ErrTooLarge) {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	runtime.ReadMemStats(&after)
	if grown := after.HeapSys - before.HeapSys; grown > 128<<20 && after.HeapSys > before.HeapSys {
		t.Errorf("the heap grew by %d MiB", grown>>20)
	}
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) { return len(b), nil }

func TestOwnQuestionsHaveTheirOwnLimit(t *testing.T) {
	c := &Client{cfg: Config{MaxResponse: 32 << 20}}
	own := func(methods ...string) (qs []*question) {
		for _, m := range methods {
			qs = append(qs, &question{method: m, own: true})
		}
		return qs
	}
	for _, test := range []struct {
		qs   []*question
		most int64 // configured
		want int64
	}{
		{own("eth_chainId"), 32 << 20, 1 << 20},
		{own("eth_sendRawTransaction", "eth_sendRawTransaction"), 32 << 20, 1 << 20},
		{own("eth_getBlockByNumber"), 32 << 20, 4 << 20},
		{own("eth_chainId", "eth_getBlockByNumber", "eth_getBlockByNumber"), 32 << 20, 8 << 20},
		{own("eth_getBlockByHash"), 256 << 20, 32 << 20},
		{own("eth_getBlockReceipts"), 32 << 20, 32 << 20},
		{own("eth_chainId", "eth_getTransactionByHash"), 32 << 20, 32 << 20},
		{own("eth_getBlockByHash"), 64 << 10, 64 << 10},
		{own("eth_chainId"), 64 << 10, 64 << 10},
		{[]*question{{method: "eth_chainId"}}, 32 << 20, 32 << 20},
		{[]*question{{method: "eth_getBlockByNumber"}}, 32 << 20, 32 << 20},
	} {
		c.cfg.MaxResponse = test.most
		if got := c.limit(test.qs...); got != test.want {
			t.Errorf("%s and %d more, at most %d: %d, want %d", test.qs[0].method, len(test.qs)-1, test.most, got, test.want)
		}
	}
}

func TestIdleConnectionsExpireAndTheirNumberInUseIsBounded(t *testing.T) {
	p := &pool{slots: make(chan struct{}, 1)}
	var ends []net.Conn
	for i := range 3 {
		a, b := net.Pipe()
		defer b.Close()
		ends = append(ends, b)
		p.put(newConn(a))
		if i < 2 {
			p.idle[i].since = time.Now().Add(-2 * idleTimeout)
		}
	}
	p.expire()
	if len(p.idle) != 1 || p.sweep == nil {
		t.Errorf("%d are left of one that is not old", len(p.idle))
	}
	for i, b := range ends[:2] {
		if _, err := b.Read(make([]byte, 1)); err == nil {
			t.Errorf("connection %d is still open", i)
		}
	}
	p.close()
	if _, err := ends[2].Read(make([]byte, 1)); err == nil {
		t.Error("close left a connection open")
	}
	a, b := net.Pipe()
	p.put(newConn(a))
	if _, err := b.Read(make([]byte, 1)); err == nil {
		t.Error("a connection that came back after close is open")
	}

	if err := p.enter(context.Background(), time.Now()); err != nil {
		t.Error(err)
	}
	if err := p.enter(context.Background(), time.Now().Add(20*time.Millisecond)); !errors.Is(err, ErrTimeout) {
		t.Error(err)
	}
	p.leave()
	if err := p.enter(context.Background(), time.Now()); err != nil {
		t.Error(err)
	}
}
