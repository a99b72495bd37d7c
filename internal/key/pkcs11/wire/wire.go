// SPDX-License-Identifier: Apache-2.0

// Package wire is the language between the daemon and the child process that
// holds a PKCS#11 module: requests and replies in frames over two pipes, and
// over sockets for one signature at a time each. Many requests may be under way
// at once; each reply bears the number of its request. A request says how much of
// its caller's time is left.
//
// Everything has a bound, and every byte is accounted for: a frame that is too
// long, too short or followed by anything is refused, since what a crashing
// module writes over its memory may be what is sent. Nothing here reads a clock,
// logs, or keeps what it has sent.
package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"
)

// Op is what a request asks for, or how a reply ends.
type Op byte

// Requests.
const (
	Start  Op = iota + 1 // Settings → Hello; the first, and only once
	Sign                 // id, point, digest → r, s
	Find                 // id, point → nothing
	List                 // nothing → entries, in several replies
	Check                // nothing → nothing: would a signature be made now?
	Keep                 // nothing → nothing: use every idle session
	Create               // label → entry
	Import               // label, private key, label of the unwrapping key → entry
	Delete               // id, point → nothing
)

// Replies.
const (
	Done   Op = iota + 64 // the fields are the answer
	More                  // part of an answer; may be empty, as a sign of life
	Failed                // the fields are a Failure
)

// Bounds of a message.
const (
	maxFrame  = 256 << 10 // bytes after the length
	maxFields = 4096
	header    = 8 + 1 + 4 + 2 // id, op, milliseconds, number of fields
)

// Message is one request or reply.
type Message struct {
	ID     uint64 // of the request; the caller counts them
	Op     Op
	Left   time.Duration // of a request: until its caller gives up; zero: never. Whole milliseconds
	Fields [][]byte
}

// ErrFrame is wrapped by all errors about what was read, other than those of
// the pipe itself.
var ErrFrame = errors.New("bad frame")

// Append adds the frame of m to b.
func Append(b []byte, m Message) ([]byte, error) {
	size := header
	for _, f := range m.Fields {
		size += 4 + len(f)
	}
	if size > maxFrame || len(m.Fields) > maxFields {
		return nil, fmt.Errorf("wire: %w: %d bytes in %d fields are too much for one message", ErrFrame, size, len(m.Fields))
	}
	left := min(max(m.Left.Milliseconds(), 0), 1<<32-1)
	b = binary.BigEndian.AppendUint32(b, uint32(size))
	b = binary.BigEndian.AppendUint64(b, m.ID)
	b = append(b, byte(m.Op))
	b = binary.BigEndian.AppendUint32(b, uint32(left))
	b = binary.BigEndian.AppendUint16(b, uint16(len(m.Fields)))
	for _, f := range m.Fields {
		b = binary.BigEndian.AppendUint32(b, uint32(len(f)))
		b = append(b, f...)
	}
	return b, nil
}

// Decode reads the message of a frame without its length. The fields share
// memory with b.
func Decode(b []byte) (Message, error) {
	if len(b) < header {
		return Message{}, fmt.Errorf("wire: %w: %d bytes", ErrFrame, len(b))
	}
	m := Message{
		ID:   binary.BigEndian.Uint64(b),
		Op:   Op(b[8]),
		Left: time.Duration(binary.BigEndian.Uint32(b[9:])) * time.Millisecond,
	}
	count := int(binary.BigEndian.Uint16(b[13:]))
	b = b[header:]
	if count > maxFields || 4*count > len(b) {
		return Message{}, fmt.Errorf("wire: %w: %d fields in %d bytes", ErrFrame, count, len(b))
	}
	for range count {
		if len(b) < 4 {
			return Message{}, fmt.Errorf("wire: %w: it ends within a field", ErrFrame)
		}
		size := binary.BigEndian.Uint32(b)
		b = b[4:]
		if uint64(size) > uint64(len(b)) {
			return Message{}, fmt.Errorf("wire: %w: a field of %d bytes where %d are left", ErrFrame, size, len(b))
		}
		m.Fields = append(m.Fields, b[:size:size])
		b = b[size:]
	}
	if len(b) != 0 {
		return Message{}, fmt.Errorf("wire: %w: %d bytes after the last field", ErrFrame, len(b))
	}
	return m, nil
}

// Read reads one message. It returns io.EOF as it is if the pipe ends before
// the first byte of a frame.
func Read(r io.Reader) (Message, error) {
	var length [4]byte
	if _, err := io.ReadFull(r, length[:]); err != nil {
		if errors.Is(err, io.ErrUnexpectedEOF) {
			return Message{}, fmt.Errorf("wire: %w: the pipe ended within a length", ErrFrame)
		}
		return Message{}, err
	}
	size := binary.BigEndian.Uint32(length[:])
	if size < header || size > maxFrame {
		return Message{}, fmt.Errorf("wire: %w: a length of %d bytes", ErrFrame, size)
	}
	b := make([]byte, size)
	if _, err := io.ReadFull(r, b); err != nil {
		return Message{}, fmt.Errorf("wire: %w: the pipe ended within it: %w", ErrFrame, err)
	}
	return Decode(b)
}

// fields gives the fields of a message that must have exactly so many.
func (m Message) fields(n int) ([][]byte, error) {
	if len(m.Fields) != n {
		return nil, fmt.Errorf("wire: %w: %d fields, want %d", ErrFrame, len(m.Fields), n)
	}
	return m.Fields, nil
}
