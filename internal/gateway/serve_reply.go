// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"context"
	"encoding/json"
	"math/big"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/ethereum/go-ethereum/common"

	"github.com/hsmsigner/hsmsigner/internal/contract"
)

// Accepted is the answer about a transaction that was taken in.
type Accepted struct {
	Sent bool   `json:"sent"`
	ID   string `json:"id"` // of the reply
	// Hash is left out while it is not known.
	Hash  string `json:"transactionHash,omitempty"`
	Reply string `json:"reply"` // path of the reply
}

// The types of replies.
const (
	replyPending = "TransactionPending"
	replySuccess = "TransactionSuccess"
	replyFailure = "TransactionFailure" // mined, and reverted
	replyError   = "Error"              // never mined, and never will be
)

// Reply is what became of a transaction. Numbers are decimal text.
type Reply struct {
	Headers  ReplyHeaders `json:"headers"`
	ID       string       `json:"_id"`
	Received time.Time    `json:"receivedAt"`
	Pending  bool         `json:"pending,omitempty"`
	Final    bool         `json:"final"` // no reorganisation of the chain changes it any more

	BlockHash         string  `json:"blockHash,omitempty"`
	BlockNumber       string  `json:"blockNumber,omitempty"`
	Hash              string  `json:"transactionHash,omitempty"`
	Index             string  `json:"transactionIndex,omitempty"`
	From              string  `json:"from"`
	To                *string `json:"to,omitempty"`
	Nonce             string  `json:"nonce,omitempty"`
	Value             string  `json:"value,omitempty"`
	Status            string  `json:"status,omitempty"`
	GasUsed           string  `json:"gasUsed,omitempty"`
	CumulativeGasUsed string  `json:"cumulativeGasUsed,omitempty"`
	GasPrice          string  `json:"effectiveGasPrice,omitempty"`

	Contract   string `json:"contractAddress,omitempty"`
	OpenAPI    string `json:"openapi,omitempty"`
	Exerciser  string `json:"apiexerciser,omitempty"`
	RegisterAs string `json:"registerAs,omitempty"`

	Method string       `json:"method,omitempty"` // signature of what was called
	Events []ReplyEvent `json:"events,omitempty"`
	Revert *Revert      `json:"revert,omitempty"`

	ErrorMessage string `json:"errorMessage,omitempty"`
	ErrorCode    string `json:"errorCode,omitempty"`
}

// ReplyHeaders say what a reply is about.
type ReplyHeaders struct {
	ID           string    `json:"id"`
	Type         string    `json:"type"`
	TimeReceived time.Time `json:"timeReceived"`
	TimeElapsed  float64   `json:"timeElapsed"` // seconds
	RequestID    string    `json:"requestId"`
	RequestABI   string    `json:"requestABIId,omitempty"`
	Transaction  string    `json:"transactionId"` // by which the management API has it
}

// ReplyEvent is an event of the transaction that the interface knows.
type ReplyEvent struct {
	Address   string          `json:"address"`
	Name      string          `json:"name"`
	Signature string          `json:"signature"`
	LogIndex  string          `json:"logIndex"` // within the block
	Data      json.RawMessage `json:"data"`
}

// outcome answers about what was just accepted: at once, or when it is mined.
func (q *request) outcome(sent contract.Sent) (answer, error) {
	if !q.sync {
		a := Accepted{Sent: true, ID: sent.ID, Reply: q.Base + "/replies/" + sent.ID}
		if sent.Hash != (common.Hash{}) {
			a.Hash = sent.Hash.Hex()
		}
		return answer{status: http.StatusAccepted, body: a, location: a.Reply}, nil
	}
	ctx, cancel := context.WithTimeout(q.r.Context(), q.h.cfg.SyncTimeout)
	defer cancel()
	ended := make(chan struct{})
	defer close(ended)
	go func() {
		select {
		case <-q.h.stop:
			cancel()
		case <-ended:
		}
	}()
	r, err := q.h.cfg.Desk.Await(ctx, q.target(), sent.ID)
	if err != nil {
		return answer{}, err
	}
	return q.finished(r), nil
}

// finished answers whoever has waited.
func (q *request) finished(r contract.Reply) answer {
	body := q.reply(r)
	switch r.State {
	case contract.StateSucceeded:
		return ok(body)
	case contract.StateReverted:
		return answer{status: http.StatusInternalServerError, body: body}
	case contract.StateReplaced, contract.StateFailed:
		e, known := toRefusal(r.Failure)
		if r.Failure == nil || !known {
			return answer{status: http.StatusConflict, body: body}
		}
		return answer{status: e.status, body: body}
	}
	return answer{status: http.StatusAccepted, body: body, location: q.Base + "/replies/" + r.ID}
}

// reply words a reply.
func (q *request) reply(r contract.Reply) Reply {
	b := Reply{
		ID: r.ID, Received: r.Received.UTC(), Final: r.Final, Method: r.Origin.Method,
		From: lower(r.From), Value: decimal(r.Value), Revert: revertIf(r.Revert),
		Headers: ReplyHeaders{
			ID: r.ID, RequestID: r.ID, RequestABI: r.Origin.ABI, Transaction: r.Tx, TimeReceived: r.Received.UTC(),
			TimeElapsed: max(0, r.Updated.Sub(r.Received).Seconds()),
		},
	}
	if r.To != nil {
		to := lower(*r.To)
		b.To = &to
	}
	if r.Nonce != nil {
		b.Nonce = strconv.FormatUint(*r.Nonce, 10)
	}
	if r.Hash != (common.Hash{}) {
		b.Hash = r.Hash.Hex()
	}
	switch r.State {
	case contract.StateSucceeded:
		b.Headers.Type, b.Status = replySuccess, "1"
	case contract.StateReverted:
		b.Headers.Type, b.Status = replyFailure, "0"
		b.ErrorCode, b.ErrorMessage = codeReverted, "execution reverted"
		if r.Revert != nil && r.Revert.Reason != "" {
			b.ErrorMessage += ": " + r.Revert.Reason
		}
	case contract.StateReplaced, contract.StateFailed:
		b.Headers.Type = replyError
		b.ErrorCode, b.ErrorMessage = failed(r)
	default:
		b.Headers.Type, b.Pending = replyPending, true
	}
	if r.Receipt != nil {
		b.receipt(r.Receipt)
	}
	for _, e := range r.Events {
		b.Events = append(b.Events, ReplyEvent{
			Address: lower(e.Address), Name: e.Name, Signature: e.Signature,
			LogIndex: strconv.FormatUint(e.Index, 10), Data: e.Data,
		})
	}
	if r.Contract != nil {
		b.Contract, b.RegisterAs = lower(*r.Contract), r.Origin.Name
		path := q.Base + "/contracts/" + b.Contract
		b.OpenAPI = path + "?openapi"
		if q.Page {
			b.Exerciser = path + "?ui"
		}
	}
	return b
}

// receipt copies what a receipt says.
func (b *Reply) receipt(r *contract.Receipt) {
	b.BlockHash, b.BlockNumber = r.BlockHash.Hex(), strconv.FormatUint(r.BlockNumber, 10)
	b.Hash, b.Index = r.Hash.Hex(), strconv.FormatUint(r.Index, 10)
	b.GasUsed, b.CumulativeGasUsed = strconv.FormatUint(r.GasUsed, 10), strconv.FormatUint(r.CumulativeGasUsed, 10)
	b.GasPrice = decimal(r.EffectiveGasPrice)
}

// failed says why a transaction will never be mined.
func failed(r contract.Reply) (code, message string) {
	if r.Failure == nil {
		return codeConflict, "another transaction was mined in its place"
	}
	e, known := toRefusal(r.Failure)
	if !known {
		return codeInternal, "it failed within the signer: its log says why"
	}
	return e.body.Code, e.body.Message
}

func decimal(n *big.Int) string {
	if n == nil {
		return ""
	}
	return n.String()
}

func revertIf(r *contract.Reverted) *Revert {
	if r == nil {
		return nil
	}
	return revertOf(*r)
}

// revertOf words what a contract said.
func revertOf(r contract.Reverted) *Revert {
	said := &Revert{Reason: r.Reason, Data: hexText(r.Data)}
	if d := r.Decoded; d != nil {
		said.Name, said.Signature, said.Args = d.Name, d.Signature, d.Args
		if d.Reason != "" {
			said.Reason = d.Reason
		}
	}
	return said
}

func showReply(q *request) (answer, error) {
	ctx, cancel := q.context()
	defer cancel()
	r, err := q.h.cfg.Desk.Reply(ctx, q.target(), q.path["reply"])
	if err != nil {
		return answer{}, err
	}
	return ok(q.reply(r)), nil
}

// maxSkip bounds what has to be read in vain.
const maxSkip = 1000

func listReplies(q *request) (answer, error) {
	f, skip, err := q.replyFilter()
	if err != nil {
		return answer{}, err
	}
	ctx, cancel := q.context()
	defer cancel()
	want := f.Limit
	list := []Reply{}
	for f.Limit = min(200, skip+want); len(list) < want; f.Limit = min(200, skip+want-len(list)) {
		page, err := q.h.cfg.Desk.Replies(ctx, q.target(), f)
		if err != nil {
			return answer{}, err
		}
		for i, r := range page {
			if i >= skip && len(list) < want {
				list = append(list, q.reply(r))
			}
		}
		skip = max(0, skip-len(page))
		if len(page) < f.Limit {
			break
		}
		f.Before = page[len(page)-1].Tx
	}
	return ok(list), nil
}

func (q *request) replyFilter() (f contract.ReplyFilter, skip int, err error) {
	if f.Limit, err = q.number("limit", 1, 200); err != nil {
		return f, 0, err
	}
	if f.Limit == 0 {
		f.Limit = 50
	}
	if skip, err = q.number("skip", 0, maxSkip); err != nil {
		return f, 0, err
	}
	if q.query.Has("from") {
		from, good := parseAddress(q.query.Get("from"))
		if !good {
			return f, 0, bad("from: want an address, 0x and 40 hex digits, got %s", quote(q.query.Get("from")))
		}
		f.From = &from
	}
	if q.query.Has("before") && q.query.Has("start") {
		return f, 0, bad("start: means the same as before: want one of them")
	}
	for _, name := range []string{"before", "start"} {
		if !q.query.Has(name) {
			continue
		}
		if f.Before = strings.TrimPrefix(q.query.Get(name), "0x"); len(f.Before) != 32 || !isHex(f.Before) {
			return f, 0, bad("%s: want the transactionId of the last reply of the page before", name)
		}
	}
	if q.query.Has("since") {
		if f.Since, err = since(q.query.Get("since")); err != nil {
			return f, 0, err
		}
	}
	return f, skip, nil
}

// since reads a time as RFC 3339 has it, or milliseconds since 1970.
func since(text string) (time.Time, error) {
	if at, err := time.Parse(time.RFC3339, text); err == nil {
		return at, nil
	}
	if n, err := strconv.ParseInt(text, 10, 64); err == nil && n >= 0 {
		return time.UnixMilli(n), nil
	}
	return time.Time{}, bad("since: want a time like 2026-01-31T12:00:00Z, or milliseconds since 1970, got %s", quote(text))
}

// Status is the answer to GET /status.
type Status struct {
	OK bool `json:"ok"`
}

func showStatus(*request) (answer, error) { return ok(Status{true}), nil }
