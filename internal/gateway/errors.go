// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/hsmsigner/hsmsigner/internal/abi"
	"github.com/hsmsigner/hsmsigner/internal/auth"
	"github.com/hsmsigner/hsmsigner/internal/contract"
	"github.com/hsmsigner/hsmsigner/internal/freeze"
	"github.com/hsmsigner/hsmsigner/internal/key"
	"github.com/hsmsigner/hsmsigner/internal/node"
	"github.com/hsmsigner/hsmsigner/internal/policy"
	"github.com/hsmsigner/hsmsigner/internal/tx"
	"github.com/hsmsigner/hsmsigner/internal/txmgr"
	"github.com/hsmsigner/hsmsigner/internal/wallet"
)

// The sorts of errors, for programs: the member code of every error.
const (
	codeInvalid    = "invalid"
	codeNotFound   = "not_found"
	codeMethod     = "method_not_allowed"
	codeMedia      = "unsupported_media_type"
	codeLarge      = "too_large"
	codeConflict   = "conflict"
	codeAccount    = "unknown_account"
	codeReverted   = "reverted"
	codeForbidden  = "forbidden"
	codeDenied     = "denied"
	codeApproval   = "approval_needed"
	codeFrozen     = "frozen"
	codeRefused    = "refused"
	codeBusy       = "busy"
	codeNode       = "node_unavailable"
	codeBackend    = "backend_failed"
	codeUnfinished = "pending"
	codeInternal   = "internal"
)

// Failure is the body of every answer that is not a success.
type Failure struct {
	Message  string    `json:"error"` // what was wrong and what would be right, for people
	Code     string    `json:"code"`
	Revert   *Revert   `json:"revert,omitempty"`
	Approval *Approval `json:"approval,omitempty"`
	Reply    string    `json:"reply,omitempty"` // id of the reply by which the end is known
	// RequestID is that under which the log has the cause of an internal error.
	RequestID string `json:"request_id,omitempty"`
}

// Revert is what a contract said when it refused.
type Revert struct {
	Name      string          `json:"name,omitempty"`      // Error, Panic, or the contract's own error
	Signature string          `json:"signature,omitempty"` // of that
	Reason    string          `json:"reason,omitempty"`    // in words
	Args      json.RawMessage `json:"args,omitempty"`      // of the contract's own error
	Data      string          `json:"data"`                // as it came from the chain
}

// Approval is the request to people that a rule makes first.
type Approval struct {
	ID      string `json:"id"`
	Rule    string `json:"rule"`
	Have    int    `json:"have"`
	Need    int    `json:"need"`
	Expires string `json:"expires"`
}

// refusal is an error as a caller gets it.
type refusal struct {
	status int
	after  time.Duration // for Retry-After; 0: none
	allow  string        // methods, with 405
	body   Failure
}

func (e *refusal) Error() string { return e.body.Message }

// refuse makes a refusal, whose code follows from its status.
func refuse(status int, format string, args ...any) *refusal {
	code := map[int]string{
		http.StatusBadRequest: codeInvalid, http.StatusForbidden: codeForbidden, http.StatusNotFound: codeNotFound,
		http.StatusMethodNotAllowed: codeMethod, http.StatusConflict: codeConflict, http.StatusRequestEntityTooLarge: codeLarge,
		http.StatusUnsupportedMediaType: codeMedia, http.StatusTooManyRequests: codeBusy, http.StatusServiceUnavailable: codeBusy,
	}[status]
	if code == "" {
		code = codeInternal
	}
	return of(status, code, fmt.Sprintf(format, args...))
}

// of makes a refusal of a sort of its own.
func of(status int, code, message string) *refusal {
	return &refusal{status: status, body: Failure{Message: message, Code: code}}
}

func bad(format string, args ...any) *refusal { return refuse(http.StatusBadRequest, format, args...) }

func busy(status int, after time.Duration, message string) *refusal {
	e := refuse(status, "%s", message)
	e.after = max(after, time.Second)
	return e
}

// toRefusal is the one table from what went wrong to what the caller is told.
// known is false for an error that nobody foresaw: its text stays here.
func toRefusal(err error) (e *refusal, known bool) {
	for _, table := range []func(error) *refusal{asLimit, asInput, asJudged, asSent, asNode, asBackend} {
		if e := table(err); e != nil {
			return e, true
		}
		if errors.Is(err, wallet.ErrAudit) { // whatever kept the store from writing
			break
		}
	}
	return refuse(http.StatusInternalServerError, "internal error"), false
}

// asLimit reads what says when to come again.
func asLimit(err error) *refusal {
	var own *auth.LimitError
	switch {
	case errors.Is(err, auth.ErrUnavailable):
		return busy(http.StatusServiceUnavailable, time.Second, "too busy: credentials cannot be checked just now")
	case errors.As(err, &own):
		return busy(own.HTTPStatus(), own.RetryAfter, own.Error())
	}
	if l := later(err); l != nil {
		return busy(l.HTTPStatus(), l.RetryAfter(), l.Error())
	}
	return nil
}

// asInput reads what the caller has to mend.
func asInput(err error) *refusal {
	var (
		own       *refusal
		input     *contract.InputError
		parse     *abi.ParseError
		arg       *abi.ArgError
		lookup    *abi.LookupError
		data      *abi.DataError
		missing   *contract.NotFoundError
		pending   *contract.PendingContractError
		conflict  *contract.ConflictError
		account   *contract.AccountError
		unknown   *txmgr.UnknownAccountError
		stranger  *wallet.UnknownAccountError
		field     *tx.ArgError
		limit     *tx.LimitError
		txChain   *tx.ChainError
		chain     *txmgr.ChainIDError
		unfit     *wallet.RequestError
		unusable  *wallet.UnusableError
		reverted  *contract.RevertedError
		answered  *contract.NodeError
		estimated *txmgr.RevertError
	)
	switch {
	case errors.As(err, &own):
		return own
	case errors.As(err, &input):
		return bad("%s", input)
	case errors.As(err, &parse):
		return bad("%s", parse)
	case errors.As(err, &arg):
		return bad("%s", arg)
	case errors.As(err, &lookup) && lookup.Ambiguous:
		return bad("%s", lookup)
	case errors.As(err, &lookup):
		return refuse(http.StatusNotFound, "%s", lookup)
	case errors.As(err, &data):
		return of(http.StatusBadGateway, codeRefused, "what the contract answered is not as its interface says: "+data.Error())
	case errors.As(err, &missing):
		return refuse(http.StatusNotFound, "%s", missing)
	case errors.As(err, &pending):
		e := refuse(http.StatusConflict, "%s", pending)
		e.body.Reply = pending.Reply
		return e
	case errors.As(err, &conflict):
		return refuse(http.StatusConflict, "%s", conflict)
	case errors.Is(err, contract.ErrIDUsed):
		return refuse(http.StatusConflict, "%s", contract.ErrIDUsed)
	case errors.As(err, &account):
		return of(http.StatusNotFound, codeAccount, account.Error())
	case errors.As(err, &unknown):
		return of(http.StatusNotFound, codeAccount, unknown.Error())
	case errors.As(err, &stranger):
		return of(http.StatusNotFound, codeAccount, stranger.Error())
	case errors.As(err, &unusable):
		return refuse(http.StatusConflict, "%s", unusable)
	case errors.As(err, &field):
		return bad("%s", field)
	case errors.As(err, &limit):
		return bad("%s", limit)
	case errors.As(err, &txChain):
		return refuse(http.StatusConflict, "%s", txChain)
	case errors.As(err, &chain):
		return refuse(http.StatusConflict, "%s", chain)
	case errors.As(err, &unfit):
		return bad("%s", unfit)
	case errors.As(err, &reverted):
		e := of(http.StatusBadRequest, codeReverted, reverted.Error())
		e.body.Revert = revertOf(reverted.Reverted)
		return e
	case errors.As(err, &estimated):
		e := of(http.StatusBadRequest, codeReverted, estimated.Error())
		e.body.Revert = &Revert{Reason: estimated.Reason, Data: hexText(estimated.Data)}
		return e
	case errors.As(err, &answered):
		return of(http.StatusBadRequest, codeRefused, "the node refuses it: "+cut(answered.Msg))
	}
	return nil
}

// asJudged reads what rules, people and the stop switch say.
func asJudged(err error) *refusal {
	var (
		denied    *policy.DeniedError
		asked     *policy.PendingError
		undecided *policy.UndecidedError
		frozen    *freeze.FrozenError
	)
	switch {
	case errors.As(err, &denied):
		return of(http.StatusForbidden, codeDenied, denied.Error())
	case errors.As(err, &asked):
		e := of(http.StatusForbidden, codeApproval, asked.Error())
		if waits := (*contract.ApprovalError)(nil); errors.As(err, &waits) {
			e.body.Reply = waits.ID
		}
		e.body.Approval = &Approval{ID: asked.ID, Rule: asked.Rule, Have: asked.Have, Need: asked.Need, Expires: asked.Expires.UTC().Format(time.RFC3339)}
		return e
	case errors.As(err, &undecided):
		return busy(http.StatusServiceUnavailable, time.Second, "too busy: "+undecided.Error())
	case errors.As(err, &frozen):
		return of(http.StatusConflict, codeFrozen, frozen.Error())
	}
	return nil
}

// asSent reads what the transaction manager says of a transaction.
func asSent(err error) *refusal {
	var (
		tooBusy *txmgr.BusyError
		pending *txmgr.PendingError
		backend *txmgr.BackendError
		signing *wallet.BackendError
		unbound *txmgr.UnboundError
		refused *txmgr.RefusedError
	)
	switch {
	case errors.As(err, &tooBusy):
		return busy(tooBusy.HTTPStatus(), tooBusy.RetryAfter, tooBusy.Error())
	case errors.As(err, &pending):
		return of(http.StatusGatewayTimeout, codeUnfinished, pending.Error())
	case errors.As(err, &backend):
		return of(http.StatusBadGateway, codeBackend, backend.Error())
	case errors.As(err, &signing):
		return backendFailed(signing.Kind)
	case errors.As(err, &unbound):
		return busy(http.StatusServiceUnavailable, 5*time.Second, unbound.Error())
	case errors.Is(err, wallet.ErrClosed):
		return busy(http.StatusServiceUnavailable, 5*time.Second, "too busy: the wallet is closing")
	case errors.As(err, &refused):
		return asRefused(refused)
	}
	return nil
}

// asRefused gives a definite refusal, of which the JSON-RPC code says the sort.
func asRefused(e *txmgr.RefusedError) *refusal {
	switch e.Code {
	case -32602: // invalid params
		return bad("%s", e.Msg)
	case -32003: // transaction rejected (EIP-1474)
		return of(http.StatusForbidden, codeDenied, e.Msg)
	}
	return of(http.StatusConflict, codeRefused, e.Msg)
}

// asNode reads what is wrong with the node.
func asNode(err error) *refusal {
	var (
		answered *node.Error
		mismatch *node.ChainMismatchError
	)
	away := func(why string) *refusal { return of(http.StatusBadGateway, codeNode, "node unavailable"+why) }
	switch {
	case errors.As(err, &answered):
		return of(http.StatusBadRequest, codeRefused, "the node refuses it: "+cut(answered.Message))
	case errors.As(err, &mismatch):
		return away(fmt.Sprintf(": it serves chain id %d instead of %d", mismatch.Got, mismatch.Want))
	case errors.Is(err, node.ErrTimeout):
		return away(": no answer in time")
	case errors.Is(err, node.ErrTooLarge):
		return away(": its answer is too large")
	case errors.Is(err, node.ErrBadResponse):
		return away(": its answer is not a JSON-RPC response")
	case errors.Is(err, node.ErrUnavailable), errors.Is(err, node.ErrClosed):
		return away("")
	}
	return nil
}

// asBackend reads what is wrong with the key backend, and what took too long.
func asBackend(err error) *refusal {
	var throttled *key.ThrottledError
	var unfinished *contract.UnfinishedError
	switch {
	case errors.As(err, &throttled):
		return backendFailed(wallet.KindThrottled)
	case errors.Is(err, key.ErrUnavailable):
		return backendFailed(wallet.KindUnavailable)
	case errors.Is(err, key.ErrDenied):
		return backendFailed(wallet.KindDenied)
	case errors.Is(err, key.ErrDisabled):
		return backendFailed(wallet.KindDisabled)
	case errors.Is(err, key.ErrNotFound):
		return backendFailed(wallet.KindNotFound)
	case errors.Is(err, key.ErrBadResponse):
		return backendFailed(wallet.KindBadResponse)
	case errors.As(err, &unfinished):
		e := of(http.StatusGatewayTimeout, codeUnfinished, unfinished.Error())
		e.body.Reply = unfinished.ID
		return e
	case errors.Is(err, context.DeadlineExceeded):
		return of(http.StatusGatewayTimeout, codeUnfinished, "no answer in time from the node or the key backend")
	case errors.Is(err, context.Canceled):
		return of(http.StatusServiceUnavailable, codeBusy, "request cancelled")
	}
	return nil
}

func backendFailed(kind string) *refusal {
	return of(http.StatusBadGateway, codeBackend, "key backend failed: "+kind)
}

func hexText(data []byte) string { return "0x" + hex.EncodeToString(data) }
