// SPDX-License-Identifier: Apache-2.0

package gcpkms

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/hsmsigner/hsmsigner/internal/key"
)

const whyUnauthenticated = "the credential was refused: is the service account's key deleted, the account disabled, " +
	"or this machine's clock wrong? Make a new key, put it into the secret, and delete the old"

const clockSlack = 50 * time.Millisecond

// What the messages of Cloud KMS name. Only these words of them are used.
var (
	permissionRE = regexp.MustCompile(`Permission '([a-zA-Z.]{1,100})' denied`)
	stateRE      = regexp.MustCompile(`current state is: ([A-Z_]{1,60})`)
)

// translate turns what gRPC and Google say into the errors of package key.
// Codes: https://cloud.google.com/apis/design/errors; reasons:
// https://github.com/googleapis/googleapis/blob/master/google/api/error_reason.proto.
func (b *Backend) translate(ctx context.Context, op string, ref key.Ref, id string, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("%s: %w", op, ctx.Err())
	}
	// gRPC tells the service our deadline, and its clock may be a little ahead.
	if at, ok := ctx.Deadline(); ok && status.Code(err) == codes.DeadlineExceeded && time.Until(at) < clockSlack {
		return fmt.Errorf("%s: %w", op, context.DeadlineExceeded)
	}
	out := &key.CallError{Op: op, Ref: ref, RequestID: id}
	var bad *answerError
	if errors.As(err, &bad) {
		out.Kind, out.Why = key.ErrBadResponse, bad.why
		if bad.damage {
			return damagedError{out}
		}
		return out
	}
	st, ok := status.FromError(err)
	if !ok {
		out.Kind, out.Why = key.ErrBadResponse, "the client library failed"
		return out
	}
	info, retry := details(st)
	switch st.Code() {
	case codes.Unauthenticated:
		out.Kind, out.Why = key.ErrDenied, whyUnauthenticated
		return everywhereError{out}
	case codes.PermissionDenied:
		out.Kind, out.Why = key.ErrDenied, b.whyDenied(st, info)
		if r := info.GetReason(); r != "" && r != "IAM_PERMISSION_DENIED" {
			return everywhereError{out}
		}
	case codes.NotFound:
		out.Kind, out.Why = key.ErrNotFound, b.whyNotFound(ref)
	case codes.FailedPrecondition:
		out.Why, out.Kind = b.precondition(st, info)
	case codes.ResourceExhausted:
		throttled := &key.ThrottledError{}
		if retry != nil {
			throttled.RetryAfter = max(0, retry.GetRetryDelay().AsDuration())
		}
		out.Kind, out.Why = throttled, "a quota of the project for Cloud KMS is used up; see https://cloud.google.com/kms/quotas"
	case codes.InvalidArgument:
		text := strings.ToLower(st.Message())
		if strings.Contains(text, "crc32c") || strings.Contains(text, "checksum") {
			out.Kind, out.Why = key.ErrBadResponse, "what was sent arrived damaged"
			return damagedError{out}
		}
		out.Why, out.Kind = invalid(text)
	case codes.AlreadyExists:
		out.Kind, out.Why = key.ErrDenied, "there is one of that name already; names cannot be used again"
	case codes.Unavailable:
		out.Kind, out.Why = key.ErrUnavailable, b.whyUnavailable(st.Message())
	case codes.DeadlineExceeded, codes.Canceled, codes.Aborted, codes.Internal, codes.Unknown:
		// Google's front ends answer INTERNAL and UNKNOWN for what passes.
		out.Kind, out.Why = key.ErrUnavailable, "Cloud KMS failed for now ("+st.Code().String()+")"
	default:
		out.Kind, out.Why = key.ErrBadResponse, "Cloud KMS answered "+st.Code().String()
	}
	return out
}

func details(st *status.Status) (info *errdetails.ErrorInfo, retry *errdetails.RetryInfo) {
	for _, d := range st.Details() {
		switch d := d.(type) {
		case *errdetails.ErrorInfo:
			info = d
		case *errdetails.RetryInfo:
			retry = d
		}
	}
	return info, retry
}

func (b *Backend) whyDenied(st *status.Status, info *errdetails.ErrorInfo) string {
	switch info.GetReason() {
	case "SERVICE_DISABLED":
		return "the Cloud KMS API is not switched on in the project of the service account: gcloud services enable cloudkms.googleapis.com"
	case "BILLING_DISABLED":
		return "the project has no billing account"
	case "CONSUMER_INVALID", "CONSUMER_SUSPENDED", "USER_PROJECT_DENIED":
		return "the project of the service account, or that of its quota, cannot be used (" + info.GetReason() + ")"
	case "SECURITY_POLICY_VIOLATED":
		return "VPC Service Controls keep this machine from the project's keys"
	case "ACCESS_TOKEN_SCOPE_INSUFFICIENT":
		return "the ambient identity's scopes do not cover Cloud KMS: give the machine the scope cloud-platform"
	}
	permission := ""
	if m := permissionRE.FindStringSubmatch(st.Message()); m != nil {
		permission = m[1]
	}
	if permission == "" {
		return "the identity may not do this on " + b.cfg.KeyRing + " (or it does not exist)"
	}
	return "the identity lacks " + permission + " on " + b.cfg.KeyRing + " or its keys (or they do not exist); grant a role that has it" + roleOf(permission)
}

// roleOf names the narrowest role of Google's that has a permission
// (https://cloud.google.com/iam/docs/roles-permissions/cloudkms).
func roleOf(permission string) string {
	switch permission {
	case "cloudkms.cryptoKeyVersions.useToSign":
		return ": roles/cloudkms.signer"
	case "cloudkms.cryptoKeyVersions.viewPublicKey":
		return ": roles/cloudkms.publicKeyViewer"
	case "cloudkms.cryptoKeys.list", "cloudkms.cryptoKeyVersions.list":
		return ": roles/cloudkms.viewer"
	case "cloudkms.importJobs.create", "cloudkms.importJobs.get", "cloudkms.importJobs.useToImport":
		return ": roles/cloudkms.importer"
	}
	return ": roles/cloudkms.admin has those that change keys"
}

func (b *Backend) whyNotFound(ref key.Ref) string {
	if ref != "" {
		return ""
	}
	return "there is no key ring " + b.cfg.KeyRing + ": look at its project, location and name"
}

// precondition judges FAILED_PRECONDITION. Its text ends with the state of the version.
func (b *Backend) precondition(st *status.Status, info *errdetails.ErrorInfo) (why string, kind error) {
	if info.GetReason() == "SERVICE_DISABLED" {
		return b.whyDenied(st, info), key.ErrDenied
	}
	m := stateRE.FindStringSubmatch(st.Message())
	if m == nil {
		return "Cloud KMS says that the state of the key does not allow it", key.ErrDisabled
	}
	s := stateNamed(m[1])
	if s.gone() {
		return s.reason(nil), key.ErrNotFound
	}
	return s.reason(nil), key.ErrDisabled
}

// invalid judges INVALID_ARGUMENT by its text in lower case.
func invalid(text string) (why string, kind error) {
	if strings.Contains(text, "location") {
		return "Cloud KMS is not in the location that key_ring names, or the endpoint is another location's", key.ErrNotFound
	}
	return "Cloud KMS found the request invalid; is the key of another purpose or algorithm?", key.ErrBadResponse
}

func (b *Backend) whyUnavailable(text string) string {
	at := b.cfg.Endpoint
	switch {
	case strings.Contains(text, errRefused.Error()):
		return at + " has an address that this deployment does not connect to: see egress.allow in the operator's config"
	case strings.Contains(text, "x509:"), strings.Contains(text, "tls:"), strings.Contains(text, "handshake failed"):
		return "TLS with " + at + " failed: its certificate is not trusted here, or something in between is not Google"
	case strings.Contains(text, "no such host"), strings.Contains(text, "dial tcp: lookup "), strings.Contains(text, "produced zero addresses"), strings.Contains(text, "name resolver error"):
		return "the name of " + at + " does not resolve"
	case strings.Contains(text, "connection refused"):
		return "nothing listens at " + at
	case strings.Contains(text, "timeout"), strings.Contains(text, "no route"), strings.Contains(text, "unreachable"):
		return at + " cannot be reached from here: is a firewall in between?"
	}
	return "Cloud KMS is unavailable for now"
}

// answerError is an answer that came and is not believed.
type answerError struct {
	why    string
	damage bool // it may come whole the next time
}

func (e *answerError) Error() string { return e.why }

// distrust is an answer that nobody should ask for again.
func distrust(format string, args ...any) *answerError {
	return &answerError{why: fmt.Sprintf(format, args...)}
}

// damaged is an answer that may come whole the next time.
func damaged(why string) *answerError { return &answerError{why: why, damage: true} }

// everywhereError is a failure that meets every key of the ring alike.
type everywhereError struct{ error }

func (e everywhereError) Unwrap() error { return e.error }

// damagedError is a bad response that is worth a limited number of tries more.
type damagedError struct{ *key.CallError }

func (e damagedError) Unwrap() error { return e.CallError }

func isDamaged(err error) bool {
	var e damagedError
	return errors.As(err, &e)
}
