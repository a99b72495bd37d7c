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
	"sync"
	"syscall"
	"time"
)

// post sends one HTTP request and reads the whole answer. The deadline is the
// caller's or Config.Timeout, whichever is sooner. repeat allows one second
// try where the connection died before anything of an answer came: a kept
// connection that the node closed at the same moment. Only reads may repeat.
func (e *endpoint) post(ctx context.Context, body []byte, extra http.Header, repeat bool) (int, []byte, error) {
	select {
	case <-e.c.closed:
		return 0, nil, ErrClosed
	default:
	}
	ctx, cancel := context.WithTimeout(ctx, e.c.cfg.Timeout)
	defer cancel()
	start := time.Now()
	status, answer, err := e.postOnce(ctx, body, extra)
	if err != nil && repeat && ctx.Err() == nil && connectionDied(err) {
		status, answer, err = e.postOnce(ctx, body, extra)
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

func (e *endpoint) postOnce(ctx context.Context, body []byte, extra http.Header) (int, []byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, e.url, bytes.NewReader(body))
	if err != nil {
		return 0, nil, &fault{ErrUnavailable, "request could not be made"}
	}
	// The transport does not write to a request's header, so that the common
	// one can be shared by all.
	req.Header = e.header
	if len(extra) > 0 {
		req.Header = merge(e.header, extra)
	}
	if e.host != "" {
		req.Host = e.host
	}
	resp, err := e.http.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	answer, err := e.scratch.readLimited(resp.Body, resp.ContentLength, e.c.cfg.MaxResponse)
	return resp.StatusCode, answer, err
}

// scratch holds buffers for answers of unannounced length, which would else be
// grown, and thrown away, several times over.
type scratch struct{ pool sync.Pool }

// maxScratch bounds what is kept between answers.
const maxScratch = 4 << 20

func (s *scratch) get() []byte {
	if b, ok := s.pool.Get().(*[]byte); ok {
		return *b
	}
	return make([]byte, 16<<10)
}

func (s *scratch) put(b []byte) {
	if cap(b) <= maxScratch {
		b = b[:cap(b)]
		s.pool.Put(&b)
	}
}

// readLimited reads up to limit bytes. The length that the node announces is
// believed up to a megabyte only, so that memory is spent on what has come
// and not on what was promised.
func (s *scratch) readLimited(r io.Reader, announced, limit int64) ([]byte, error) {
	if announced > limit {
		return nil, tooLarge(limit)
	}
	if announced >= 0 && announced <= 1<<20 {
		buf := make([]byte, announced)
		_, err := io.ReadFull(r, buf)
		return buf, err
	}
	buf := s.get()
	defer func() { s.put(buf) }()
	for n := 0; ; {
		if n == len(buf) {
			grown := make([]byte, min(2*int64(len(buf)), max(limit+1, int64(n)+1)))
			copy(grown, buf)
			buf = grown // the small one is not kept: the pool learns the usual size
		}
		m, err := r.Read(buf[n:])
		n += m
		if int64(n) > limit {
			return nil, tooLarge(limit)
		}
		if err == io.EOF {
			return append([]byte(nil), buf[:n]...), nil
		}
		if err != nil {
			return nil, err
		}
	}
}

func tooLarge(limit int64) error {
	return &fault{ErrTooLarge, "more than " + strconv.FormatInt(limit, 10) + " bytes"}
}

// merge adds a caller's headers to ours. What identifies us to the node or
// frames the message stays ours.
func merge(base, extra http.Header) http.Header {
	h := base.Clone()
	for k, v := range extra {
		k = textproto.CanonicalMIMEHeaderKey(k)
		switch k {
		case "Authorization", "Proxy-Authorization", "Cookie", "Host", "Content-Type", "Content-Length",
			"Content-Encoding", "Accept", "Accept-Encoding", "Connection", "Keep-Alive", "Proxy-Connection",
			"Te", "Trailer", "Transfer-Encoding", "Upgrade", "Expect":
			continue
		}
		if _, ours := base[k]; ours || strings.HasPrefix(k, "Sec-") {
			continue
		}
		h[k] = v
	}
	return h
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
