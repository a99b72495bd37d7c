// SPDX-License-Identifier: Apache-2.0

package azure

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/hsmsigner/hsmsigner/internal/key"
)

func FuzzReference(f *testing.F) {
	v := vault{base: "https://treasury.vault.azure.net"}
	for _, s := range []string{
		"https://treasury.vault.azure.net/keys/a/0123456789abcdef0123456789abcdef", "https://treasury.vault.azure.net:443/keys/a",
		"https://treasury.vault.azure.net/keys/a/%2e%2e", "https://x", "", "https://treasury.vault.azure.net/keys/a/0123456789abcdef0123456789abcdef/sign",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if k, ok := v.parseRef(key.Ref(s)); ok && string(v.ref(k)) != s {
			t.Errorf("%q became %q", s, v.ref(k))
		}
		if k, ok := parseKID(s); ok {
			if strings.ContainsAny(k.name+k.version, "/?#%. ") || k.name == "" {
				t.Errorf("%q gave %+v", s, k)
			}
			if again, ok := v.parseRef(v.ref(k)); k.version != "" && (!ok || again != k) {
				t.Errorf("%+v became %+v", k, again)
			}
		}
	})
}

// libraryTenant is where the library looks for the tenant, and ends the process
// if it is not there.
func libraryTenant(header string) (string, bool) {
	for _, part := range strings.Split(strings.ReplaceAll(header, "Bearer ", ""), " ") {
		name, value, _ := strings.Cut(part, "=")
		value = strings.TrimSuffix(strings.ReplaceAll(value, `"`, ""), ",")
		if name == "authorization" && value != "" && !strings.Contains(value, "=") && len(strings.Split(value, "/")) < 4 {
			return value, false
		}
	}
	return "", true
}

func FuzzChallenge(f *testing.F) {
	for _, s := range []string{
		`Bearer authorization="https://login.microsoftonline.com/11111111-1111-1111-1111-111111111111", resource="https://vault.azure.net"`,
		`Bearer authorization="https://login.windows.net/t" scope="https://managedhsm.azure.net/.default"`,
		`Bearer authorization="x", resource="y"`, `Bearer authorization=https://a/b authorization=x resource=y`, `Basic`, ``,
		`Bearer claims="e30=" authorization="x"`,
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if checkChallenge(s) != nil {
			return
		}
		if _, ok := libraryTenant(s); !ok {
			t.Errorf("%q would end the library", s)
		}
	})
}

func FuzzRetryAfter(f *testing.F) {
	f.Add("7")
	f.Add("-1")
	f.Add("99999999999999999999")
	f.Add("Wed, 21 Oct 2026 07:28:00 GMT")
	f.Fuzz(func(t *testing.T, s string) {
		for _, name := range []string{"Retry-After", "Retry-After-Ms", "X-Ms-Retry-After-Ms"} {
			if d := retryAfter(http.Header{name: {s}}, time.Unix(1.7e9, 0)); d < 0 || d > maxRetryAfter {
				t.Errorf("%s %q: %s", name, s, d)
			}
		}
	})
}
