// SPDX-License-Identifier: Apache-2.0

package node

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net/http"
	"net/textproto"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// post sends one HTTP request and reads the whole answer, of at most limit
// bytes. The deadline is the caller's or Config.Timeout, whichever is sooner.
// repeat allows one second try where the connection died before anything of an
// answer came: a kept connection that the node closed at the same moment. Only
// reads may repeat.
func (e *endpoint) post(ctx context.Context, body []byte, extra http.Header, limit int64, repeat bool) (int, []byte, error) {
	select {
	case <-e.c.closed:
		return 0, nil, ErrClosed
	default:
	}
	start := time.Now()
	deadline := start.Add(e.c.cfg.Timeout)
	if d, ok := ctx.Deadline(); ok && d.Before(deadline) {
		deadline = d
	}
	p := &posting{deadline: deadline, body: body, extra: extra, limit: limit}
	status, answer, err := e.postOnce(ctx, p)
	if err != nil && repeat && ctx.Err() == nil && connectionDied(err) && time.Now().Before(deadline) {
		p.fresh = true
		status, answer, err = e.postOnce(ctx, p)
	}
	if err != nil {
		err = connectionFault(ctx, err)
	}
	e.stats.record(start, err)
	if err != nil && e.watch != nil {
		e.watch.doubt(err)
	}
	return status, answer, err
}

// posting is one HTTP request.
type posting struct {
	deadline time.Time
	body     []byte
	extra    http.Header // a caller's
	limit    int64       // of the answer, in bytes
	fresh    bool        // not over a kept connection
}

func (e *endpoint) postOnce(ctx context.Context, p *posting) (int, []byte, error) {
	if e.wire != nil && len(p.body) <= maxWireBody {
		return e.wire.post(ctx, p)
	}
	ctx, cancel := context.WithDeadline(ctx, p.deadline)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, e.url, bytes.NewReader(p.body))
	if err != nil {
		return 0, nil, &fault{ErrUnavailable, "request could not be made"}
	}
	// The transport does not write to a request's header, so that the common
	// one can be shared by all.
	req.Header = e.header
	if len(p.extra) > 0 {
		req.Header = merge(e.header, p.extra)
	}
	if e.host != "" {
		req.Host = e.host
	}
	// Not http.Client: no redirects, no cookies, and the deadline is ctx's.
	resp, err := e.transport.RoundTrip(req)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	answer, err := e.c.memory.read(ctx, p.deadline, resp.Body, resp.ContentLength, p.limit)
	return resp.StatusCode, answer, err
}

// merge adds a caller's headers to ours. What identifies us to the node or
// frames the message stays ours.
func merge(base, extra http.Header) http.Header {
	h := base.Clone()
	for k, v := range extra {
		if k = textproto.CanonicalMIMEHeaderKey(k); passes(base, k) {
			h[k] = v
		}
	}
	return h
}

// passes says whether a caller's header, of canonical name, goes to the node.
func passes(base http.Header, name string) bool {
	switch name {
	case "Authorization", "Proxy-Authorization", "Cookie", "Host", "Content-Type", "Content-Length",
		"Content-Encoding", "Accept", "Accept-Encoding", "Connection", "Keep-Alive", "Proxy-Connection",
		"Te", "Trailer", "Transfer-Encoding", "Upgrade", "Expect":
		return false
	}
	_, ours := base[name]
	return !ours && !strings.HasPrefix(name, "Sec-")
}

// connectionDied says that a connection broke before the first byte of an
// answer.
func connectionDied(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) || closedIdle(err)
}

func isTLS(err error) bool {
	var record tls.RecordHeaderError
	var alert tls.AlertError
	var verify *tls.CertificateVerificationError
	var authority x509.UnknownAuthorityError
	return errors.As(err, &record) || errors.As(err, &alert) || errors.As(err, &verify) || errors.As(err, &authority)
}

// statusFault is the error of an answer that is no JSON-RPC response. cause says
// what was wrong with the body.
func statusFault(status int, cause error) error {
	if status >= 200 && status < 300 {
		return cause
	}
	return &fault{ErrUnavailable, "HTTP status " + strconv.Itoa(status)}
}

// repeatable says whether a method may be asked twice without a difference.
// Filters are consumed by reading them, and sending is for the caller to repeat.
func repeatable(method string) bool {
	switch method {
	case "eth_getFilterChanges":
		return false
	case "eth_call", "eth_chainId", "eth_blockNumber", "eth_gasPrice", "eth_maxPriorityFeePerGas",
		"eth_feeHistory", "eth_estimateGas", "eth_blobBaseFee", "eth_createAccessList":
		return true
	}
	return strings.HasPrefix(method, "eth_get") || strings.HasPrefix(method, "net_") || strings.HasPrefix(method, "web3_")
}
