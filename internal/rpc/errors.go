// SPDX-License-Identifier: Apache-2.0

package rpc

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/hsmsigner/hsmsigner/internal/freeze"
	"github.com/hsmsigner/hsmsigner/internal/key"
	"github.com/hsmsigner/hsmsigner/internal/node"
	"github.com/hsmsigner/hsmsigner/internal/policy"
	"github.com/hsmsigner/hsmsigner/internal/strictjson"
	"github.com/hsmsigner/hsmsigner/internal/tx"
	"github.com/hsmsigner/hsmsigner/internal/txmgr"
	"github.com/hsmsigner/hsmsigner/internal/wallet"
)

// The error codes of the door: those of JSON-RPC 2.0 §5.1, those of EIP-1474,
// 3 as geth has it, and -32010 and -32011 of our own.
const (
	codeReverted       = 3
	codeParse          = -32700
	codeInvalidRequest = -32600
	codeMethod         = -32601
	codeParams         = -32602
	codeInternal       = -32603
	codeServer         = -32000
	codeNode           = -32002
	codeDenied         = -32003
	codeBusy           = -32005
	codeBackend        = -32010
	codePending        = -32011
)

// Error is an error as a caller gets it. Its text is fit for the caller.
type Error struct {
	Code       int
	Message    string
	Data       []byte        // JSON; nil for none
	Status     int           // of the HTTP answer to a single request; 0 means 200
	RetryAfter time.Duration // with Status 429 or 503

	raw []byte // the node's error object, byte for byte, in place of the others
}

func (e *Error) Error() string { return e.Message }

// appendTo writes the error object.
func (e *Error) appendTo(b []byte) []byte {
	if e.raw != nil {
		return append(b, e.raw...)
	}
	b = append(b, `{"code":`...)
	b = strconv.AppendInt(b, int64(e.Code), 10)
	b = append(b, `,"message":`...)
	b = strictjson.AppendString(b, e.Message)
	if e.Data != nil {
		b = append(b, `,"data":`...)
		b = append(b, e.Data...)
	}
	return append(b, '}')
}

func parseError(err error) *Error {
	msg := strings.TrimPrefix(err.Error(), strictjson.ErrSyntax.Error()+": ")
	if len(msg) > 4*maxQuoted { // it may hold a member's name
		msg = strings.ToValidUTF8(msg[:4*maxQuoted], "") + "…"
	}
	return &Error{Code: codeParse, Message: "parse error: " + msg, Status: http.StatusBadRequest}
}

func invalidRequest(format string, args ...any) *Error {
	return &Error{Code: codeInvalidRequest, Message: "invalid request: " + fmt.Sprintf(format, args...)}
}

func invalidParams(format string, args ...any) *Error {
	return &Error{Code: codeParams, Message: fmt.Sprintf(format, args...)}
}

func unknownMethod(name string) *Error {
	for i := 0; i < len(name); i++ {
		c := name[i]
		if len(name) > maxQuoted || !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_') {
			name = quote(name)
			break
		}
	}
	return &Error{Code: codeMethod, Message: "the method " + name + " is not available here"}
}

func busy(status int, after time.Duration, format string, args ...any) *Error {
	return &Error{Code: codeBusy, Message: "too busy: " + fmt.Sprintf(format, args...), Status: status, RetryAfter: after}
}

// toError is the one table from what went wrong to what the caller is told.
// known is false for an error that nobody foresaw: its text stays here.
func toError(err error) (e *Error, known bool) {
	var (
		own       *Error
		arg       *tx.ArgError
		txChain   *tx.ChainError
		limit     *tx.LimitError
		unknown   *txmgr.UnknownAccountError
		chain     *txmgr.ChainIDError
		revert    *txmgr.RevertError
		tooBusy   *txmgr.BusyError
		pending   *txmgr.PendingError
		backend   *txmgr.BackendError
		signing   *wallet.BackendError
		unusable  *wallet.UnusableError
		stranger  *wallet.UnknownAccountError
		unfit     *wallet.RequestError
		refused   *txmgr.RefusedError
		denied    *policy.DeniedError
		approval  *policy.PendingError
		frozen    *freeze.FrozenError
		undecided *policy.UndecidedError
		nodeError *node.Error
		mismatch  *node.ChainMismatchError
		throttled *key.ThrottledError
	)
	if e := limitError(err); e != nil {
		return e, true
	}
	switch {
	case errors.As(err, &own):
		return own, true
	case errors.Is(err, wallet.ErrAudit): // whatever kept the store from writing
		return &Error{Code: codeInternal, Message: "internal error"}, false
	case errors.As(err, &nodeError):
		return &Error{Code: nodeError.Code, Message: nodeError.Message, raw: nodeError.Raw}, true
	case errors.As(err, &arg):
		return &Error{Code: codeParams, Message: arg.Error()}, true
	case errors.As(err, &unknown):
		return &Error{Code: codeServer, Message: unknown.Error()}, true
	case errors.As(err, &stranger):
		return &Error{Code: codeServer, Message: stranger.Error()}, true
	case errors.As(err, &unusable):
		return &Error{Code: codeServer, Message: unusable.Error()}, true
	case errors.As(err, &unfit):
		return &Error{Code: codeParams, Message: unfit.Error()}, true
	case errors.As(err, &txChain):
		return &Error{Code: codeServer, Message: txChain.Error()}, true
	case errors.As(err, &limit):
		return &Error{Code: codeServer, Message: limit.Error()}, true
	case errors.As(err, &chain):
		return &Error{Code: codeServer, Message: chain.Error()}, true
	case errors.As(err, &denied):
		return &Error{Code: codeDenied, Message: denied.Error()}, true
	case errors.As(err, &approval):
		return &Error{Code: codeDenied, Message: approval.Error(), Data: approvalJSON(approval)}, true
	case errors.As(err, &undecided):
		return busy(http.StatusServiceUnavailable, time.Second, "%s", undecided), true
	case errors.As(err, &frozen):
		return &Error{Code: codeDenied, Message: frozen.Error()}, true
	case errors.As(err, &revert):
		return &Error{Code: codeReverted, Message: revert.Error(), Data: hexJSON(revert.Data)}, true
	case errors.As(err, &tooBusy):
		return &Error{Code: codeBusy, Message: tooBusy.Error(), Status: tooBusy.HTTPStatus(), RetryAfter: tooBusy.RetryAfter}, true
	case errors.As(err, &pending):
		return &Error{Code: codePending, Message: pending.Error(), Data: strictjson.AppendString(nil, pending.TxID)}, true
	case errors.As(err, &backend):
		return &Error{Code: codeBackend, Message: backend.Error()}, true
	case errors.As(err, &signing):
		return backendError(signing.Kind), true
	case errors.Is(err, wallet.ErrClosed):
		return busy(http.StatusServiceUnavailable, 5*time.Second, "the wallet is closing"), true
	case errors.As(err, &refused):
		return &Error{Code: refused.Code, Message: refused.Msg}, true

	case errors.As(err, &mismatch):
		return &Error{Code: codeNode, Message: fmt.Sprintf("node unavailable: it serves chain id %d instead of %d", mismatch.Got, mismatch.Want)}, true
	case errors.Is(err, node.ErrTimeout):
		return &Error{Code: codeNode, Message: "node unavailable: no answer in time"}, true
	case errors.Is(err, node.ErrTooLarge):
		return &Error{Code: codeNode, Message: "node unavailable: its answer is too large"}, true
	case errors.Is(err, node.ErrBadResponse):
		return &Error{Code: codeNode, Message: "node unavailable: its answer is not a JSON-RPC response"}, true
	case errors.Is(err, node.ErrNoSubscriptions):
		return &Error{Code: codeNode, Message: "node unavailable: it offers no subscriptions"}, true
	case errors.Is(err, node.ErrTooMany):
		return busy(http.StatusServiceUnavailable, 0, "the node has too many subscriptions"), true
	case errors.Is(err, node.ErrUnavailable), errors.Is(err, node.ErrClosed):
		return &Error{Code: codeNode, Message: "node unavailable"}, true

	case errors.As(err, &throttled):
		return backendError(wallet.KindThrottled), true
	case errors.Is(err, key.ErrUnavailable):
		return backendError(wallet.KindUnavailable), true
	case errors.Is(err, key.ErrDenied):
		return backendError(wallet.KindDenied), true
	case errors.Is(err, key.ErrDisabled):
		return backendError(wallet.KindDisabled), true
	case errors.Is(err, key.ErrNotFound):
		return backendError(wallet.KindNotFound), true
	case errors.Is(err, key.ErrBadResponse):
		return backendError(wallet.KindBadResponse), true

	case errors.Is(err, context.DeadlineExceeded):
		return &Error{Code: codeNode, Message: "no answer in time from the node or the key backend"}, true
	case errors.Is(err, context.Canceled):
		return &Error{Code: codeInternal, Message: "request cancelled"}, true
	default:
		return &Error{Code: codeInternal, Message: "internal error"}, false
	}
}

func backendError(kind string) *Error {
	return &Error{Code: codeBackend, Message: "key backend failed: " + kind}
}

// approvalJSON is by what a caller recognises that people are asked first, and
// finds the approval.
func approvalJSON(p *policy.PendingError) []byte {
	b := strictjson.AppendString([]byte(`{"approval":`), p.ID)
	b = strictjson.AppendString(append(b, `,"rule":`...), p.Rule)
	b = fmt.Appendf(b, `,"have":%d,"need":%d`, p.Have, p.Need)
	return fmt.Appendf(b, `,"expires":"%s"}`, p.Expires.UTC().Format(time.RFC3339))
}

// hexJSON is how geth gives a revert's data: always there, "0x" when empty.
func hexJSON(b []byte) []byte {
	out := make([]byte, 0, 4+2*len(b))
	out = append(out, `"0x`...)
	out = hex.AppendEncode(out, b)
	return append(out, '"')
}
