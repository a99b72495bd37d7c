// SPDX-License-Identifier: Apache-2.0

package azurefake

import (
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// PageSize is that of a vault's listings.
const PageSize = 25

// The documented quotas of a vault in calls per [Window]
// (learn.microsoft.com/azure/key-vault/general/service-limits).
const (
	Window        = 10 * time.Second
	HSMQuota      = 2000
	SoftwareQuota = 4000
)

// Vault is the key vault. All methods are safe for concurrent use.
type Vault struct {
	entra       *Entra
	mux         *http.ServeMux
	managed     bool
	standard    bool
	base        string
	connections atomic.Int64
	calls       atomic.Int64
	signs       atomic.Int64
	signed      atomic.Int64
	throttled   atomic.Int64

	mu       sync.Mutex
	keys     map[string]*namedKey
	names    []string // sorted
	deleted  map[string]bool
	rights   map[string]bool // nil: all
	latency  time.Duration
	hang     chan struct{}
	quota    int // calls per window; 0: none
	began    time.Time
	spent    int
	throttle float64
	retry    string // header Retry-After of a refusal
	status   int
	wire     Wire
	resource string
	tenant   string
}

// Wire are answers that no sound vault gives. Each function may be nil.
type Wire struct {
	Signature func(sig []byte) []byte                           // in place of r‖s
	SignKID   func(kid string) string                           // in the answer to sign
	Bundle    func(bundle map[string]any)                       // of GetKey
	NextLink  func(link string) string                          // of listings
	Respond   func(w http.ResponseWriter, r *http.Request) bool // true: it has answered
	Challenge string                                            // WWW-Authenticate in place of the right one
}

func newVault(o Options, entra *Entra) *Vault {
	v := &Vault{
		entra: entra, managed: o.Managed, standard: o.Standard, mux: http.NewServeMux(),
		keys: map[string]*namedKey{}, deleted: map[string]bool{}, tenant: o.Tenant,
		resource: "https://vault.azure.net",
	}
	for _, route := range []struct {
		pattern, right string
		handle         func(http.ResponseWriter, *http.Request)
	}{
		{"GET /keys", "list", v.listKeys},
		{"GET /keys/{name}/versions", "list", v.listVersions},
		{"GET /keys/{name}/rotationpolicy", "getrotationpolicy", v.rotationPolicy},
		{"GET /keys/{name}/{version}", "get", v.getKey},
		{"GET /keys/{name}/{$}", "get", v.getKey},
		{"POST /keys/{name}/create", "create", v.createKey},
		{"PUT /keys/{name}", "import", v.importKey},
		{"PATCH /keys/{name}/{version}", "update", v.updateKey},
		{"DELETE /keys/{name}", "delete", v.deleteKey},
		{"POST /keys/{name}/{version}/sign", "sign", v.sign},
	} {
		v.mux.HandleFunc(route.pattern, func(w http.ResponseWriter, r *http.Request) {
			if !v.may(route.right) {
				fail(w, http.StatusForbidden, "Forbidden", "AccessDenied", "The user, group or application does not have keys "+route.right+" permission on key vault.")
				return
			}
			route.handle(w, r)
		})
	}
	return v
}

// URL is the vault's address.
func (v *Vault) URL() string { return v.base }

// Host is the vault's address as host:port.
func (v *Vault) Host() string { return strings.TrimPrefix(v.base, "https://") }

// Calls is how many requests with a valid token came; Signs those to sign,
// Signed those that got a signature, Throttled all that were refused for now.
func (v *Vault) Calls() int { return int(v.calls.Load()) }

// Signs is how many requests to sign came.
func (v *Vault) Signs() int { return int(v.signs.Load()) }

// Signed is how many signatures were made.
func (v *Vault) Signed() int { return int(v.signed.Load()) }

// Throttled is how many requests were refused with status 429.
func (v *Vault) Throttled() int { return int(v.throttled.Load()) }

// Connections is how many connections were opened.
func (v *Vault) Connections() int { return int(v.connections.Load()) }

// SetRights leaves the caller these rights only: get, list, sign, create,
// import, update, delete, getrotationpolicy.
func (v *Vault) SetRights(rights ...string) {
	v.set(func() {
		v.rights = map[string]bool{}
		for _, r := range rights {
			v.rights[r] = true
		}
	})
}

// SetLatency makes each request wait.
func (v *Vault) SetLatency(d time.Duration) { v.set(func() { v.latency = d }) }

// SetQuota lets so many requests through in each [Window]; 0: all.
func (v *Vault) SetQuota(calls int) {
	v.set(func() { v.quota, v.spent, v.began = calls, 0, time.Time{} })
}

// SetThrottle refuses this part of all requests at random.
func (v *Vault) SetThrottle(part float64) { v.set(func() { v.throttle = part }) }

// SetRetryAfter is the header that refusals with 429 have; empty: none.
func (v *Vault) SetRetryAfter(value string) { v.set(func() { v.retry = value }) }

// Fail answers every request with an HTTP status and no body; 0 ends it.
func (v *Vault) Fail(status int) { v.set(func() { v.status = status }) }

// Hang keeps every request without an answer until it is switched off.
func (v *Vault) Hang(on bool) { v.set(func() { v.hang = switchHang(v.hang, on) }) }

// SetWire makes answers wrong.
func (v *Vault) SetWire(w Wire) { v.set(func() { v.wire = w }) }

// SetTenant is the directory that the vault's challenge names.
func (v *Vault) SetTenant(id string) { v.set(func() { v.tenant = id }) }

func (v *Vault) set(do func()) {
	v.mu.Lock()
	defer v.mu.Unlock()
	do()
}

func (v *Vault) may(right string) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.rights == nil || v.rights[right]
}

func (v *Vault) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	v.mu.Lock()
	hang, latency, status, wire, tenant := v.hang, v.latency, v.status, v.wire, v.tenant
	v.mu.Unlock()
	w.Header().Set("X-Ms-Request-Id", requestID())
	w.Header().Set("X-Ms-Keyvault-Region", "nowhere")
	if hang != nil {
		select {
		case <-hang:
		case <-r.Context().Done():
			return
		}
	}
	if latency > 0 {
		time.Sleep(latency)
	}
	if token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer "); !ok || !v.entra.accepts(token) {
		challenge := `Bearer authorization="` + v.entra.base + "/" + tenant + `", resource="` + v.resource + `"`
		if wire.Challenge != "" {
			challenge = wire.Challenge
		}
		w.Header().Set("WWW-Authenticate", challenge)
		fail(w, http.StatusUnauthorized, "Unauthorized", "", "AKV10000: Request is missing a Bearer or PoP token.")
		return
	}
	v.calls.Add(1)
	if strings.HasSuffix(r.URL.Path, "/sign") {
		v.signs.Add(1)
	}
	if !v.spend() {
		v.throttled.Add(1)
		v.mu.Lock()
		if v.retry != "" {
			w.Header().Set("Retry-After", v.retry)
		}
		v.mu.Unlock()
		fail(w, http.StatusTooManyRequests, "Throttled", "VaultRequestTypeLimitReached", "Request was not processed because too many requests were received.")
		return
	}
	switch {
	case status != 0:
		w.WriteHeader(status)
	case r.URL.Query().Get("api-version") == "":
		fail(w, http.StatusBadRequest, "BadParameter", "", "api-version must be specified")
	case wire.Respond != nil && wire.Respond(w, r):
	default:
		r.Body = http.MaxBytesReader(w, r.Body, 1<<20)
		v.mux.ServeHTTP(w, r)
	}
}

// spend counts a request against the quota, and throws the dice.
func (v *Vault) spend() bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.throttle > 0 && rand.Float64() < v.throttle {
		return false
	}
	if v.quota == 0 {
		return true
	}
	if now := time.Now(); now.Sub(v.began) >= Window {
		v.began, v.spent = now, 0
	}
	v.spent++
	return v.spent <= v.quota
}

// fail answers as a vault refuses
// (learn.microsoft.com/azure/key-vault/general/common-error-codes).
func fail(w http.ResponseWriter, status int, code, inner, message string) {
	body := map[string]any{"code": code, "message": message}
	if inner != "" {
		body["innererror"] = map[string]any{"code": inner}
	}
	reply(w, status, map[string]any{"error": body})
}

// skip reads where a page begins.
func skip(r *http.Request) int {
	n, err := strconv.Atoi(r.URL.Query().Get("$skiptoken"))
	if err != nil || n < 0 {
		return 0
	}
	return n
}
