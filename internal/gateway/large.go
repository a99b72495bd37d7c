// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"bytes"
	"io"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/hsmsigner/hsmsigner/internal/strictjson"
)

// checkParts refuses JSON that would make a tree far larger than itself. Whatever
// makes a value is counted, in strings as well: text of compilers may hold JSON,
// where \u002c is a comma.
func checkParts(data []byte) error {
	n := 0
	for _, mark := range []string{",", "[", "{", `\u`} {
		n += bytes.Count(data, []byte(mark))
	}
	if n > maxParts {
		return refuse(http.StatusRequestEntityTooLarge, "the body holds too many values: want at most %d; of a large artifact its members abi and bytecode are enough", maxParts)
	}
	return nil
}

// topMembers gives the members of those names of the object that data is, as they
// are written, and makes no tree of the rest. It judges nothing: of what is no JSON
// it may give anything.
func topMembers(data []byte, names ...string) map[string][]byte {
	const longest = len(`"\u0000"`) * 16 // no name that is looked for is longer, however it is escaped
	found := map[string][]byte{}
	depth, value, name := 0, -1, ""
	end := func(at int) {
		if value >= 0 && slices.Contains(names, name) {
			found[name] = bytes.TrimSpace(data[value:at])
		}
		value = -1
	}
	for i := 0; i < len(data); i++ {
		switch c := data[i]; {
		case c == '"':
			from := i
			for i++; i < len(data) && data[i] != '"'; i++ {
				if data[i] == '\\' {
					i++
				}
			}
			if depth == 1 && value < 0 {
				name = ""
				if i < len(data) && i-from < longest {
					v, _ := strictjson.Parse(data[from : i+1])
					name = v.Text
				}
			}
		case c == '[' && depth == 0:
			return found
		case c == '{' || c == '[':
			depth++
		case c == '}' || c == ']':
			if depth--; depth == 0 {
				end(i)
				return found
			}
		case depth == 1 && c == ':' && value < 0:
			value = i + 1
		case depth == 1 && c == ',':
			end(i)
		}
	}
	return found
}

// How many requests with large bodies are at work at once at the management API.
// The RPC listener counts the memory of its own.
const (
	largeBody       = 16 << 10 // bytes; what is shorter is not counted
	largeAtOnce     = 4
	largeMembership = 3 // of them, of one membership
	largeCaller     = 2 // of them, of one principal
)

// largeBodies counts them. The zero value is ready.
type largeBodies struct {
	mu         sync.Mutex
	all        int
	membership map[string]int
	caller     map[string]int
}

func (l *largeBodies) take(c Caller) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	member, who := c.Place.Membership, c.Principal.Name
	switch {
	case l.caller[who] >= largeCaller:
		return busy(http.StatusServiceUnavailable, time.Second, "too busy: you have other requests with large bodies at work")
	case l.membership[member] >= largeMembership, l.all >= largeAtOnce:
		return busy(http.StatusServiceUnavailable, time.Second, "too busy: other requests with large bodies are at work")
	case l.caller == nil:
		l.caller, l.membership = map[string]int{}, map[string]int{}
	}
	l.all++
	l.membership[member]++
	l.caller[who]++
	return nil
}

func (l *largeBodies) give(c Caller) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all--
	drop(l.membership, c.Place.Membership)
	drop(l.caller, c.Principal.Name)
}

func drop(of map[string]int, name string) {
	if of[name]--; of[name] == 0 {
		delete(of, name)
	}
}

// bounded is a body that takes one of the places for large ones when it turns out
// to be one, and fails with a refusal if there is none.
type bounded struct {
	io.ReadCloser
	of     *largeBodies
	caller Caller
	read   int64
	held   bool
}

func (b *bounded) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if b.read += int64(n); b.read > largeBody && !b.held {
		if full := b.of.take(b.caller); full != nil {
			return n, full
		}
		b.held = true
	}
	return n, err
}

// done gives the place back, once nothing of the body is needed any longer.
func (b *bounded) done() {
	if b.held {
		b.of.give(b.caller)
		b.held = false
	}
}
