// SPDX-License-Identifier: Apache-2.0

package txmgr

import (
	"encoding/json"
	"errors"

	"github.com/ethereum/go-ethereum/common/hexutil"

	"github.com/hsmsigner/hsmsigner/internal/freeze"
	"github.com/hsmsigner/hsmsigner/internal/node"
	"github.com/hsmsigner/hsmsigner/internal/policy"
)

// failure is how the reason of a failed transaction stands in its row, so
// that a request repeated under the same idempotency key gets the same error.
type failure struct {
	Code    int             `json:"code"`
	Message string          `json:"message"`
	Data    json.RawMessage `json:"data,omitempty"`
	Kind    string          `json:"kind,omitempty"`
}

// EncodeFailure writes the error that a caller was given, for a row or another
// replica.
func EncodeFailure(err error) string {
	f := failure{Code: codeRefused, Message: err.Error()}
	var (
		refused *RefusedError
		revert  *RevertError
		backend *BackendError
		busy    *BusyError
		nerr    *node.Error
		denied  *policy.DeniedError
		frozen  *freeze.FrozenError
		unsure  *policy.UndecidedError
	)
	switch {
	case errors.As(err, &refused):
		f.Code, f.Message = refused.Code, refused.Msg
	case errors.As(err, &revert):
		f.Code, f.Message, f.Kind = 3, revert.Reason, "revert"
		f.Data, _ = json.Marshal(hexutil.Bytes(revert.Data))
	case errors.As(err, &backend):
		f.Code, f.Message, f.Kind = -32010, backend.Kind, "backend"
	case errors.As(err, &busy):
		f.Code, f.Message = -32005, "given up unsent: "+busy.Reason
	case errors.As(err, &nerr):
		f.Code, f.Message, f.Data = nerr.Code, nerr.Message, nerr.Data
	case errors.As(err, &denied):
		f.Code, f.Message = codeDenied, denied.Error()
	case errors.As(err, &unsure):
		f.Message = "given up unsent: " + unsure.Why
	case errors.As(err, &frozen):
		f.Code, f.Message = codeDenied, frozen.Error()
	}
	text, merr := json.Marshal(f)
	if merr != nil {
		text, _ = json.Marshal(failure{Code: f.Code, Message: f.Message})
	}
	return string(text)
}

// ParseFailure is the reverse.
func ParseFailure(text string) error {
	var f failure
	if json.Unmarshal([]byte(text), &f) != nil || f.Message == "" && f.Kind == "" {
		return &RefusedError{Code: codeRefused, Msg: text}
	}
	switch f.Kind {
	case "revert":
		var data hexutil.Bytes
		if len(f.Data) > 0 && json.Unmarshal(f.Data, &data) != nil {
			data = nil
		}
		return &RevertError{Reason: f.Message, Data: data}
	case "backend":
		return &BackendError{Kind: f.Message}
	default:
		return &RefusedError{Code: f.Code, Msg: f.Message}
	}
}

// FailureMessage gives the readable part of a failed row's error, for people.
func FailureMessage(text string) string {
	if text == "" {
		return ""
	}
	return ParseFailure(text).Error()
}
