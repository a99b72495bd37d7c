// SPDX-License-Identifier: Apache-2.0

package rpc

import (
	"context"
	"errors"
	"log/slog"

	"github.com/hsmsigner/hsmsigner/internal/approval"
	"github.com/hsmsigner/hsmsigner/internal/policy"
	"github.com/hsmsigner/hsmsigner/internal/strictjson"
	"github.com/hsmsigner/hsmsigner/internal/tx"
	"github.com/hsmsigner/hsmsigner/internal/txmgr"
)

// Approvals tells what becomes of requests that wait for people. *approval.Book
// is one.
type Approvals interface {
	// Await returns what has become of a request as soon as its caller need not
	// wait any longer, or how it stands when ctx ends.
	Await(ctx context.Context, id string) (approval.Outcome, error)
}

// people waits, where the configuration says so, for the people whom a rule wants
// asked first, and gives the caller what then becomes of his request. A caller who
// asks again for something that is decided gets that at once. patience bounds the
// waiting; err is what came of the request so far, and is not nil.
func (c *call) people(ctx, patience context.Context, m *method, r *request, err error) ([]byte, error) {
	var pending *policy.PendingError
	book := c.server.cfg.Approvals
	if book == nil || !errors.As(err, &pending) {
		return nil, err
	}
	if c.server.cfg.ApprovalWait <= 0 && pending.Have < pending.Need {
		return nil, err
	}
	outcome, failed := book.Await(patience, pending.ID)
	switch {
	case failed != nil:
		c.server.log.LogAttrs(ctx, slog.LevelError, "what became of a request for approval cannot be read",
			slog.String("approval", pending.ID), slog.Any("err", failed))
		return nil, err
	case !outcome.Settled():
		still := *pending
		still.Have, still.Need, still.Waits = outcome.Have, outcome.Need, outcome.Waits
		return nil, &still
	case outcome.Text != "":
		return nil, &Error{
			Code: codeDenied, Message: "denied: " + outcome.Text,
			Data: append(strictjson.AppendString([]byte(`{"approval":`), pending.ID), '}'),
		}
	case m.begin == nil:
		return c.run(ctx, m, r)
	}
	return c.approved(ctx, r, pending.ID)
}

// patience is how long requests of one body or message wait for people.
func (c *call) patience(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, c.server.cfg.ApprovalWait)
}

// approved gives the outcome of a transaction that the daemon has sent, once it
// was approved: under the key that stands beside it, it is the same request.
func (c *call) approved(ctx context.Context, r *request, id string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, c.server.cfg.SendTimeout)
	defer cancel()
	key, err := c.idempotency(r)
	if err != nil {
		return nil, err
	}
	if key == "" {
		key = approval.KeyPrefix + id
	}
	args, err := tx.ParseArgs(r.arg(0))
	if err != nil {
		return nil, err
	}
	return c.await(ctx, wait(c.door.Sender.Begin(ctx, c.who, txmgr.SendRequest{Args: args, IdempotencyKey: key})))
}
