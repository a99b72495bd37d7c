// SPDX-License-Identifier: Apache-2.0

// Package awskmsfake speaks the wire of AWS KMS (JSON 1.1, X-Amz-Target:
// TrentService.…), of the Resource Groups Tagging API and of STS AssumeRole, for
// what no emulator can be made to do: the documented quotas, latency, throttling
// at random, hangs, every key state, broken answers, and the import of key
// material. It is for tests and benchmarks, listens on 127.0.0.1 only, keeps its
// keys in memory, and follows the documented shapes of requests, answers and
// errors: https://docs.aws.amazon.com/kms/latest/APIReference/.
package awskmsfake

import (
	"context"
	"crypto/rsa"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"
)

// Account and Region are those of all keys of a fake.
const (
	Account = "111122223333"
	Region  = "eu-central-1"
)

// Quotas are the documented default requests per second of each operation
// (requests-per-second.html; GetResources: the tagging API's own page).
func Quotas() map[string]float64 {
	return map[string]float64{
		"Sign": 1000, "GetPublicKey": 2000, "DescribeKey": 2000, "ListResourceTags": 2000,
		"ListKeys": 500, "ListAliases": 500, "GetResources": 15,
		"CreateKey": 5, "CreateAlias": 5, "EnableKey": 5, "DisableKey": 5, "ScheduleKeyDeletion": 15,
		"GetParametersForImport": 0.25, "ImportKeyMaterial": 15,
	}
}

// Config is how a fake behaves from the start.
type Config struct {
	Latency time.Duration      // of every answer
	Quotas  map[string]float64 // requests per second by operation; missing: no limit
	// Secrets are the access keys that are known, by id; nil: any, and
	// signatures are not checked.
	Secrets map[string]string
	// RoleExternalID is what AssumeRole wants; sessions of roles are known keys.
	RoleExternalID string
	TLS            bool
	Listener       net.Listener // nil: a free port of 127.0.0.1
}

// Fault makes requests fail. Zero fields do nothing.
type Fault struct {
	Operation  string  // empty: every operation
	Key        string  // ARN; empty: every key
	Share      float64 // of the requests, at random; 0: all of them
	Times      int     // how often; 0: until ClearFaults
	Hang       bool    // no answer until the caller gives up or ClearFaults
	Status     int     // of HTTP; 0 means 400
	Code       string  // of AWS
	Message    string
	RetryAfter string      // header
	Body       string      // raw body instead of an error of AWS, with Status
	Header     http.Header // more headers
}

// Server is a running fake. Its methods are safe for concurrent use.
type Server struct {
	URL    string
	config Config
	http   *httptest.Server

	connections atomic.Int64
	total       atomic.Int64
	serial      atomic.Int64

	mu       sync.Mutex
	keys     map[string]*Key // by id
	order    []*Key
	aliases  []alias // sorted by name
	limiters map[string]*rate.Limiter
	counts   map[string]int
	faults   []*Fault
	cleared  chan struct{} // closed by ClearFaults
	alter    func(operation string, answer map[string]any)
	secrets  map[string]string
	tokens   map[string]string // session tokens by access key id
	ended    map[string]bool   // sessions that have ended
	wrap     *rsa.PrivateKey   // for importing
}

type alias struct{ name, id string }

// Start starts a fake; Close ends it.
func Start(c Config) *Server {
	s := &Server{
		config: c, keys: map[string]*Key{}, limiters: map[string]*rate.Limiter{}, counts: map[string]int{},
		cleared: make(chan struct{}), secrets: c.Secrets, tokens: map[string]string{}, ended: map[string]bool{},
	}
	for operation, perSecond := range c.Quotas {
		s.limiters[operation] = rate.NewLimiter(rate.Limit(perSecond), max(1, int(perSecond)))
	}
	s.http = httptest.NewUnstartedServer(http.HandlerFunc(s.serve))
	if c.Listener != nil {
		_ = s.http.Listener.Close() // nothing was sent to it yet
		s.http.Listener = c.Listener
	}
	s.http.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			s.connections.Add(1)
		}
	}
	if c.TLS {
		s.http.StartTLS()
	} else {
		s.http.Start()
	}
	s.URL = s.http.URL
	return s
}

// Close ends the fake; hanging requests are let go.
func (s *Server) Close() {
	s.ClearFaults()
	s.http.CloseClientConnections()
	s.http.Close()
}

// HTTP is the server behind the fake, for its certificate.
func (s *Server) HTTP() *httptest.Server { return s.http }

// Fail adds a fault; the first that fits a request counts.
func (s *Server) Fail(f Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = append(s.faults, &f)
}

// ClearFaults ends all faults.
func (s *Server) ClearFaults() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = nil
	close(s.cleared)
	s.cleared = make(chan struct{})
}

// Alter lets f change every answer of KMS before it is sent; nil: no more.
func (s *Server) Alter(f func(operation string, answer map[string]any)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.alter = f
}

// Calls is how many requests of an operation have come, answered or not.
func (s *Server) Calls(operation string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.counts[operation]
}

// Total is how many requests have come.
func (s *Server) Total() int { return int(s.total.Load()) }

// Connections is how many connections were ever opened.
func (s *Server) Connections() int { return int(s.connections.Load()) }

// SetSecrets replaces the known access keys; sessions of roles stay.
func (s *Server) SetSecrets(secrets map[string]string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.secrets = secrets
	for id := range s.tokens {
		s.secrets[id] = sessionSecret
	}
}

// EndSessions makes every session of a role an expired one.
func (s *Server) EndSessions() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id := range s.tokens {
		s.ended[id] = true
	}
}

// fault finds the fault for a request and uses it up.
func (s *Server) fault(operation, arn string, random func() float64) (*Fault, <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, f := range s.faults {
		if f.Operation != "" && f.Operation != operation || f.Key != "" && f.Key != arn || f.Share > 0 && random() >= f.Share {
			continue
		}
		if f.Times > 0 {
			if f.Times--; f.Times == 0 {
				s.faults = append(s.faults[:i:i], s.faults[i+1:]...)
			}
		}
		return f, s.cleared
	}
	return nil, nil
}

// admit counts a request and takes it off the quota.
func (s *Server) admit(operation string) bool {
	s.total.Add(1)
	s.mu.Lock()
	s.counts[operation]++
	limiter := s.limiters[operation]
	s.mu.Unlock()
	return limiter == nil || limiter.Allow()
}

func (s *Server) wait(ctx context.Context) {
	if s.config.Latency <= 0 {
		return
	}
	select {
	case <-time.After(s.config.Latency):
	case <-ctx.Done():
	}
}

func (s *Server) nextID(prefix string) string {
	return fmt.Sprintf("%s%08x-1111-4222-8333-%012x", prefix, s.serial.Add(1), s.serial.Load())
}
