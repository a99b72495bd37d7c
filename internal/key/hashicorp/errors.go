// SPDX-License-Identifier: Apache-2.0

package hashicorp

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
	"syscall"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/hsmsigner/hsmsigner/internal/key"
)

const whySealed = "Vault is sealed: vault operator unseal, or look at its auto-unseal"

var (
	errTooLong  = errors.New("the answer is too long")
	errNotVault = errors.New("the answer is not one of Vault's")
)

// explain turns what the SDK says into an error that says what to mend. Of
// Vault's own texts it takes nothing: they may repeat what was sent.
func (v *vault) explain(ctx context.Context, c call, response *api.Response, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("hashicorp: %s: %w", c.op, ctx.Err())
	}
	e := &key.CallError{Op: c.op, Ref: c.ref}
	var answer *api.ResponseError
	switch {
	case errors.As(err, &answer):
		judged := v.judge(c, answer)
		e.Kind, e.Why = judged.kind, judged.why
		if answer.StatusCode == http.StatusTooManyRequests {
			e.Kind, e.Why = &key.ThrottledError{RetryAfter: retryAfter(response)}, "a rate limit quota of Vault is used up"
		}
	case errors.Is(err, errTooLong), errors.Is(err, errNotVault):
		e.Kind, e.Why = key.ErrBadResponse, err.Error()+": is target_address that of Vault, without a proxy that rewrites answers?"
	default:
		e.Kind, e.Why = key.ErrUnavailable, v.unreachable(err)
	}
	return e
}

// verdict is what an answer means to us.
type verdict struct {
	kind error
	why  string
}

// judge says what a status of Vault means
// (developer.hashicorp.com/vault/api-docs#http-status-codes).
func (v *vault) judge(c call, a *api.ResponseError) verdict {
	switch code := a.StatusCode; code {
	case http.StatusBadRequest:
		switch {
		case says(a, "HTTP request to an HTTPS server"):
			return verdict{key.ErrUnavailable, "Vault wants TLS: write https in target_address"}
		case says(a, "not yet initialized"), says(a, "not initialized"):
			return verdict{key.ErrUnavailable, "Vault is not initialised: vault operator init"}
		}
		return verdict{key.ErrBadResponse, v.wrongEngine(code)}
	case http.StatusForbidden:
		return verdict{key.ErrDenied, fmt.Sprintf("Vault refuses %s on %s%s: give the token's policy this capability, and check mount and namespace", or(c.right, "access"), v.inNamespace(), c.path)}
	case http.StatusNotFound:
		switch {
		case says(a, "no handler for route"):
			return verdict{key.ErrDenied, fmt.Sprintf("nothing is mounted at %s%s/: check mount and namespace, or vault secrets enable -path=%s", v.inNamespace(), v.cfg.Mount, v.cfg.Mount)}
		case says(a, "unsupported path"):
			return verdict{key.ErrBadResponse, v.wrongEngine(code)}
		}
		if c.ref == "" {
			return verdict{key.ErrNotFound, ""} // so Vault answers a listing of nothing
		}
		return verdict{key.ErrNotFound, "Vault has no key of this address: it was deleted, or is in another mount"}
	case http.StatusMethodNotAllowed:
		return verdict{key.ErrBadResponse, v.wrongEngine(code)}
	case http.StatusConflict:
		return verdict{key.ErrDenied, "there is a key of this name or address already, or the name has another key now"}
	case http.StatusLocked:
		return verdict{key.ErrDisabled, "the key is switched off in Vault"}
	case http.StatusPreconditionFailed:
		return verdict{key.ErrUnavailable, "this node of Vault lags behind its primary"}
	case http.StatusMovedPermanently, http.StatusFound, http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
		return verdict{key.ErrUnavailable, "Vault sends us to another address, and we do not follow: point target_address at the active node or the load balancer"}
	case 472:
		return verdict{key.ErrUnavailable, "this is a disaster recovery secondary, which serves nobody: point target_address at the primary"}
	case http.StatusServiceUnavailable:
		switch {
		case says(a, "sealed"):
			return verdict{key.ErrUnavailable, whySealed}
		case says(a, "not initialized"):
			return verdict{key.ErrUnavailable, "Vault is not initialised: vault operator init"}
		}
		return verdict{key.ErrUnavailable, "Vault or the load balancer before it cannot answer now (status 503)"}
	default:
		if code >= 500 {
			return verdict{key.ErrUnavailable, "Vault cannot answer now (status " + strconv.Itoa(code) + "): its log says why, look for the time of this call"}
		}
		return verdict{key.ErrBadResponse, v.wrongEngine(code)}
	}
}

func (v *vault) wrongEngine(code int) string {
	return fmt.Sprintf("the engine at %s/ refused the request (status %d): is it %s, in this version?", v.cfg.Mount, code, v.cfg.Engine)
}

func (v *vault) inNamespace() string {
	if v.cfg.Namespace == "" {
		return ""
	}
	return v.cfg.Namespace + "/"
}

// unreachable says why there was no answer.
func (v *vault) unreachable(err error) string {
	var (
		authority x509.UnknownAuthorityError
		host      x509.HostnameError
		invalid   x509.CertificateInvalidError
		header    tls.RecordHeaderError
		name      *net.DNSError
		op        *net.OpError
		pair      *pairError
		rule      interface{ Refused() bool }
		address   = strings.TrimPrefix(strings.TrimPrefix(v.cfg.Address, "https://"), "http://")
	)
	switch {
	case errors.As(err, &pair):
		return "mutual TLS: " + pair.why
	case errors.As(err, &rule) && rule.Refused(): // Config.DialContext's; which address it was is not for everybody to know
		return "Vault has an address that this deployment does not connect to: check target_address, and egress.allow in the operator's config"
	case errors.As(err, &authority):
		return "Vault's certificate is signed by an authority that is not trusted: give it in ca_cert"
	case errors.As(err, &host):
		return "Vault's certificate is not for the host in target_address"
	case errors.As(err, &invalid):
		return "Vault's certificate is not valid: it has expired, or is not for servers"
	case errors.As(err, &header), strings.Contains(err.Error(), "server gave HTTP response"):
		return "Vault does not speak TLS there: write http in target_address, or turn TLS on in Vault"
	case remoteAlert(err):
		return "Vault refuses the client certificate: client_cert is missing, expired, or not of the authority that Vault trusts"
	case errors.As(err, &name):
		return "the name " + name.Name + " cannot be resolved: check target_address"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "nobody listens at " + address + ": check target_address, and whether Vault runs"
	case !v.asked.Load() && (errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET)):
		return "the connection to " + address + " broke"
	case errors.As(err, &op) && op.Op == "dial" && op.Err != nil:
		return "cannot connect to " + address + ": " + op.Err.Error()
	}
	if v.asked.Load() {
		// With TLS 1.3 and HTTP/2 the reason of a refusal is lost on the way.
		return "the connection to " + address + " broke after Vault had asked for a client certificate: client_cert is missing, expired, or not of the authority that Vault trusts"
	}
	return "cannot reach " + address
}

// remoteAlert reports a TLS alert that the other side sent about our certificate.
func remoteAlert(err error) bool {
	var alert tls.AlertError
	if errors.As(err, &alert) {
		return true
	}
	return strings.Contains(err.Error(), "remote error: tls:")
}

func retryAfter(response *api.Response) time.Duration {
	if response == nil {
		return 0
	}
	text := response.Header.Get("Retry-After")
	if seconds, err := strconv.Atoi(text); err == nil && seconds > 0 {
		return min(time.Duration(seconds)*time.Second, time.Hour)
	}
	if at, err := http.ParseTime(text); err == nil {
		return min(max(0, time.Until(at)), time.Hour)
	}
	return 0
}

// says looks for one of Vault's own phrases in an answer.
func says(a *api.ResponseError, phrase string) bool {
	for _, text := range a.Errors {
		if strings.Contains(text, phrase) {
			return true
		}
	}
	return false
}

func or(text, instead string) string {
	if text == "" {
		return instead
	}
	return text
}

// status is that of an answer, 0 if there was none.
func status(err error) int {
	var answer *api.ResponseError
	if errors.As(err, &answer) {
		return answer.StatusCode
	}
	return 0
}
