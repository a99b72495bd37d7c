// SPDX-License-Identifier: Apache-2.0

package azure_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/hsmsigner/hsmsigner/internal/key"
	"github.com/hsmsigner/hsmsigner/internal/key/azure"
	"github.com/hsmsigner/hsmsigner/internal/key/azure/azurefake"
	"github.com/hsmsigner/hsmsigner/internal/key/azure/azuretest"
)

// bodySecret is in every refusal of the vault and must be in none of ours.
const bodySecret = "appid=very-private"

// respond makes the vault answer every call with a status and an error body.
func respond(s *azuretest.Server, status int, code, inner, message string, header ...string) {
	s.Vault.SetWire(azurefake.Wire{Respond: func(w http.ResponseWriter, _ *http.Request) bool {
		for i := 0; i+1 < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		w.WriteHeader(status)
		if code != "" {
			_, _ = fmt.Fprintf(w, `{"error":{"code":%q,"message":%q,"innererror":{"code":%q}}}`, code, message+" "+bodySecret, inner)
		}
		return true
	}})
}

func wantKind(t *testing.T, err, kind error, why ...string) *key.CallError {
	t.Helper()
	var call *key.CallError
	if !errors.As(err, &call) {
		t.Fatalf("error %v is no *key.CallError", err)
	}
	if !errors.Is(err, kind) {
		t.Errorf("error %v, want kind %v", err, kind)
	}
	for _, w := range why {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("error %q does not say %q", err, w)
		}
	}
	if strings.Contains(err.Error(), bodySecret) {
		t.Errorf("error %q holds the vault's text", err)
	}
	return call
}

func TestRefusalOfTheVaultIsToldInOurWords(t *testing.T) {
	s := start(t, azurefake.Options{})
	ref := key.Ref(add(t, s, "k", azurefake.Spec{}).KID)
	b := open(t, s)
	if err := b.Health(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name                 string
		status               int
		code, inner, message string
		kind                 error
		why                  string
	}{
		{"disabled", 403, "Forbidden", "KeyDisabled", "no", key.ErrDisabled, "enable the version"},
		{"disabled, old reply", 403, "Forbidden", "", "Operation sign is not allowed on a disabled key.", key.ErrDisabled, "enable the version"},
		{"expired", 403, "Forbidden", "KeyExpired", "no", key.ErrDisabled, "later expiry"},
		{"expired, old reply", 403, "Forbidden", "", "Operation sign is not allowed on an expired key.", key.ErrDisabled, "later expiry"},
		{"not yet valid", 403, "Forbidden", "KeyNotYetValid", "no", key.ErrDisabled, "not valid yet"},
		{"outside its time", 403, "Forbidden", "", "Operation is not allowed outside of the validity period", key.ErrDisabled, "not valid yet"},
		{"no sign operation", 403, "Forbidden", "", "Operation sign is not permitted on this key.", key.ErrDisabled, `"sign"`},
		{"access policy", 403, "Forbidden", "AccessDenied", "does not have keys sign permission", key.ErrDenied, "access policies"},
		{"role", 403, "Forbidden", "ForbiddenByRbac", "Caller is not authorized to perform action on resource.", key.ErrDenied, "role assignment"},
		{"firewall", 403, "Forbidden", "ForbiddenByFirewall", "Client address is not authorized and caller is not a trusted service.", key.ErrDenied, "firewall"},
		{"private endpoint", 403, "Forbidden", "ForbiddenByConnection", "Public network access is disabled", key.ErrDenied, "private endpoint"},
		{"nothing but 403", 403, "", "", "", key.ErrDenied, "Get, List, Sign and Verify"},
		{"not found", 404, "KeyNotFound", "", "gone", key.ErrNotFound, "no such key"},
		{"wrong algorithm", 400, "BadParameter", "", "Key and signing algorithm are incompatible.", key.ErrDenied, "another algorithm"},
		{"internal error", 500, "InternalServerError", "", "oops", key.ErrUnavailable, "status 500"},
		{"unavailable", 503, "", "", "", key.ErrUnavailable, "status 503"},
		{"gateway", 504, "", "", "", key.ErrUnavailable, "status 504"},
		{"redirect", 302, "", "", "", key.ErrBadResponse, "status 302"},
	} {
		t.Run(c.name, func(t *testing.T) {
			respond(s, c.status, c.code, c.inner, c.message)
			before := s.Vault.Signs()
			_, err := b.SignDigest(t.Context(), ref, [32]byte{1})
			call := wantKind(t, err, c.kind, c.why, c.code, c.inner)
			if call.Ref != ref || call.Op != "azure: sign" {
				t.Errorf("op %q ref %q", call.Op, call.Ref)
			}
			if call.RequestID == "" {
				t.Error("no request id")
			}
			if n := s.Vault.Signs() - before; n != 1 {
				t.Errorf("%d calls, want 1: SignDigest retries nothing", n)
			}
		})
	}
}

func TestRefusedTokenIsReplacedOnceAndThenReported(t *testing.T) {
	s := start(t, azurefake.Options{})
	ref := key.Ref(add(t, s, "k", azurefake.Spec{}).KID)
	b := open(t, s)
	if err := b.Health(t.Context()); err != nil {
		t.Fatal(err)
	}
	respond(s, 401, "Unauthorized", "", "AKV10032: Invalid issuer", "WWW-Authenticate",
		`Bearer authorization="`+s.Entra.URL()+"/"+s.Entra.Tenant+`", resource="https://vault.azure.net"`)
	for range 5 {
		_, err := b.SignDigest(t.Context(), ref, [32]byte{1})
		wantKind(t, err, key.ErrDenied, "refuses the token", "Unauthorized")
	}
	if n := s.Entra.Requests(); n > 3 {
		t.Errorf("%d token requests", n)
	}
}

func TestThrottledSaysForHowLong(t *testing.T) {
	s := start(t, azurefake.Options{})
	ref := key.Ref(add(t, s, "k", azurefake.Spec{}).KID)
	b := open(t, s)
	if err := b.Health(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, header, value string
		low, high           time.Duration
	}{
		{"not at all", "X-Nothing", "", 0, 0},
		{"seconds", "Retry-After", "7", 7 * time.Second, 7 * time.Second},
		{"date", "Retry-After", time.Now().Add(20 * time.Second).UTC().Format(http.TimeFormat), time.Second, 20 * time.Second},
		{"past date", "Retry-After", time.Now().Add(-time.Minute).UTC().Format(http.TimeFormat), 0, 0},
		{"milliseconds", "Retry-After-Ms", "250", 250 * time.Millisecond, 250 * time.Millisecond},
		{"nonsense", "Retry-After", "soon", 0, 0},
		{"negative", "Retry-After", "-5", 0, 0},
		{"for ever", "Retry-After", "99999999999", 5 * time.Minute, 5 * time.Minute},
	} {
		t.Run(c.name, func(t *testing.T) {
			respond(s, 429, "Throttled", "VaultRequestTypeLimitReached", "slow", c.header, c.value)
			_, err := b.SignDigest(t.Context(), ref, [32]byte{1})
			var throttled *key.ThrottledError
			if !errors.As(err, &throttled) || !key.Transient(err) {
				t.Fatalf("error %v, want *key.ThrottledError", err)
			}
			if d := throttled.RetryAfter; d < c.low || d > c.high {
				t.Errorf("retry after %s, want %s to %s", d, c.low, c.high)
			}
		})
	}
}

func TestReadingWaitsOutThrottlingAndOutages(t *testing.T) {
	s := start(t, azurefake.Options{})
	for i := range 30 {
		add(t, s, fmt.Sprintf("k%02d", i), azurefake.Spec{})
	}
	b := open(t, s, func(c *azure.Config) { c.Reads = key.NewQuota(1000) })
	s.Vault.SetThrottle(0.5)
	keys, problems := list(t, b)
	if len(keys) != 30 || len(problems) != 0 || s.Vault.Throttled() == 0 {
		t.Errorf("%d keys, problems %v, %d throttled", len(keys), problems, s.Vault.Throttled())
	}
	s.Vault.SetThrottle(0)
	s.Vault.Fail(503)
	time.AfterFunc(200*time.Millisecond, func() { s.Vault.Fail(0) })
	if keys, _ := list(t, b); len(keys) != 30 {
		t.Errorf("%d keys after an outage", len(keys))
	}
	s.Vault.Fail(503)
	if _, err := b.Keys(t.Context(), ""); !errors.Is(err, key.ErrUnavailable) {
		t.Errorf("error %v, want ErrUnavailable", err)
	}
}

func TestHangingVaultReturnsAtTheDeadline(t *testing.T) {
	s := start(t, azurefake.Options{})
	ref := key.Ref(add(t, s, "k", azurefake.Spec{}).KID)
	b := open(t, s)
	if _, err := b.SignDigest(t.Context(), ref, [32]byte{1}); err != nil {
		t.Fatal(err)
	}
	s.Vault.Hang(true)
	hangs(t, b, ref)
	s.Vault.Hang(false)
	if _, err := b.SignDigest(t.Context(), ref, [32]byte{1}); err != nil {
		t.Error("after the hang:", err)
	}
}

// hangs wants every call of many at once to end at its deadline.
func hangs(t *testing.T, b *azure.Backend, ref key.Ref) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	begin := time.Now()
	errs := make(chan error)
	for i := range 16 {
		go func() {
			var err error
			switch i % 3 {
			case 0:
				_, err = b.SignDigest(ctx, ref, [32]byte{1})
			case 1:
				_, err = b.Keys(ctx, "")
			case 2:
				err = b.Health(ctx)
			}
			errs <- err
		}()
	}
	for range 16 {
		if err := <-errs; !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error %v, want context.DeadlineExceeded", err)
		}
	}
	if took := time.Since(begin); took > 12*time.Second { // less than a token request may take
		t.Errorf("it took %s", took)
	}
}
