// SPDX-License-Identifier: Apache-2.0

package eventstream

import (
	"encoding/json"
	"errors"
	"slices"

	"github.com/ethereum/go-ethereum/common"
)

// How much of the past a cursor remembers: so deep a reorganisation is told event
// by event. After a deeper one the last depth blocks are delivered anew.
const (
	depth    = 64  // blocks
	maxSeen  = 96  // blocks, of which more than depth may have been passed in one reading
	maxMarks = 256 // events
)

// cursor is a place in the chain up to which a subscription was read, or
// delivered. In a row it is the checkpoint.
type cursor struct {
	First uint64 `json:"first"`          // nothing before this block is delivered
	Block uint64 `json:"block"`          // the first block that is not wholly done
	Log   uint64 `json:"log,omitempty"`  // in it, logs with a smaller index are done
	Seen  []seen `json:"seen,omitempty"` // the newest blocks that were passed, oldest first
	// Maybe are events that were on their way when the checkpoint was stored: the
	// receiver may know them. If their blocks vanish before they are delivered again,
	// they are told as removed.
	Maybe []seen `json:"maybe,omitempty"`
}

// seen is a block that was passed.
type seen struct {
	Number uint64      `json:"n"`
	Hash   common.Hash `json:"h"`
	Marks  []mark      `json:"e,omitempty"` // events of it that were delivered
}

// mark is an event that was delivered.
type mark struct {
	Tx      common.Hash     `json:"t"`
	TxIndex uint64          `json:"i"`
	Log     uint64          `json:"l"` // the chain's own index
	Address common.Address  `json:"a"`
	data    json.RawMessage // not kept over a restart
}

func readCursor(text string) (c cursor, err error) {
	if err = json.Unmarshal([]byte(text), &c); err != nil {
		return c, err
	}
	ordered := slices.IsSortedFunc(c.Seen, func(a, b seen) int {
		if a.Number < b.Number {
			return -1
		}
		return 1
	})
	odd := func(m seen) bool { return len(m.Marks) != 1 }
	if c.Block < c.First || len(c.Seen) > maxSeen || !ordered || slices.ContainsFunc(c.Maybe, odd) {
		return c, errors.New("eventstream: checkpoint makes no sense")
	}
	return c, nil
}

func (c *cursor) text() string {
	b, _ := json.Marshal(c) // numbers and hashes
	return string(b)
}

// last is the newest block that was passed; nil if there is none.
func (c *cursor) last() *seen {
	if len(c.Seen) == 0 {
		return nil
	}
	return &c.Seen[len(c.Seen)-1]
}

// stepKind says what a step is.
type stepKind int

const (
	deliver stepKind = iota // an event
	remove                  // an event that has vanished
	rewind                  // back to a block
	advance                 // past a block
)

// step is how a cursor gets on. Those that are events are delivered first.
type step struct {
	sub    *subscription
	kind   stepKind
	number uint64
	hash   common.Hash
	mark   mark
	body   json.RawMessage // of an event, but for its inputArgs
	args   json.RawMessage // those; all events of a transaction share the bytes
}

func (s *step) event() bool { return s.kind <= remove }

const argsMember = `,"inputArgs":`

// size is how many bytes appendTo appends.
func (s *step) size() int {
	if len(s.args) == 0 {
		return len(s.body)
	}
	return len(s.body) + len(argsMember) + len(s.args)
}

// appendTo appends the event as its receiver gets it.
func (s *step) appendTo(to []byte) []byte {
	if len(s.args) == 0 {
		return append(to, s.body...)
	}
	to = append(to, s.body[:len(s.body)-1]...) // without the closing brace: no event is empty
	return append(append(append(to, argsMember...), s.args...), '}')
}

// apply takes a step. A cursor that was loaded after a crash between two steps of
// a reorganisation finds it anew, from what is left.
func (c *cursor) apply(s *step) {
	switch s.kind {
	case deliver:
		c.pass(s.number, s.hash)
		last := c.last()
		last.Marks = append(last.Marks, s.mark)
		c.Block, c.Log = s.number, s.mark.Log+1
		c.settle(s)
	case remove:
		for i := range c.Seen {
			if c.Seen[i].Hash == s.hash {
				c.Seen[i].Marks = slices.DeleteFunc(slices.Clone(c.Seen[i].Marks), func(m mark) bool { return m.Log == s.mark.Log })
			}
		}
		c.settle(s)
	case rewind:
		for len(c.Seen) > 0 && c.last().Number >= s.number {
			c.Seen = c.Seen[:len(c.Seen)-1]
		}
		c.Block, c.Log = s.number, 0
	case advance:
		c.pass(s.number, s.hash)
		c.Block, c.Log = s.number+1, 0
	}
	c.trim()
}

// doubt notes that an event is about to be sent.
func (c *cursor) doubt(s *step) {
	c.settle(s)
	c.Maybe = append(c.Maybe, seen{Number: s.number, Hash: s.hash, Marks: []mark{s.mark}})
}

// settle notes that the receiver has taken an event, or its removal.
func (c *cursor) settle(s *step) {
	if len(c.Maybe) > 0 {
		c.Maybe = slices.DeleteFunc(c.Maybe, func(m seen) bool { return m.Hash == s.hash && m.Marks[0].Log == s.mark.Log })
	}
}

func (c *cursor) pass(number uint64, hash common.Hash) {
	if last := c.last(); last == nil || last.Number < number {
		c.Seen = append(c.Seen, seen{Number: number, Hash: hash})
	}
}

// trim forgets the oldest, but never the newest block.
func (c *cursor) trim() {
	marks := 0
	for i := len(c.Seen) - 1; i >= 0; i-- {
		marks += len(c.Seen[i].Marks)
		newest := i == len(c.Seen)-1
		if !newest && (c.Seen[i].Number+depth < c.last().Number || len(c.Seen)-i > maxSeen || marks > maxMarks) {
			c.Seen = slices.Clone(c.Seen[i+1:])
			return
		}
	}
}

// clone is a cursor of its own.
func (c *cursor) clone() cursor {
	copied := *c
	copied.Seen = slices.Clone(c.Seen)
	for i := range copied.Seen {
		copied.Seen[i].Marks = slices.Clone(copied.Seen[i].Marks)
	}
	return copied
}
