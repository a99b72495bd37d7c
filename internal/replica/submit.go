// SPDX-License-Identifier: Apache-2.0

package replica

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/ethereum/go-ethereum/common"

	"github.com/hsmsigner/hsmsigner/internal/txmgr"
)

// The answer to a submission is a stream of lines: first that the requests were
// taken, in their order, then an outcome for each as it becomes known.

// submission is what one replica hands another.
type submission struct {
	Sender string           `json:"sender"`
	Items  []txmgr.Handover `json:"items"`
}

// line is one line of the answer.
type line struct {
	Item *int `json:"item,omitempty"` // nil: all were taken
	reply
}

// maxSubmission bounds one submission, in bytes: a round of requests with blobs.
const maxSubmission = 256 << 20

// Submit hands requests to the holder of a lease; see txmgr.Peers.
func (c *Client) Submit(ctx context.Context, owner, sender string, items []txmgr.Handover, taken func(), outcome func(i int, hash common.Hash, err error)) error {
	peer, ok := c.registry.peer(owner)
	if !ok {
		return txmgr.ErrNotAsked
	}
	body, err := json.Marshal(submission{Sender: sender, Items: items})
	if err != nil {
		return fmt.Errorf("replica: %w", err)
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, peer.URL+"/replica/v1/submit", bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("%w: %w", txmgr.ErrPeer, err)
	}
	if err := c.registry.sign(peer, r, body); err != nil {
		return fmt.Errorf("%w: %w", txmgr.ErrNotAsked, err)
	}
	r.Header.Set("Content-Type", "application/json")
	answer, err := c.submits.Do(r)
	if err != nil {
		return fmt.Errorf("%w: %w", txmgr.ErrPeer, err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("%w: status %d", txmgr.ErrPeer, answer.StatusCode)
	}
	lines := bufio.NewScanner(answer.Body)
	lines.Buffer(make([]byte, 4096), maxMessage)
	for left := len(items); left > 0 && lines.Scan(); {
		var l line
		if err := json.Unmarshal(lines.Bytes(), &l); err != nil {
			return fmt.Errorf("%w: %w", txmgr.ErrPeer, err)
		}
		switch {
		case l.Unknown && l.Item == nil:
			return txmgr.ErrNoSender
		case l.Item == nil:
			taken()
		case *l.Item < 0 || *l.Item >= len(items):
			return fmt.Errorf("%w: it answers for item %d of %d", txmgr.ErrPeer, *l.Item, len(items))
		default:
			left--
			outcome(*l.Item, l.Hash, l.err(items[*l.Item].Row.ID))
			if left == 0 {
				return nil
			}
		}
	}
	return fmt.Errorf("%w: the answer broke off", txmgr.ErrPeer)
}

// submit answers Submit.
func (r *Registry) submit(m Manager) http.HandlerFunc {
	return func(w http.ResponseWriter, request *http.Request) {
		body, err := r.body(w, request, maxSubmission)
		if err != nil {
			r.cfg.Logger.Warn("a question to this replica was refused", "err", err)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		var s submission
		if err := json.Unmarshal(body, &s); err != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		var mu sync.Mutex
		encoder := json.NewEncoder(w)
		control := http.NewResponseController(w)
		_ = control.SetReadDeadline(time.Time{}) // the answer takes as long as it takes
		say := func(l line) {
			mu.Lock()
			defer mu.Unlock()
			// If the peer has gone it finds the rest in the rows.
			_ = encoder.Encode(l)
			_ = control.Flush()
		}
		w.Header().Set("Content-Type", "application/x-ndjson")
		err = m.Take(s.Sender, s.Items, func() { say(line{}) }, func(i int, hash common.Hash, err error) {
			a := failed(err)
			a.Hash = hash
			say(line{Item: &i, reply: a})
		})
		if err != nil {
			say(line{reply: reply{Unknown: true}})
		}
	}
}
