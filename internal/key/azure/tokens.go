// SPDX-License-Identifier: Apache-2.0

package azure

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"

	"github.com/hsmsigner/hsmsigner/internal/key"
)

// tokenError is why there is no token, in our words.
type tokenError struct {
	kind      error
	why       string
	requestID string
}

func (e *tokenError) Error() string { return "token: " + e.kind.Error() + ": " + e.why }
func (e *tokenError) Unwrap() error { return e.kind }

// NonRetriable keeps the library from asking again.
func (e *tokenError) NonRetriable() {}

// whatToDo says what the commoner codes mean for our settings
// (learn.microsoft.com/entra/identity-platform/reference-error-codes).
var whatToDo = map[int]string{
	7000215: "the client secret is wrong: user_secret must be the secret's value, not its id",
	7000222: "the client secret has expired: make a new one and put it into user_secret",
	700016:  "the directory has no such application: check user_id, and that tenant_id is the application's directory",
	90002:   "there is no such directory: check tenant_id",
	900023:  "tenant_id is neither a GUID nor a domain of a directory",
	700027:  "the certificate is not registered with the application, or not valid: check client_cert",
	700024:  "the proof is outside its time: check this machine's clock",
	700021:  "the pod's token is of another issuer or audience than the federated credential wants",
	70021:   "the application has no federated credential for this pod's service account",
	700211:  "the application has no federated credential for the issuer of the pod's token",
	700213:  "the application has no federated credential for this pod's service account",
	7000112: "the application is disabled in the directory",
	7000229: "the application has no service principal in the directory: check tenant_id",
	7000218: "the request came without a secret or certificate",
	500011:  "the directory does not know the vault's service: check AuthorityHost and the cloud of the vault",
	500014:  "the vault's service is disabled in the directory",
	53003:   "a conditional access policy refuses this machine",
}

// entraError is the body of a refused token request (RFC 6749 §5.2 and
// learn.microsoft.com/entra/identity-platform/v2-oauth2-client-creds-grant-flow).
type entraError struct {
	Error       string `json:"error"`
	Description string `json:"error_description"`
	Codes       []int  `json:"error_codes"`
}

var aadsts = regexp.MustCompile(`^AADSTS([0-9]{4,9})\b`)

// explain turns a failed token request into a *tokenError. ctx is that of the
// request, not of a caller.
func (c *credential) explain(ctx context.Context, err error, trace *tokenTrace) error {
	var known *tokenError
	if errors.As(err, &known) {
		return known
	}
	what := "the token service at " + c.cfg.AuthorityHost
	if c.cfg.ManagedIdentity {
		what = "the machine's identity endpoint"
	}
	var refused *azidentity.AuthenticationFailedError
	switch {
	case errors.As(err, &refused) && refused.RawResponse != nil:
		return c.refused(refused.RawResponse, what)
	case ctx.Err() != nil:
		return &tokenError{kind: key.ErrUnavailable, why: what + " did not answer within " + tokenTimeout.String()}
	case trace.err != nil:
		why, kind := explainNetwork(trace.err, what, "AuthorityHost")
		return &tokenError{kind: kind, why: why}
	case c.cfg.ManagedIdentity:
		return &tokenError{kind: key.ErrUnavailable, why: "no managed identity answers here: assign one to this machine, or set a client secret"}
	case c.cfg.WorkloadIdentity && !readable(c.cfg.TokenFile):
		return &tokenError{kind: key.ErrUnavailable, why: "the pod's token file cannot be read: check token_file and the webhook of workload identity"}
	}
	return &tokenError{kind: key.ErrUnavailable, why: "no token from " + what + ": its answer was not understood; check AuthorityHost"}
}

func readable(file string) bool {
	if file == "" {
		file = os.Getenv("AZURE_FEDERATED_TOKEN_FILE")
	}
	f, err := os.Open(file) // #nosec G703 -- the operator names it
	if err != nil {
		return false
	}
	_ = f.Close()
	return true
}

// refused explains an answer of the token service other than a token.
func (c *credential) refused(resp *http.Response, what string) *tokenError {
	out := &tokenError{kind: key.ErrDenied, requestID: resp.Header.Get(requestIDHeader)}
	var body entraError
	if raw, err := runtime.Payload(resp); err == nil {
		_ = json.Unmarshal(raw, &body) // what cannot be read has no code
	}
	code := 0
	if m := aadsts.FindStringSubmatch(body.Description); m != nil {
		code, _ = strconv.Atoi(m[1]) // digits
	} else if len(body.Codes) > 0 {
		code = body.Codes[0]
	}
	switch s := resp.StatusCode; {
	case s == http.StatusTooManyRequests:
		out.kind, out.why = &key.ThrottledError{RetryAfter: retryAfter(resp.Header, time.Now())}, what+" wants fewer requests"
	case s >= 500 || s == http.StatusRequestTimeout:
		out.kind, out.why = key.ErrUnavailable, what+" answered with status "+strconv.Itoa(s)
	case whatToDo[code] != "":
		out.why = whatToDo[code]
	case c.cfg.ManagedIdentity:
		out.why = "the machine has no such identity: check user_id, and that the identity is assigned to this machine"
	case s < 400, s == http.StatusNotFound && code == 0:
		out.kind, out.why = key.ErrBadResponse, what+" is not one: check AuthorityHost"
	default:
		out.why = what + " gives no token: check tenant_id, user_id and the secret"
	}
	switch {
	case code != 0:
		out.why += " (AADSTS" + strconv.Itoa(code) + ")"
	case errorCode.MatchString(body.Error):
		out.why += " (" + body.Error + ")"
	}
	return out
}
