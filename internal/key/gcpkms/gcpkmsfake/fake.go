// SPDX-License-Identifier: Apache-2.0

// Package gcpkmsfake is a stand-in for Google Cloud KMS at its wire: a gRPC
// server of google.cloud.kms.v1.KeyManagementService on a loopback address. It
// exists because no emulator signs with secp256k1, and it can be told to
// throttle, hang and lie.
//
// What it answers is taken from Google's documentation and client library, which
// the comments name; it was never compared with the real service. It keeps
// private keys in memory and is for tests only.
package gcpkmsfake

import (
	"context"
	"crypto/rsa"
	"crypto/x509"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"cloud.google.com/go/kms/apiv1/kmspb"
	"golang.org/x/time/rate"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"
)

// Options says how the service behaves. The zero value answers at once, without limits.
type Options struct {
	Ring     string        // resource name of the key ring; a default if empty
	Latency  time.Duration // of every call
	PageSize int           // most items of a page; 1000 if zero
	Polls    int           // how often a new version or import job is described as pending

	// The quotas that https://cloud.google.com/kms/quotas documents, in calls a
	// second; zero: none. GetPublicKey and AsymmetricSign are cryptographic
	// requests, what lists and describes is a read.
	ReadsPerSecond  float64
	CryptoPerSecond float64
	RetryInfo       time.Duration // sent with RESOURCE_EXHAUSTED; zero: none, as Cloud KMS does

	TLS      bool         // with a certificate of its own; see Roots
	Listener net.Listener // nil: a free port of 127.0.0.1
}

// DefaultRing is the key ring of a server that was given none.
const DefaultRing = "projects/signer-test/locations/europe-west3/keyRings/signer"

// Server is one running fake. Its methods are safe for concurrent use.
type Server struct {
	kmspb.UnimplementedKeyManagementServiceServer

	options     Options
	listener    *countingListener
	server      *grpc.Server
	certificate *certificate
	reads       *rate.Limiter
	crypto      *rate.Limiter

	mu       sync.Mutex
	keys     map[string]*cryptoKey // by resource name
	order    []string
	jobs     map[string]*importJob
	faults   map[string]func(call int) *Fault
	denied   map[string]bool
	calls    map[string]int
	reasons  map[string]bool
	accounts map[string]account // by key id; empty: no authentication
	refused  map[string]bool    // tokens that are not taken any more
	seen     map[string]bool    // tokens that were
	opaque   []string           // access tokens that are taken without a look inside
}

// Fault is what one call does instead of answering.
type Fault struct {
	Err    error                              // answered in place of a reply
	Hang   bool                               // until the caller gives up
	Answer func(request, reply proto.Message) // changes a reply on its way out
}

// Start starts a server. Close ends it.
func Start(o Options) (*Server, error) {
	if o.Ring == "" {
		o.Ring = DefaultRing
	}
	if o.PageSize == 0 {
		o.PageSize = 1000
	}
	s := &Server{
		options: o, reads: limiter(o.ReadsPerSecond), crypto: limiter(o.CryptoPerSecond),
		keys: map[string]*cryptoKey{}, jobs: map[string]*importJob{}, faults: map[string]func(int) *Fault{},
		denied: map[string]bool{}, calls: map[string]int{}, reasons: map[string]bool{},
		accounts: map[string]account{}, refused: map[string]bool{}, seen: map[string]bool{},
	}
	serverOptions := []grpc.ServerOption{grpc.UnaryInterceptor(s.intercept)}
	if o.TLS {
		c, err := newCertificate()
		if err != nil {
			return nil, fmt.Errorf("gcpkmsfake: make a certificate: %w", err)
		}
		s.certificate = c
		serverOptions = append(serverOptions, grpc.Creds(credentials.NewTLS(c.config())))
	}
	l := o.Listener
	if l == nil {
		var err error
		if l, err = new(net.ListenConfig).Listen(context.Background(), "tcp", "127.0.0.1:0"); err != nil {
			return nil, fmt.Errorf("gcpkmsfake: %w", err)
		}
	}
	s.listener = &countingListener{Listener: l}
	s.server = grpc.NewServer(serverOptions...)
	kmspb.RegisterKeyManagementServiceServer(s.server, s)
	go func() { _ = s.server.Serve(s.listener) }() // returns after Close
	return s, nil
}

func limiter(perSecond float64) *rate.Limiter {
	if perSecond <= 0 {
		return rate.NewLimiter(rate.Inf, 0)
	}
	return rate.NewLimiter(rate.Limit(perSecond), max(1, int(perSecond)))
}

// Close ends the server and every call under way.
func (s *Server) Close() { s.server.Stop() }

// Addr is where the server listens, as host:port.
func (s *Server) Addr() string { return s.listener.Addr().String() }

// Ring is the resource name of the key ring.
func (s *Server) Ring() string { return s.options.Ring }

// Roots holds the server's certificate, if it speaks TLS.
func (s *Server) Roots() *x509.CertPool { return s.certificate.pool() }

// Calls returns how often a method was called, by its name without package.
func (s *Server) Calls(method string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.calls[method]
}

// Connections returns how many connections were made.
func (s *Server) Connections() int { return int(s.listener.accepted.Load()) }

// SawReason reports that a call carried this X-Goog-Request-Reason.
func (s *Server) SawReason(reason string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.reasons[reason]
}

// Fault lets f decide about every call of a method, which are counted from 1. A
// nil Fault answers as usual; a nil f ends it.
func (s *Server) Fault(method string, f func(call int) *Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults[method] = f
	s.calls[method] = 0
}

// Deny takes a permission, like cloudkms.cryptoKeyVersions.useToSign, from the
// caller, or gives it back.
func (s *Server) Deny(permission string, denied bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.denied[permission] = denied
}

// Authorise lets in the key of a service account. From the first on, calls
// without a good token are refused.
func (s *Server) Authorise(email, keyID string, public *rsa.PublicKey) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.accounts[keyID] = account{email: email, public: public}
}

// Revoke deletes the key of a service account.
func (s *Server) Revoke(keyID string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.accounts[keyID] = account{}
}

// AcceptTokens lets in these access tokens, and no others, beside the service
// accounts' own: those that a token service gave out.
func (s *Server) AcceptTokens(tokens ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.opaque = tokens
}

// ExpireTokens refuses every token that was seen so far.
func (s *Server) ExpireTokens() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for t := range s.seen {
		s.refused[t] = true
	}
}

// intercept stands before every call.
func (s *Server) intercept(ctx context.Context, request any, info *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (any, error) {
	method := info.FullMethod[strings.LastIndexByte(info.FullMethod, '/')+1:]
	headers, _ := metadata.FromIncomingContext(ctx)
	s.mu.Lock()
	s.calls[method]++
	call, decide := s.calls[method], s.faults[method]
	for _, r := range headers.Get("x-goog-request-reason") {
		s.reasons[r] = true
	}
	s.mu.Unlock()
	var fault *Fault
	if decide != nil {
		fault = decide(call)
	}
	if fault != nil && fault.Hang {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	if err := pause(ctx, s.options.Latency); err != nil {
		return nil, err
	}
	if err := s.admit(method, headers); err != nil {
		return nil, err
	}
	if fault != nil && fault.Err != nil {
		return nil, fault.Err
	}
	reply, err := handle(ctx, request)
	if err == nil && fault != nil && fault.Answer != nil {
		fault.Answer(request.(proto.Message), reply.(proto.Message))
	}
	return reply, err
}

func pause(ctx context.Context, d time.Duration) error {
	if d == 0 {
		return nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

type countingListener struct {
	net.Listener
	accepted atomic.Int64
}

func (l *countingListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err == nil {
		l.accepted.Add(1)
	}
	return c, err
}
