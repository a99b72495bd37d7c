// SPDX-License-Identifier: Apache-2.0

package node

import (
	"context"
	"io"
	"strconv"
	"sync"
	"time"
	"weak"
)

// Sizes of answers, in bytes. Most are a few hundred.
const (
	smallAnswer  = 1 << 20  // what any answer may take, and the most of one whose form is known to be short
	middleAnswer = 4 << 20  // 60,000 transaction hashes: more than a block has
	largeStep    = 64 << 20 // taken at once by one that is larger still
	middleSlots  = 4        // answers that may be larger than smallAnswer at a time
	firstBuffer  = 16 << 10
)

// memory bounds what the answers of one client take while they are read,
// however many come at once and whatever they turn out to be: those above
// smallAnswer wait for one of a few slots, those above middleAnswer for the
// only one, within their own deadline. With the default limit of 32 MiB that
// is at most 48 MiB.
type memory struct {
	pool   sync.Pool // of *[]byte up to smallAnswer
	middle slots
	large  slots // taken while middle is held
}

func newMemory() *memory {
	return &memory{middle: newSlots(middleSlots), large: newSlots(1)}
}

// slots are the rights to hold a buffer of some size. Each has the buffer of
// its last holder, unless the garbage collector came in between: a node that
// sends too much again and again does not cost a buffer each time, and none
// is kept for long.
type slots chan weak.Pointer[[]byte]

func newSlots(n int) slots {
	s := make(slots, n)
	for range n {
		s <- weak.Pointer[[]byte]{}
	}
	return s
}

func (m *memory) get() *[]byte {
	if b, ok := m.pool.Get().(*[]byte); ok {
		return b
	}
	b := make([]byte, firstBuffer)
	return &b
}

// read reads a whole answer of up to limit bytes. The length that the node
// announces, or -1, is believed when a megabyte has come, so that memory is
// spent on what is there and not on what was promised.
func (m *memory) read(ctx context.Context, deadline time.Time, r io.Reader, announced, limit int64) ([]byte, error) {
	if announced > limit {
		return nil, tooLarge(limit)
	}
	if announced >= 0 && announced <= smallAnswer {
		buf := make([]byte, announced)
		_, err := io.ReadFull(r, buf)
		return buf, err
	}
	most := limit
	if announced >= 0 {
		most = announced
	}
	g := growing{memory: m, ctx: ctx, deadline: deadline, most: most, buf: m.get()}
	defer g.end()
	for n := 0; ; {
		buf := *g.buf
		if room := min(int64(len(buf)), most); int64(n) < room {
			k, err := r.Read(buf[n:room])
			n += k
			if err == io.EOF || err == nil && int64(n) == announced {
				return g.take(n), nil
			}
			if err != nil {
				return nil, err
			}
			continue
		}
		if int64(n) == limit {
			return g.last(r, n)
		}
		if err := g.grow(n); err != nil {
			return nil, err
		}
	}
}

// growing is the buffer of one answer, and the slots that its size needs.
type growing struct {
	*memory
	ctx      context.Context
	deadline time.Time
	most     int64 // it can never be larger
	buf      *[]byte
	kind     size
}

type size uint8

const (
	isSmall size = iota
	isMiddle
	isLarge
)

// grow replaces the buffer, of which n bytes are in use, by a larger one.
func (g *growing) grow(n int) error {
	old := g.buf
	was := *old
	var bigger *[]byte
	switch {
	case len(was) < smallAnswer:
		// The small one is not kept: the pool learns the usual size.
		bigger = newBuffer(min(2*int64(len(was)), smallAnswer))
	case g.kind == isSmall:
		spare, err := g.wait(g.middle)
		if err != nil {
			return err
		}
		g.kind = isMiddle
		bigger = orBuffer(spare, min(g.most, middleAnswer))
		defer g.pool.Put(old)
	case g.kind == isMiddle:
		spare, err := g.wait(g.large)
		if err != nil {
			return err
		}
		g.kind = isLarge
		bigger = orBuffer(spare, min(g.most, largeStep))
		defer func() { g.middle <- weak.Make(old) }()
	default:
		bigger = newBuffer(min(g.most, 8*int64(len(was))))
	}
	copy(*bigger, was[:n])
	g.buf = bigger
	return nil
}

func newBuffer(n int64) *[]byte {
	b := make([]byte, n)
	return &b
}

// orBuffer is the spare one, if it is there and large enough.
func orBuffer(spare *[]byte, n int64) *[]byte {
	if spare != nil && int64(len(*spare)) >= n {
		return spare
	}
	return newBuffer(n)
}

// wait takes a slot, or gives up at the deadline.
func (g *growing) wait(s slots) (spare *[]byte, err error) {
	select {
	case w := <-s:
		return w.Value(), nil
	default:
	}
	timer := time.NewTimer(time.Until(g.deadline))
	defer timer.Stop()
	select {
	case w := <-s:
		return w.Value(), nil
	case <-g.ctx.Done():
		return nil, g.ctx.Err()
	case <-timer.C:
		return nil, &fault{ErrTimeout, "too many large answers at a time"}
	}
}

// take gives the answer away: the buffer itself where that wastes little.
func (g *growing) take(n int) []byte {
	buf := *g.buf
	if g.kind != isSmall && n > len(buf)/2 {
		g.buf = nil
		return buf[:n:n]
	}
	return append(make([]byte, 0, n), buf[:n]...)
}

// last looks whether an answer ends where it has reached the limit.
func (g *growing) last(r io.Reader, n int) ([]byte, error) {
	var more [1]byte
	switch k, err := io.ReadFull(r, more[:]); {
	case k > 0:
		return nil, tooLarge(g.most)
	case err == io.EOF:
		return g.take(n), nil
	default:
		return nil, err
	}
}

// end gives back what is held.
func (g *growing) end() {
	var spare weak.Pointer[[]byte]
	if g.buf != nil {
		spare = weak.Make(g.buf)
	}
	switch g.kind {
	case isSmall:
		g.pool.Put(g.buf)
	case isMiddle:
		g.middle <- spare
	case isLarge:
		g.large <- spare
	}
}

func tooLarge(limit int64) error {
	return &fault{ErrTooLarge, "more than " + strconv.FormatInt(limit, 10) + " bytes"}
}

// limit is how large the answer to these questions may be. What passes through
// may be as large as the operator allows, and so may receipts; a question of
// our own mostly has an answer of known form.
func (c *Client) limit(qs ...*question) int64 {
	most := c.cfg.MaxResponse
	own := int64(0)
	for _, q := range qs {
		switch {
		case !q.own:
			return most
		case isBlock(q.method):
			own += max(middleAnswer, most/8)
		case !isShort(q.method):
			return most
		}
	}
	return min(most, max(own, smallAnswer))
}

// isBlock says whether a method's answer is a block, which we ask for with the
// hashes of its transactions only.
func isBlock(method string) bool {
	return method == "eth_getBlockByNumber" || method == "eth_getBlockByHash"
}

// isShort says whether a method's answer is a number, a hash, some code or a
// few fees; a hundred of them are still short.
func isShort(method string) bool {
	switch method {
	case "eth_chainId", "eth_blockNumber", "eth_getTransactionCount", "eth_getBalance", "eth_gasPrice",
		"eth_maxPriorityFeePerGas", "eth_blobBaseFee", "eth_feeHistory", "eth_getCode", "eth_estimateGas",
		"eth_sendRawTransaction":
		return true
	}
	return false
}
