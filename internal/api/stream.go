// SPDX-License-Identifier: Apache-2.0

package api

import (
	"errors"
	"io"
	"mime"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/hsmsigner/hsmsigner/internal/auth"
)

// A body that is handed over unread may be as large as its route allows, and may
// take as long as it needs if it comes at no less than slowest, after a while that
// is nobody's.
const (
	streamGrace   = 30 * time.Second
	streamSlowest = 64 << 10 // bytes per second
	streamsEach   = 8        // at once, of one caller
	streamsAll    = 64       // at once, of all
	streamLongest = time.Hour
)

// Apps is a Gate that knows app credentials as well: *auth.Directory is one.
// Without it, no route takes them.
type Apps interface {
	App(r *http.Request) (auth.Principal, error)
}

// caller says who is asking. An app credential proves itself by HTTP Basic, and
// only where the route takes it; it has no grants.
func (m *Management) caller(r *http.Request, rt *route) (auth.Access, error) {
	apps, ok := m.cfg.Gate.(Apps)
	scheme, _, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !ok || !rt.apps || !strings.EqualFold(scheme, "Basic") || len(r.Header["Authorization"]) > 1 {
		return m.cfg.Gate.Manager(r)
	}
	who, err := apps.App(r)
	return auth.Access{Principal: who}, err
}

// saysJSON reports whether a body is said to be JSON, or nothing is said of it
// and there is none.
func saysJSON(h http.Header) bool {
	media, _, _ := mime.ParseMediaType(h.Get("Content-Type"))
	return media == "application/json"
}

// streams counts the bodies that are being read, of each caller.
type streams struct {
	grace time.Duration // before it is looked how fast a body comes
	mu    sync.Mutex
	open  map[string]int
	all   int
}

// stream is a body that is read as it comes.
type stream struct {
	io.Reader
	header http.Header
	close  func()
}

// start begins to read a body. The deadlines of the server, which are for small
// bodies, give way to those of streams.
func (s *streams) start(w http.ResponseWriter, r *http.Request, who string) (*stream, error) {
	if len(r.Header["Content-Encoding"]) > 0 {
		return nil, &refusal{code: http.StatusUnsupportedMediaType, body: Failure{Message: "want no Content-Encoding: what is sent is taken as it is", Error: mediaWrong}}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open[who] >= streamsEach {
		return nil, &auth.LimitError{Reason: "this caller sends as many large bodies at once as one may", RetryAfter: time.Second}
	}
	if s.all >= streamsAll {
		return nil, &auth.LimitError{Reason: "as many large bodies are on their way as are taken at once", RetryAfter: time.Second}
	}
	if s.open == nil {
		s.open = map[string]int{}
	}
	s.open[who]++
	s.all++
	now := time.Now()
	p := &paced{from: r.Body, control: http.NewResponseController(w), start: now.Add(s.grace), last: now.Add(streamLongest), every: s.grace / 30}
	return &stream{Reader: p, header: r.Header, close: func() { p.end(); s.end(who) }}, nil
}

func (s *streams) end(who string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all--
	if s.open[who]--; s.open[who] <= 0 {
		delete(s.open, who)
	}
}

// paced reads a body for as long as enough of it comes. Its errors are for the
// caller to see.
type paced struct {
	from    io.Reader
	control *http.ResponseController
	start   time.Time // when it has to have begun
	last    time.Time // when it has to have ended
	read    int64
	set     time.Time // when the deadline was set last
	every   time.Duration
	ended   bool // the body was read to its end
}

func (p *paced) Read(b []byte) (int, error) {
	if now := time.Now(); now.Sub(p.set) > p.every {
		due := p.start.Add(time.Duration(p.read/streamSlowest) * time.Second)
		if due.After(p.last) {
			due = p.last
		}
		p.deadline(due)
		p.set = now
	}
	n, err := p.from.Read(b)
	p.read += int64(n)
	switch {
	case err == io.EOF:
		// A connection on which the deadline passes counts as one whose client has gone.
		p.ended = true
		p.deadline(time.Time{})
	case errors.Is(err, os.ErrDeadlineExceeded):
		return n, &refusal{code: http.StatusRequestTimeout, body: Failure{Message: "the body came too slowly: want at least 64 KiB per second, and all of it within an hour", Error: tooSlow}}
	case err != nil:
		return n, invalid("", "the body ended before its time")
	}
	return n, err
}

// deadline fails where a server has none, as in some tests.
func (p *paced) deadline(at time.Time) { _ = p.control.SetReadDeadline(at) }

// end bounds how long the server waits for what nobody will read any more.
func (p *paced) end() {
	if !p.ended {
		p.deadline(time.Now().Add(time.Second))
	}
}
