// SPDX-License-Identifier: Apache-2.0

package node

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
)

// maxHead bounds everything of an answer that is not its body: head, interim
// answers, chunk headers and trailers.
const maxHead = 64 << 10

// answerReader reads HTTP/1.1 answers to POST requests from a connection
// (RFC 9112). It is stricter than it has to be wherever two readers could come
// to different ends of an answer. reset and head come before Read, which reads
// the body.
type answerReader struct {
	from    *bufio.Reader
	spare   int // bytes left of maxHead
	framing framing
	left    int64 // of the body, or of the current chunk
	begun   bool  // a chunk has been read
	ended   bool  // the whole body has been read
	closing bool  // the connection ends with this answer
}

type framing uint8

const (
	byLength framing = iota
	byChunks
	byClose
)

func (a *answerReader) reset() {
	*a = answerReader{from: a.from, spare: maxHead}
}

// announced is the length of the body, or -1.
func (a *answerReader) announced() int64 {
	if a.framing == byLength {
		return a.left
	}
	return -1
}

// clean says that the answer has been read to its end, nothing came after it,
// and the connection may be used again.
func (a *answerReader) clean() bool {
	return a.ended && !a.closing && a.from.Buffered() == 0
}

func malformed(what string) error {
	return &fault{ErrBadResponse, "not HTTP: " + what}
}

// head reads the status line and the header. io.EOF says that the connection
// ended before the first byte.
func (a *answerReader) head() (status int, err error) {
	if _, err := a.from.Peek(1); err != nil {
		return 0, err
	}
	for {
		if status, err = a.once(); err != nil {
			return 0, unexpected(err)
		}
		switch {
		case status >= 200:
			return status, nil
		case status == http.StatusSwitchingProtocols:
			return 0, malformed("it switched to another protocol")
		}
		// An interim answer (RFC 9110, 15.2), which nobody asked for. The real
		// one follows.
	}
}

// once reads one status line and header.
func (a *answerReader) once() (status int, err error) {
	line, _, err := a.line()
	if err != nil {
		return 0, err
	}
	// HTTP/1.1 200 OK
	if len(line) < 12 || string(line[:7]) != "HTTP/1." || line[7] > '1' || line[7] < '0' || line[8] != ' ' ||
		len(line) > 12 && line[12] != ' ' {
		return 0, malformed("no status line")
	}
	for _, c := range line[9:12] {
		if c < '0' || c > '9' {
			return 0, malformed("no status")
		}
		status = 10*status + int(c-'0')
	}
	if status < 100 {
		return 0, malformed("no status")
	}
	old := line[7] == '0'
	a.closing = a.closing || old
	length, chunked := int64(-1), false
	for {
		line, long, err := a.line()
		if err != nil {
			return 0, err
		}
		if len(line) == 0 {
			break
		}
		name, value, ok := bytes.Cut(line, []byte{':'})
		if !ok || !isToken(name) {
			return 0, malformed("a header without a name")
		}
		switch field(name) {
		case "Content-Length":
			if length >= 0 || long {
				return 0, malformed("two lengths")
			}
			if length = decimal(trim(value)); length < 0 {
				return 0, malformed("no length")
			}
		case "Transfer-Encoding":
			if chunked || long || old || !strings.EqualFold(string(trim(value)), "chunked") {
				return 0, malformed("an unknown transfer encoding")
			}
			chunked = true
		case "Connection":
			a.closing = a.closing || long || closes(value)
		}
	}
	if chunked && length >= 0 {
		return 0, malformed("a length and chunks")
	}
	a.ended, a.left = false, 0
	switch {
	case status < 200 || status == http.StatusNoContent || status == http.StatusNotModified:
		a.framing, a.ended = byLength, true
	case chunked:
		a.framing = byChunks
	case length >= 0:
		a.framing, a.left, a.ended = byLength, length, length == 0
	default:
		a.framing, a.closing = byClose, true
	}
	return status, nil
}

// Read reads from the body.
func (a *answerReader) Read(b []byte) (n int, err error) {
	if a.ended {
		return 0, io.EOF
	}
	if len(b) == 0 {
		return 0, nil
	}
	if a.framing == byClose {
		if n, err = a.from.Read(b); err == io.EOF {
			a.ended = true
		}
		return n, err
	}
	if a.framing == byChunks && a.left == 0 {
		if err := a.chunk(); err != nil {
			return 0, unexpected(err)
		}
		if a.ended {
			return 0, io.EOF
		}
	}
	n, err = a.from.Read(b[:min(int64(len(b)), a.left)])
	a.left -= int64(n)
	if err != nil {
		return n, unexpected(err)
	}
	a.ended = a.framing == byLength && a.left == 0
	return n, nil
}

// chunk reads the end of a chunk and the head of the next, and after the last
// one the trailers, which mean nothing here.
func (a *answerReader) chunk() error {
	if a.begun {
		if line, err := a.strict(); err != nil {
			return err
		} else if len(line) != 0 {
			return malformed("a chunk without an end")
		}
	}
	a.begun = true
	line, err := a.strict()
	if err != nil {
		return err
	}
	size, _, _ := bytes.Cut(line, []byte{';'})
	size = trim(size)
	if len(size) == 0 || len(size) > 15 {
		return malformed("a chunk without a size")
	}
	for _, c := range size {
		if !isHex(c) {
			return malformed("a chunk without a size")
		}
	}
	a.left, _ = strconv.ParseInt(string(size), 16, 64) // 60 bits of digits
	if a.left > 0 {
		a.spare += len(size) + 4 // what an honest chunk costs is not held against it
		return nil
	}
	for {
		line, err := a.strict()
		if err != nil {
			return err
		}
		if len(line) == 0 {
			a.ended = true
			return nil
		}
		if name, _, ok := bytes.Cut(line, []byte{':'}); !ok || !isToken(name) {
			return malformed("a trailer without a name")
		}
	}
}

// strict is line, where it must end with CR LF and be short.
func (a *answerReader) strict() ([]byte, error) {
	line, err := a.from.ReadSlice('\n')
	if errors.Is(err, bufio.ErrBufferFull) {
		return nil, malformed("a chunk without a size")
	}
	if err != nil {
		return nil, err
	}
	if err := a.spend(len(line)); err != nil {
		return nil, err
	}
	if len(line) < 2 || line[len(line)-2] != '\r' {
		return nil, malformed("a chunk without an end")
	}
	line = line[:len(line)-2]
	if !isFieldValue(line) {
		return nil, malformed("a chunk without a size")
	}
	return line, nil
}

// line returns the next line without its end, as long as the buffer allows;
// long says that the rest was skipped. It is valid until the next read.
func (a *answerReader) line() (text []byte, long bool, err error) {
	held := false // the part before ended with CR, and must have been the end
	for {
		part, err := a.from.ReadSlice('\n')
		more := errors.Is(err, bufio.ErrBufferFull)
		if err != nil && !more {
			return nil, false, err
		}
		if err := a.spend(len(part)); err != nil {
			return nil, false, err
		}
		if held && len(part) != 1 {
			return nil, false, malformed("a control character in the header")
		}
		if !more {
			part = part[:len(part)-1]
		}
		if n := len(part); n > 0 && part[n-1] == '\r' {
			part, held = part[:n-1], more
		}
		if !isFieldValue(part) {
			return nil, false, malformed("a control character in the header")
		}
		switch {
		case more && !long:
			// A long cookie or policy of a gateway. Its name is what counts.
			text, long = bytes.Clone(part[:256]), true
		case !more && long:
			return text, true, nil
		case !more:
			return part, false, nil
		}
	}
}

func (a *answerReader) spend(n int) error {
	if a.spare -= n; a.spare < 0 {
		return malformed("a header without end")
	}
	return nil
}

// field is the canonical name of a header that decides where an answer ends.
func field(name []byte) string {
	for _, want := range [...]string{"Content-Length", "Transfer-Encoding", "Connection"} {
		if len(name) == len(want) && strings.EqualFold(string(name), want) {
			return want
		}
	}
	return ""
}

// closes says whether the value of a Connection header has the word close.
func closes(value []byte) bool {
	for token := range bytes.SplitSeq(value, []byte{','}) {
		if strings.EqualFold(string(trim(token)), "close") {
			return true
		}
	}
	return false
}

// decimal is a length, or -1.
func decimal(b []byte) (n int64) {
	if len(b) == 0 || len(b) > 18 {
		return -1
	}
	for _, c := range b {
		if c < '0' || c > '9' {
			return -1
		}
		n = 10*n + int64(c-'0')
	}
	return n
}

func trim(b []byte) []byte { return bytes.Trim(b, " \t") }

// isToken says whether a header's name is one (RFC 9110, 5.6.2).
func isToken[T string | []byte](s T) bool {
	for i := range len(s) {
		switch c := s[i]; {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9':
		case strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0:
		default:
			return false
		}
	}
	return len(s) > 0
}

// isFieldValue says whether a header's value has no control character that
// could end it.
func isFieldValue[T string | []byte](s T) bool {
	for i := range len(s) {
		if c := s[i]; c < ' ' && c != '\t' || c == 0x7f {
			return false
		}
	}
	return true
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}
