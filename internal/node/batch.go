// SPDX-License-Identifier: Apache-2.0

package node

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync"
	"time"
)

const (
	// maxBatchCalls is geth's advice halved a few times: its own limit is
	// 1,000 (--rpc.batch-request-limit), Erigon's 100 (--rpc.batch.limit).
	maxBatchCalls = 100
	// maxBatchBytes stays under the 5 MiB that geth takes in one request
	// (rpc/http.go, defaultBodyLimit).
	maxBatchBytes = 2 << 20
	// batchMemory is how long a refusal of batches is believed. One odd
	// answer of a gateway must not cost batches for ever.
	batchMemory = 10 * time.Minute
)

// batchLimit is how many calls the node takes at once, as far as is known.
type batchLimit struct {
	mu    sync.Mutex
	limit int
	until time.Time
}

func (l *batchLimit) get() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.limit == 0 || time.Now().After(l.until) {
		return maxBatchCalls
	}
	return l.limit
}

func (l *batchLimit) refused(size int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if smaller := max(1, size/2); l.limit == 0 || smaller < l.limit || time.Now().After(l.until) {
		l.limit, l.until = smaller, time.Now().Add(batchMemory)
	}
}

// batch answers all questions, in order, in as few requests as the node
// allows. Once a request got no answer at all, the rest is not tried: with a
// dead node every piece would cost a full timeout.
func (e *endpoint) batch(ctx context.Context, qs []*question, header http.Header) {
	for len(qs) > 0 {
		n := piece(qs, e.batches.get())
		var err error
		if n == 1 {
			e.single(ctx, qs[0], header)
			err = qs[0].err
		} else {
			var again bool
			if again, err = e.batchOnce(ctx, qs[:n], header); again {
				e.batches.refused(n)
				continue
			}
		}
		qs = qs[n:]
		if err != nil && !errors.Is(err, ErrBadResponse) && !errors.Is(err, ErrTooLarge) {
			for _, q := range qs {
				q.err = err
			}
			return
		}
	}
}

// piece is how many of the first questions go into one request.
func piece(qs []*question, limit int) int {
	size := 0
	for i, q := range qs {
		size += len(q.params) + len(q.method) + 64
		if i == limit || i > 0 && size > maxBatchBytes {
			return i
		}
	}
	return len(qs)
}

// batchOnce asks several questions in one request. again says that the node
// refused because they were several. err is set if none has an answer.
func (e *endpoint) batchOnce(ctx context.Context, qs []*question, header http.Header) (again bool, err error) {
	first := e.lastID.Add(uint64(len(qs))) - uint64(len(qs)) + 1
	size, repeat := 2, true
	for _, q := range qs {
		size += len(q.params) + len(q.method) + 64
		repeat = repeat && repeatable(q.method)
	}
	body := append(make([]byte, 0, size), '[')
	for i, q := range qs {
		if i > 0 {
			body = append(body, ',')
		}
		body = appendRequest(body, first+uint64(i), q.method, q.params)
	}
	status, answer, err := e.post(ctx, append(body, ']'), header, e.c.limit(qs...), repeat)
	if err != nil {
		return false, failAll(qs, err)
	}
	list, single, err := parseBatch(answer, len(qs))
	switch {
	case err != nil && batchStatus(status):
		return true, nil
	case err != nil:
		return false, failAll(qs, statusFault(status, err))
	case single != nil && single.Error == nil:
		return false, failAll(qs, badResponse("one answer to a batch"))
	case single != nil:
		if againstBatch(single.Response) {
			return true, nil
		}
		for _, q := range qs { // the node's refusal of the whole holds for each
			q.answer = single.Response
		}
		return false, nil
	case len(list) == 1 && list[0].Error != nil && againstBatch(list[0].Response):
		// geth answers a batch that is too large with one item (rpc/handler.go).
		return true, nil
	}
	missing := badResponse("no answer to this call of a batch")
	for _, q := range qs {
		q.err = missing
	}
	for _, env := range list {
		id, ok := env.number()
		if !ok || id < first || id-first >= uint64(len(qs)) {
			continue
		}
		q := qs[id-first]
		if q.err == nil {
			q.answer, q.err = Response{}, badResponse("two answers to one call of a batch")
			continue
		}
		q.answer, q.err = env.Response, nil
	}
	return false, nil
}

// batchStatus says whether an HTTP status without a JSON-RPC answer may mean
// that the batch was the trouble: too large, or a form the server cannot read.
func batchStatus(status int) bool {
	switch status {
	case http.StatusBadRequest, http.StatusRequestEntityTooLarge, http.StatusUnprocessableEntity, http.StatusNotImplemented:
		return true
	}
	return false
}

// againstBatch says whether the node's refusal is about the batch as such:
// by its words (geth "batch too large", Erigon "batch limit 100 exceeded",
// Besu "Number of requests in batch exceeds limit", Nethermind "Batch size
// limit exceeded", Reth "Batched requests are not supported by this server"),
// or because the server could not read an array at all.
func againstBatch(r Response) bool {
	e := parseError(r.Error)
	return strings.Contains(strings.ToLower(e.Message), "batch") ||
		e.Code == codeParseError || e.Code == codeInvalidRequest
}

// Codes of JSON-RPC 2.0, section 5.1, as far as they matter here.
const (
	codeParseError     = -32700
	codeInvalidRequest = -32600
	codeMethodNotFound = -32601
	codeInternal       = -32603
)

func failAll(qs []*question, err error) error {
	for _, q := range qs {
		q.err = err
	}
	return err
}
