// SPDX-License-Identifier: Apache-2.0

package azure_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/test/bufconn"

	"github.com/hsmsigner/hsmsigner/internal/key"
	"github.com/hsmsigner/hsmsigner/internal/key/azure"
	"github.com/hsmsigner/hsmsigner/internal/key/azure/azurefake"
	"github.com/hsmsigner/hsmsigner/internal/key/azure/azuretest"
)

func TestEachVersionIsAnAccount(t *testing.T) {
	s := start(t, azurefake.Options{})
	for range 60 { // three pages of versions
		add(t, s, "k", azurefake.Spec{Tags: map[string]string{"chain": "main"}})
	}
	keys, _ := list(t, open(t, s))
	addresses := map[string]bool{}
	for _, k := range keys {
		addresses[k.Address.Hex()] = true
		if !strings.HasPrefix(k.Name, "k/") || !strings.HasSuffix(string(k.Ref), k.Name) || k.Tags["chain"] != "main" {
			t.Errorf("key %+v", k)
		}
	}
	if len(addresses) != 60 {
		t.Errorf("%d addresses, want 60", len(addresses))
	}
}

func TestStatesAndProtectionAreShown(t *testing.T) {
	s := start(t, azurefake.Options{})
	now := time.Now()
	want := map[string]struct {
		spec       azurefake.Spec
		state      key.State
		protection key.Protection
		reason     string
	}{
		"enabled":  {azurefake.Spec{}, key.Enabled, key.HSM, ""},
		"software": {azurefake.Spec{Kty: "EC"}, key.Enabled, key.Software, ""},
		"bounded":  {azurefake.Spec{NotBefore: now.Add(-time.Hour), Expires: now.Add(time.Hour)}, key.Enabled, key.HSM, ""},
		"off":      {azurefake.Spec{Disabled: true}, key.Disabled, key.HSM, "disabled in the vault"},
		"late":     {azurefake.Spec{Expires: now.Add(-time.Hour)}, key.Disabled, key.HSM, "expired at 20"},
		"early":    {azurefake.Spec{NotBefore: now.Add(time.Hour)}, key.Disabled, key.HSM, "not valid before 20"},
		"mute":     {azurefake.Spec{Ops: []string{"verify"}}, key.Disabled, key.HSM, `"sign"`},
	}
	for name, w := range want {
		add(t, s, name, w.spec)
	}
	hidden := add(t, s, "hidden", azurefake.Spec{Disabled: true, Hidden: true})
	keys, problems := list(t, open(t, s))
	for _, k := range keys {
		name, _, _ := strings.Cut(k.Name, "/")
		w := want[name]
		if k.State != w.state || k.Protection != w.protection || (w.reason == "") != (k.Reason == "") || !strings.Contains(k.Reason, w.reason) {
			t.Errorf("%s: %+v", name, k)
		}
	}
	if len(keys) != len(want) {
		t.Errorf("%d keys, want %d", len(keys), len(want))
	}
	if len(problems) != 1 || problems[0].Name != hidden.Name || !strings.Contains(problems[0].Reason, "disabled") {
		t.Errorf("problems %v", problems)
	}
}

func TestCursorLeadsThroughManyPages(t *testing.T) {
	s := start(t, azurefake.Options{})
	for i := range 1300 {
		add(t, s, fmt.Sprintf("k%04d", i), azurefake.Spec{})
	}
	b := open(t, s)
	seen, pages := map[key.Ref]bool{}, 0
	for cursor := ""; ; pages++ {
		page, err := b.Keys(t.Context(), cursor)
		if err != nil {
			t.Fatal(err)
		}
		for _, k := range page.Keys {
			seen[k.Ref] = true
		}
		if cursor = page.Next; cursor == "" {
			break
		}
	}
	if len(seen) != 1300 || pages < 2 {
		t.Errorf("%d keys, %d more pages", len(seen), pages)
	}
}

// What never changes is not asked again; what changes is seen at once.
func TestRefreshCostsTheListingOnly(t *testing.T) {
	s := start(t, azurefake.Options{})
	s.Vault.SetRights(azuretest.Rights()...)
	var refs []key.Ref
	for i := range 50 {
		refs = append(refs, key.Ref(add(t, s, fmt.Sprintf("k%02d", i), azurefake.Spec{Hidden: true}).KID))
	}
	add(t, s, "rsa", azurefake.Spec{Kty: "RSA"})
	b := open(t, s)
	calls := func() int {
		before := s.Vault.Calls()
		list(t, b)
		return s.Vault.Calls() - before
	}
	// 3 pages, 51 keys' versions, 51 versions, and one rotation policy: denied.
	if n := calls(); n != 3+51+51+1 {
		t.Errorf("first listing: %d calls", n)
	}
	if n := calls(); n != 3+51 {
		t.Errorf("second listing: %d calls", n)
	}
	if err := s.Vault.Change(string(refs[7]), func(k *azurefake.Spec) { k.Disabled = true }); err != nil {
		t.Fatal(err)
	}
	if err := s.Vault.Change(string(refs[8]), func(k *azurefake.Spec) { k.Ops = []string{"verify"} }); err != nil {
		t.Fatal(err)
	}
	if n := calls(); n != 3+51+2 {
		t.Errorf("third listing: %d calls", n)
	}
	keys, _ := list(t, b)
	for _, k := range keys {
		if off := k.Ref == refs[7] || k.Ref == refs[8]; off != (k.State == key.Disabled) {
			t.Errorf("%+v", k)
		}
	}
	if len(keys) != 50 {
		t.Errorf("%d keys", len(keys))
	}
	s.Vault.Remove("k09")
	list(t, b)
	if _, err := b.PublicKey(t.Context(), refs[9]); !errors.Is(err, key.ErrNotFound) {
		t.Errorf("public key of a deleted key: %v", err)
	}
	calls()
	before := s.Vault.Calls()
	if _, err := b.PublicKey(t.Context(), refs[1]); err != nil || s.Vault.Calls() != before {
		t.Errorf("public key: %v, %d calls", err, s.Vault.Calls()-before)
	}
}

// The accounts would all look gone, when it is the credential that has changed.
func TestMissingRightGetFailsTheListing(t *testing.T) {
	s := start(t, azurefake.Options{})
	for range 3 {
		add(t, s, "k", azurefake.Spec{})
		add(t, s, "l", azurefake.Spec{})
	}
	s.Vault.SetRights("list", "sign")
	if page, err := open(t, s).Keys(t.Context(), ""); !errors.Is(err, key.ErrDenied) || !strings.Contains(err.Error(), "Get, List, Sign and Verify") {
		t.Errorf("%d problems, %v", len(page.Problems), err)
	}
}

func TestOneForbiddenKeyIsAProblem(t *testing.T) {
	s := start(t, azurefake.Options{})
	add(t, s, "mine", azurefake.Spec{})
	add(t, s, "theirs", azurefake.Spec{})
	s.Vault.SetWire(azurefake.Wire{Respond: func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.HasPrefix(r.URL.Path, "/keys/theirs/") || strings.HasSuffix(r.URL.Path, "/versions") {
			return false
		}
		w.WriteHeader(http.StatusForbidden)
		return true
	}})
	if keys, problems := list(t, open(t, s)); len(keys) != 1 || len(problems) != 1 {
		t.Errorf("keys %v, problems %v", keys, problems)
	}
}

func TestHangingRotationPolicyDoesNotStopAListing(t *testing.T) {
	s := start(t, azurefake.Options{})
	for i := range 5 {
		add(t, s, fmt.Sprintf("k%d", i), azurefake.Spec{})
	}
	done := make(chan struct{})
	defer close(done)
	s.Vault.SetWire(azurefake.Wire{Respond: func(_ http.ResponseWriter, r *http.Request) bool {
		if strings.HasSuffix(r.URL.Path, "/rotationpolicy") {
			select {
			case <-done:
			case <-r.Context().Done():
			}
		}
		return false
	}})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if page, err := open(t, s).Keys(ctx, ""); err != nil || len(page.Keys) != 5 || ctx.Err() != nil {
		t.Errorf("%d keys, %v, %v", len(page.Keys), err, ctx.Err())
	}
}

func TestLinkToElsewhereIsNotFollowed(t *testing.T) {
	elsewhere := start(t, azurefake.Options{})
	s := start(t, azurefake.Options{})
	for i := range 30 {
		add(t, s, fmt.Sprintf("k%02d", i), azurefake.Spec{})
	}
	b := open(t, s)
	s.Vault.SetWire(azurefake.Wire{NextLink: func(link string) string {
		return strings.Replace(link, s.Vault.URL(), elsewhere.Vault.URL(), 1)
	}})
	if keys, _ := list(t, b); len(keys) != 30 {
		t.Errorf("%d keys: the query is good wherever the link points", len(keys))
	}
	if elsewhere.Vault.Connections() != 0 {
		t.Error("the link was followed to another host")
	}
	s.Vault.SetWire(azurefake.Wire{NextLink: func(string) string { return s.Vault.URL() + "/secrets?x" }})
	if _, err := b.Keys(t.Context(), ""); !errors.Is(err, key.ErrBadResponse) {
		t.Errorf("error %v, want ErrBadResponse", err)
	}
	for _, cursor := range []string{"x", "1", "1:", ":x", "-1:x"} {
		if _, err := b.Keys(t.Context(), cursor); !errors.Is(err, key.ErrBadResponse) {
			t.Errorf("cursor %q: error %v", cursor, err)
		}
	}
}

func TestRotationPolicyIsWarnedOfOnce(t *testing.T) {
	s := start(t, azurefake.Options{})
	for _, name := range []string{"rotates", "stays"} {
		add(t, s, name, azurefake.Spec{})
	}
	s.Vault.Rotate("rotates", "P90D")
	for _, c := range []struct {
		rights []string
		warns  int
	}{
		{append(azuretest.Rights(), "getrotationpolicy"), 1},
		{azuretest.Rights(), 0},
	} {
		var text bytes.Buffer
		s.Vault.SetRights(c.rights...)
		b := open(t, s, func(cfg *azure.Config) { cfg.Logger = slog.New(slog.NewTextHandler(&text, nil)) })
		list(t, b)
		if keys, problems := list(t, b); len(keys) != 2 || len(problems) != 0 {
			t.Errorf("keys %v, problems %v", keys, problems)
		}
		if n := strings.Count(text.String(), "rotation policy"); n != c.warns || strings.Contains(text.String(), "key=stays") {
			t.Errorf("%d warnings, want %d: %s", n, c.warns, text.String())
		}
	}
}

// One call a page and two a key, within what the quota of software-protected keys
// allows, at 20 ms a call. The clock is the test's and the connections are in
// memory, so that a busy machine changes nothing. The benchmark e2e/bench does it
// with 10,000 keys and a real clock.
func TestDiscoveryTakesWhatTheQuotaTakes(t *testing.T) {
	const (
		count   = 1000
		needed  = count/azurefake.PageSize + 2*count
		allowed = time.Second * needed / azure.SoftwarePerSecond
	)
	synctest.Test(t, func(t *testing.T) {
		entra, vault := bufconn.Listen(1<<16), bufconn.Listen(1<<16)
		s := start(t, azurefake.Options{EntraListener: entra, VaultListener: vault})
		s.Vault.SetRights(azuretest.Rights()...)
		for i := range count {
			add(t, s, fmt.Sprintf("key-%05d", i), azurefake.Spec{Kty: "EC"})
		}
		s.Vault.SetLatency(20 * time.Millisecond)
		s.Vault.SetQuota(azurefake.SoftwareQuota)
		b := open(t, s, realNames(s), func(c *azure.Config) {
			c.Reads = key.NewQuota(azure.SoftwarePerSecond * key.DefaultShare)
			c.DialContext = func(ctx context.Context, _, address string) (net.Conn, error) {
				if strings.HasPrefix(address, "login.microsoftonline.com:") {
					return entra.DialContext(ctx)
				}
				return vault.DialContext(ctx)
			}
		})
		begin := time.Now()
		keys, problems := list(t, b)
		took, calls := time.Since(begin), s.Vault.Calls()
		t.Logf("%d keys in %s by %d calls, %d throttled; the quota allows %s", len(keys), took.Round(time.Millisecond), calls, s.Vault.Throttled(), allowed)
		if len(keys) != count || len(problems) != 0 {
			t.Errorf("%d keys, %d problems", len(keys), len(problems))
		}
		if took > allowed*12/10 {
			t.Errorf("it took %s, want at most 1.2 × %s", took, allowed)
		}
		if calls > needed*101/100 {
			t.Errorf("%d calls, want %d", calls, needed)
		}
	})
}
