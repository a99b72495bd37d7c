// SPDX-License-Identifier: Apache-2.0

package azure

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"

	"github.com/hsmsigner/hsmsigner/internal/key"
)

// failure turns what a call returned into an error of package key. Nothing of
// the vault's text is passed on, only its short error code.
func (b *Backend) failure(ctx context.Context, op string, ref key.Ref, err error) error {
	var known *key.CallError
	if errors.As(err, &known) {
		return err
	}
	if ctx.Err() != nil {
		err = ctx.Err()
	}
	out := &key.CallError{Op: "azure: " + op, Ref: ref}
	var token *tokenError
	var answer *azcore.ResponseError
	var throttled *key.ThrottledError
	var network *net.OpError
	switch {
	case errors.As(err, &network) && network.Op == "dial":
		// Package net takes its own timeout for the context's.
		out.Why, out.Kind = explainNetwork(err, "the vault at "+b.vault.host, "vault_name or target_address")
	case errors.Is(err, context.Canceled):
		out.Kind = context.Canceled
	case errors.Is(err, context.DeadlineExceeded) && !errors.As(err, &throttled):
		out.Kind = context.DeadlineExceeded
	case errors.As(err, &throttled):
		out.Kind = err // by the quota, before any call
	case errors.Is(err, errClosed):
		out.Kind, out.Why = key.ErrUnavailable, "the backend is closed"
	case errors.As(err, &token):
		out.Kind, out.Why, out.RequestID = token.kind, token.why, token.requestID
	case errors.As(err, &answer):
		b.answered(out, answer)
	case errors.As(err, new(*url.Error)):
		out.Why, out.Kind = explainNetwork(err, "the vault at "+b.vault.host, "vault_name or target_address")
	case errors.Is(err, errChallenge), strings.Contains(err.Error(), "challenge"):
		b.challenged(out, err)
	default:
		out.Why, out.Kind = explainNetwork(err, "the vault at "+b.vault.host, "vault_name or target_address")
	}
	return out
}

// challenged explains why no token was sent. The texts are those of the
// library's challenge policy.
func (b *Backend) challenged(out *key.CallError, err error) {
	out.Kind = key.ErrDenied
	if strings.Contains(err.Error(), "doesn't match") {
		out.Why = "no token was sent to " + b.vault.host + ", since it asks for one of another domain: correct target_address, or list the host as relaxed if it is an emulator or a private cloud of yours"
		return
	}
	out.Kind, out.Why = key.ErrBadResponse, b.vault.host+" does not answer as a key vault does: check target_address"
}

// answered explains an HTTP status other than success.
func (b *Backend) answered(out *key.CallError, answer *azcore.ResponseError) {
	code, inner, message := errorCodes(answer)
	if answer.RawResponse != nil {
		out.RequestID = answer.RawResponse.Header.Get(requestIDHeader)
	}
	shown := code
	if inner != "" && inner != code {
		shown = strings.TrimPrefix(code+"/"+inner, "/")
	}
	switch s := answer.StatusCode; {
	case s == http.StatusTooManyRequests:
		throttled := &key.ThrottledError{}
		if answer.RawResponse != nil {
			throttled.RetryAfter = retryAfter(answer.RawResponse.Header, time.Now())
		}
		out.Kind, out.Why = throttled, "the vault's quota is used up"
	case s == http.StatusUnauthorized:
		out.Kind, out.Why = key.ErrDenied, "the vault refuses the token: check that tenant_id is the directory of the vault and that this machine's clock is right"
	case s == http.StatusForbidden:
		b.forbidden(out, inner, message)
	case s == http.StatusNotFound && out.Ref == "" && code == "":
		out.Kind, out.Why = key.ErrBadResponse, b.vault.host+" knows no keys: check target_address, which must be a vault's own address"
	case s == http.StatusNotFound:
		out.Kind, out.Why = key.ErrNotFound, "the vault has no such key or version (a deleted key may be recoverable)"
	case s == http.StatusConflict:
		out.Kind, out.Why = key.ErrDenied, "the name is taken, perhaps by a deleted key that is kept: recover or purge it, or choose another name"
	case s == http.StatusRequestTimeout, s >= 500:
		out.Kind, out.Why = key.ErrUnavailable, "the vault answered with status "+strconv.Itoa(s)
	case s == http.StatusBadRequest:
		out.Kind, out.Why = key.ErrDenied, badRequest(message)
	default:
		out.Kind, out.Why = key.ErrBadResponse, "the vault answered with status "+strconv.Itoa(s)
	}
	if shown != "" {
		out.Why += " (" + shown + ")"
	}
}

// forbidden tells a key that cannot sign now from a caller who may not. The
// codes are those of learn.microsoft.com/azure/key-vault/general/rest-error-codes
// and common-error-codes; old replies have only the message.
func (b *Backend) forbidden(out *key.CallError, inner, message string) {
	message = strings.ToLower(message)
	out.Kind = key.ErrDenied
	switch {
	case inner == "KeyDisabled", strings.Contains(message, "disabled key"):
		out.Kind, out.Why = key.ErrDisabled, "it is disabled in the vault: enable the version"
	case inner == "KeyExpired", strings.Contains(message, "expired"):
		out.Kind, out.Why = key.ErrDisabled, "it has expired: set a later expiry date"
	case inner == "KeyNotYetValid", strings.Contains(message, "not yet valid"), strings.Contains(message, "not-yet-valid"),
		strings.Contains(message, "validity period"), strings.Contains(message, "before its"):
		out.Kind, out.Why = key.ErrDisabled, "it is not valid yet: set an earlier activation date"
	case strings.Contains(message, "key_ops"), strings.Contains(message, "not permitted on this key"), strings.Contains(message, "permitted by the key"):
		out.Kind, out.Why = key.ErrDisabled, noSignOperation
	case inner == "ForbiddenByFirewall", strings.Contains(message, "client address is not authorized"):
		out.Why = "the vault's firewall refuses this machine's address: allow it in the vault's networking settings"
	case inner == "ForbiddenByConnection", strings.Contains(message, "public network access is disabled"):
		out.Why = "the vault takes no calls from public networks: go through its private endpoint"
	default:
		// A reply without a reason: the last listing may know it.
		if reason := b.known.whyNot(out.Ref, time.Now()); reason != "" {
			out.Kind, out.Why = key.ErrDisabled, reason
			return
		}
		out.Why = "the right for it is missing: give the application Get, List, Sign and Verify on keys (role Key Vault Crypto User)"
		switch {
		case inner == "ForbiddenByRbac":
			out.Why += " by a role assignment, since the vault does not use access policies"
		case inner == "AccessDenied", inner == "ForbiddenByPolicy":
			out.Why += " in the vault's access policies"
		}
		if !signingRights[strings.TrimPrefix(out.Op, "azure: ")] {
			out.Why = "the right for it is missing: this needs an administrator's credential (role Key Vault Crypto Officer)"
		}
	}
}

// signingRights are the operations that a signer's rights are enough for.
var signingRights = map[string]bool{"sign": true, "list keys": true, "public key": true, "health": true}

func badRequest(message string) string {
	switch m := strings.ToLower(message); {
	case strings.Contains(m, "signing algorithm"):
		return "the key signs by another algorithm"
	case strings.Contains(m, "hsm"):
		return "the vault refuses HSM-protected keys: they need a premium vault or a Managed HSM; or make software-protected ones"
	}
	return "the vault refuses the request"
}

// vaultError is the body of a refusal
// (learn.microsoft.com/rest/api/keyvault/keys, KeyVaultError).
type vaultError struct {
	Error struct {
		Code    string `json:"code"`
		Message string `json:"message"`
		Inner   struct {
			Code string `json:"code"`
		} `json:"innererror"`
	} `json:"error"`
}

var errorCode = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_.]{0,63}$`)

// errorCodes returns the codes that may be shown, and the message, which may
// only be looked at.
func errorCodes(answer *azcore.ResponseError) (code, inner, message string) {
	code = answer.ErrorCode
	if answer.RawResponse != nil {
		if body, err := runtime.Payload(answer.RawResponse); err == nil {
			var e vaultError
			if json.Unmarshal(body, &e) == nil {
				code, inner, message = e.Error.Code, e.Error.Inner.Code, e.Error.Message
			}
		}
	}
	if !errorCode.MatchString(code) {
		code = ""
	}
	if !errorCode.MatchString(inner) {
		inner = ""
	}
	return code, inner, message
}

const requestIDHeader = "X-Ms-Request-Id"

// maxRetryAfter bounds what a vault may ask for: its window is ten seconds.
const maxRetryAfter = 5 * time.Minute

// retryAfter reads how long the service wants to be left alone: seconds or a
// date (RFC 9110 §10.2.3), or Azure's headers in milliseconds. Zero if it does
// not say.
func retryAfter(h http.Header, now time.Time) time.Duration {
	for _, name := range []string{"Retry-After-Ms", "X-Ms-Retry-After-Ms"} {
		if ms, err := strconv.Atoi(h.Get(name)); err == nil && ms > 0 {
			return min(time.Duration(min(ms, 1<<30))*time.Millisecond, maxRetryAfter)
		}
	}
	v := h.Get("Retry-After")
	if s, err := strconv.Atoi(v); err == nil {
		return min(time.Duration(max(0, min(s, 1<<20)))*time.Second, maxRetryAfter)
	}
	if at, err := http.ParseTime(v); err == nil {
		return min(max(0, at.Sub(now)), maxRetryAfter)
	}
	return 0
}
