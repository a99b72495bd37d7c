// SPDX-License-Identifier: Apache-2.0

package awskms

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	smithy "github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/hsmsigner/hsmsigner/internal/key"
)

// skewAllowed is by how much a request's time may be off before AWS refuses it,
// less a little (AWS allows five minutes).
const skewAllowed = 4 * time.Minute

// invalidState is KMS's code for most states but Enabled and Disabled.
const invalidState = "KMSInvalidStateException"

// verdict is what an error code means to us.
type verdict struct {
	kind error // nil: throttled
	why  string
}

// explain turns an error of the SDK into a failure that says what to mend. It
// takes the error's code, the HTTP status and the kind of a network error from
// it, never its text.
func (b *Backend) explain(ctx context.Context, op string, ref key.Ref, m mark, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("awskms: %s: %w", op, ctx.Err())
	}
	f := &failure{call: &key.CallError{Op: op, Ref: ref}}
	var answered interface{ ServiceRequestID() string }
	if errors.As(err, &answered) {
		f.call.RequestID = answered.ServiceRequestID()
	}
	var api smithy.APIError
	hasCode := errors.As(err, &api) && api.ErrorCode() != "" && api.ErrorCode() != "UnknownError"
	response := responseOf(err) //nolint:bodyclose // the SDK has read and closed it
	switch {
	case errors.Is(err, errSecret):
		f.call.Kind, f.call.Why = key.ErrUnavailable, "the secret access key cannot be read: "+secretFault(err)
	case hasCode:
		f.code = api.ErrorCode()
		v := b.judge(err, api, response, m)
		f.call.Kind, f.call.Why = v.kind, v.why
		if v.kind == nil {
			f.call.Kind = &key.ThrottledError{RetryAfter: retryAfter(response)}
		}
	case brokeOff(err):
		f.call.Kind, f.call.Why = key.ErrUnavailable, "the connection broke while the answer came"
	case response != nil:
		f.call.Why, f.call.Kind = b.strangeAnswer(response.StatusCode)
		if response.StatusCode == http.StatusTooManyRequests {
			f.call.Kind = &key.ThrottledError{RetryAfter: retryAfter(response)}
		}
	case asksIdentity(err) && b.cfg.Ambient != nil:
		f.call.Kind, f.call.Why = key.ErrUnavailable,
			"the ambient identity gives no credential: neither environment, profile, web identity, container nor instance metadata has one that works"
	default:
		f.call.Kind, f.call.Why = key.ErrUnavailable, b.unreachable(err)
	}
	return f
}

// judge says what a code of KMS, of STS or of the tagging API means.
func (b *Backend) judge(err error, api smithy.APIError, response *http.Response, m mark) verdict {
	code := api.ErrorCode()
	who := "the access key"
	if b.cfg.Ambient != nil {
		who = "the ambient identity"
	}
	if assumes(err) {
		if v, ok := b.judgeRole(code, who); ok {
			return v
		}
	} else if b.cfg.RoleARN != "" {
		who = "the role " + b.cfg.RoleARN
	}
	switch code {
	case "ThrottlingException", "Throttling", "ThrottledException", "RequestLimitExceeded", "RequestThrottled",
		"RequestThrottledException", "TooManyRequestsException", "SlowDown", "BandwidthLimitExceeded":
		return verdict{why: "the request quota of the account and region is used up (" + code + ")"}

	case "NotFoundException", "InvalidArnException":
		return verdict{key.ErrNotFound, "KMS has no such key in region " + b.cfg.Region + " (" + code + ")"}
	case "InvalidKeyUsageException", "UnsupportedOperationException":
		return verdict{key.ErrNotFound, "the key is not one that signs with ECDSA_SHA_256 (" + code + ")"}
	case "DisabledException":
		return verdict{key.ErrDisabled, reasons["Disabled"]}
	case invalidState:
		return judgeState(api.ErrorMessage())

	case "AccessDeniedException", "AccessDenied", "NotAuthorizedException":
		return verdict{key.ErrDenied, who + " lacks the right " + right(err) + " on this key or account: allow it in the IAM policy and in the key policy (" + code + ")"}
	case "RequestExpired", "RequestInTheFuture", "RequestTimeTooSkewed":
		return skewed(response, code)
	case "InvalidSignatureException", "SignatureDoesNotMatch":
		return b.judgeSignature(api, response, m, who)
	case "UnrecognizedClientException", "InvalidClientTokenId", "InvalidAccessKeyId", "AuthFailure":
		if b.creds.refused(m, false) {
			return verdict{key.ErrUnavailable, "the access key was replaced; the next request uses the new one (" + code + ")"}
		}
		return verdict{key.ErrDenied, "AWS does not know " + who + ": it is wrong, inactive or deleted, or region " + b.cfg.Region + " is not enabled for the account (" + code + ")"}
	case "ExpiredTokenException", "ExpiredToken", "TokenRefreshRequired":
		if b.creds.refused(m, true) {
			return verdict{key.ErrUnavailable, "the session had ended; the next request opens another (" + code + ")"}
		}
		return verdict{key.ErrDenied, "the session token of " + who + " has ended: give a new one, or long-term keys (" + code + ")"}
	case "IncompleteSignature", "IncompleteSignatureException", "MissingAuthenticationToken", "MissingAuthenticationTokenException", "OptInRequired", "SubscriptionRequiredException":
		return verdict{key.ErrDenied, "AWS did not accept the credential of " + who + " (" + code + ")"}

	case "AlreadyExistsException":
		return verdict{key.ErrDenied, "an alias of this name exists already (" + code + ")"}
	case "LimitExceededException":
		return verdict{key.ErrDenied, "a resource quota of the account is used up, of keys or of aliases: raise it in Service Quotas (" + code + ")"}
	case "InvalidImportTokenException", "ExpiredImportTokenException", "IncorrectKeyMaterialException", "InvalidCiphertextException":
		return verdict{key.ErrDenied, "KMS did not take the wrapped key material (" + code + ")"}
	case "InvalidMarkerException", "PaginationTokenExpiredException":
		return verdict{key.ErrUnavailable, "the listing took so long that KMS forgot where it stood; it starts anew (" + code + ")"}

	case "KMSInternalException", "InternalFailure", "InternalServerError", "InternalServiceException", "ServiceUnavailable",
		"ServiceUnavailableException", "DependencyTimeoutException", "KeyUnavailableException", "RequestTimeout", "RequestTimeoutException":
		return verdict{key.ErrUnavailable, "KMS cannot answer now (" + code + ")"}
	case "CustomKeyStoreInvalidStateException", "CloudHsmClusterNotActiveException", "XksProxyUriUnreachableException":
		return verdict{key.ErrUnavailable, reasons["Unavailable"] + " (" + code + ")"}
	}
	switch {
	case response != nil && response.StatusCode == http.StatusTooManyRequests:
		return verdict{why: "too many requests (" + shorten(code) + ")"}
	case response != nil && response.StatusCode >= 500:
		return verdict{key.ErrUnavailable, "KMS cannot answer now (" + shorten(code) + ")"}
	}
	return verdict{key.ErrDenied, "AWS refused the request with " + shorten(code)}
}

// judgeRole says what a code means that STS gave to AssumeRole.
func (b *Backend) judgeRole(code, who string) (verdict, bool) {
	switch code {
	case "AccessDenied", "AccessDeniedException":
		why := who + " may not assume the role " + b.cfg.RoleARN + ": check sts:AssumeRole in its policy, the trust policy of the role"
		if b.cfg.ExternalID != "" {
			why += ", and the external id"
		} else {
			why += ", and whether that asks for an external id"
		}
		return verdict{key.ErrDenied, why + " (" + code + ")"}, true
	case "RegionDisabledException":
		return verdict{key.ErrDenied, "STS is not active in region " + b.cfg.Region + " for the account (" + code + ")"}, true
	case "ValidationError":
		return verdict{key.ErrDenied, "STS does not understand the role or the external id (" + code + ")"}, true
	}
	return verdict{}, false
}

// judgeSignature tells a wrong clock and a wrong region from a wrong secret:
// AWS has one code for the three.
func (b *Backend) judgeSignature(api smithy.APIError, response *http.Response, m mark, who string) verdict {
	text := strings.ToLower(api.ErrorMessage())
	switch {
	case abs(clockSkew(response)) > skewAllowed, strings.Contains(text, "expired"), strings.Contains(text, "not yet current"):
		return skewed(response, api.ErrorCode())
	case strings.Contains(text, "scoped to"):
		return verdict{key.ErrDenied, "the endpoint belongs to another region than " + b.cfg.Region + ": make the two agree (" + api.ErrorCode() + ")"}
	case b.creds.refused(m, false):
		return verdict{key.ErrUnavailable, "the access key was replaced; the next request uses the new one (" + api.ErrorCode() + ")"}
	}
	return verdict{key.ErrDenied, "the secret access key is not the one of " + who + " (" + api.ErrorCode() + ")"}
}

// skewed may pass by itself: the SDK learns the difference from the answer and
// takes it into account from the next request on.
func skewed(response *http.Response, code string) verdict {
	why := "the clock of this machine is wrong"
	if d := clockSkew(response); d != 0 {
		why += fmt.Sprintf(" by about %s", abs(d).Round(time.Minute))
	}
	return verdict{key.ErrUnavailable, why + ": synchronise it (NTP) (" + code + ")"}
}

// judgeState tells apart what KMS has one code for, by the words with which
// KMS's message names the state.
func judgeState(message string) verdict {
	text := strings.ReplaceAll(strings.ToLower(message), " ", "")
	for _, s := range []string{"PendingReplicaDeletion", "PendingDeletion", "PendingImport", "Unavailable", "Creating", "Updating", "Disabled"} {
		if !strings.Contains(text, strings.ToLower(s)) {
			continue
		}
		switch s {
		case "Creating":
			return verdict{key.ErrUnavailable, reasons[s]}
		case "Updating":
			return verdict{key.ErrUnavailable, "being updated by KMS; this passes by itself"}
		}
		return verdict{key.ErrDisabled, reasons[s]}
	}
	return verdict{key.ErrDisabled, "the state of the key does not allow it: see DescribeKey (KMSInvalidStateException)"}
}

// strangeAnswer explains an HTTP answer without a code of KMS.
func (b *Backend) strangeAnswer(status int) (why string, kind error) {
	place := "KMS"
	if b.cfg.Endpoint != "" {
		place = "what listens at the configured endpoint"
	}
	switch {
	case status == http.StatusTooManyRequests:
		return "too many requests (HTTP 429)", nil
	case status >= 500:
		return fmt.Sprintf("%s answered HTTP %d", place, status), key.ErrUnavailable
	}
	return fmt.Sprintf("%s answered HTTP %d, and not as KMS does: check the endpoint", place, status), key.ErrBadResponse
}

// unreachable explains a request that got no answer.
func (b *Backend) unreachable(err error) string {
	place := "the endpoint of AWS in region " + b.cfg.Region
	switch {
	case assumes(err):
		place = "the endpoint of STS"
	case b.cfg.Endpoint != "":
		place = "the configured endpoint"
	}
	var dns *net.DNSError
	var authority x509.UnknownAuthorityError
	var host x509.HostnameError
	var invalid x509.CertificateInvalidError
	var record tls.RecordHeaderError
	var alert tls.AlertError
	var network net.Error
	var rule interface{ Refused() bool }
	switch {
	case errors.As(err, &rule) && rule.Refused(): // Config.DialContext's; which address it was is not for everybody to know
		return place + " has an address that this deployment does not connect to: check it, and egress.allow in the operator's config"
	case errors.As(err, &dns) && dns.IsNotFound:
		return "the name of " + place + " does not exist: check the region and the endpoint"
	case errors.As(err, &dns):
		return "the name of " + place + " cannot be resolved now"
	case errors.As(err, &authority):
		return "TLS: the certificate of " + place + " is by an authority that is not trusted"
	case errors.As(err, &host):
		return "TLS: the certificate of " + place + " is for another host"
	case errors.As(err, &invalid):
		return "TLS: the certificate of " + place + " is not valid: it has expired, or this machine's clock is wrong"
	case errors.As(err, &record), strings.Contains(err.Error(), "server gave HTTP response to HTTPS client"):
		return "TLS: " + place + " does not speak TLS"
	case errors.As(err, &alert):
		return "TLS: " + place + " refused the connection"
	case errors.As(err, &network) && network.Timeout():
		return place + " did not answer in time"
	}
	return place + " cannot be reached: check the network, the proxy and the endpoint"
}

// responseOf is the HTTP answer behind err; nil if there was none.
func responseOf(err error) *http.Response {
	var r *smithyhttp.ResponseError
	if errors.As(err, &r) && r.Response != nil && r.Response.Response != nil && r.Response.StatusCode != 0 {
		return r.Response.Response
	}
	return nil
}

// brokeOff reports whether err came from the network, although there was the
// beginning of an answer.
func brokeOff(err error) bool {
	var op *net.OpError
	return responseOf(err) != nil && (errors.As(err, &op) || errors.Is(err, net.ErrClosed) || errors.Is(err, io.ErrUnexpectedEOF)) //nolint:bodyclose // the SDK has closed it
}

// assumes reports whether err came from assuming the role on the way.
func assumes(err error) bool {
	for err != nil {
		var op *smithy.OperationError
		if !errors.As(err, &op) {
			return false
		}
		if op.ServiceID == "STS" {
			return true
		}
		err = op.Err
	}
	return false
}

// asksIdentity reports whether err came before the request, from getting a
// credential.
func asksIdentity(err error) bool { return strings.Contains(err.Error(), "get identity") }

// right is the IAM action that err's operation needs.
func right(err error) string {
	var op *smithy.OperationError
	if !errors.As(err, &op) {
		return "to do this"
	}
	switch op.ServiceID {
	case "KMS":
		return "kms:" + op.OperationName
	case "Resource Groups Tagging API":
		return "tag:" + op.OperationName
	}
	return strings.ToLower(op.ServiceID) + ":" + op.OperationName
}

// retryAfter reads the header of that name, in seconds; KMS does not send it,
// but a proxy before it may.
func retryAfter(response *http.Response) time.Duration {
	if response == nil {
		return 0
	}
	seconds, err := strconv.Atoi(response.Header.Get("Retry-After"))
	if err != nil || seconds < 0 || seconds > 3600 {
		return 0
	}
	return time.Duration(seconds) * time.Second
}

// clockSkew is how far the server's clock is ahead of ours; 0 if it did not say.
func clockSkew(response *http.Response) time.Duration {
	if response == nil {
		return 0
	}
	date, err := http.ParseTime(response.Header.Get("Date"))
	if err != nil {
		return 0
	}
	return time.Until(date)
}

func abs(d time.Duration) time.Duration { return max(d, -d) }

// shorten keeps a code that we do not know from filling the log.
func shorten(code string) string {
	if i := strings.IndexFunc(code, func(r rune) bool { return !strings.ContainsRune(codeCharacters, r) }); i >= 0 {
		code = code[:i]
	}
	if code == "" || len(code) > 64 {
		return "an error of an unknown kind"
	}
	return code
}

const codeCharacters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789."

// secretFault is what Config.Secret said, without our own words before it.
func secretFault(err error) string {
	for {
		joined, ok := err.(interface{ Unwrap() []error })
		if ok && len(joined.Unwrap()) == 2 {
			return joined.Unwrap()[1].Error()
		}
		next := errors.Unwrap(err)
		if next == nil {
			return "it is not of the form secret, id:secret or id:secret:token, or empty"
		}
		err = next
	}
}
