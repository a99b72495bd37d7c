// SPDX-License-Identifier: Apache-2.0

package hashicorp_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"testing"

	"github.com/hashicorp/vault/api"

	"github.com/hsmsigner/hsmsigner/internal/key"
	"github.com/hsmsigner/hsmsigner/internal/key/hashicorp"
	"github.com/hsmsigner/hsmsigner/internal/key/hashicorp/vaulttest"
)

// login gets a client with an AppRole token that has the policies and not even
// the policy default.
func login(t *testing.T, mount string, policies ...string) *api.Client {
	t.Helper()
	c, _, secret := withAppRole(t, mount, map[string]any{"token_no_default_policy": true}, policies...)
	client, err := server.NewClient("")
	if err != nil {
		t.Fatal(err)
	}
	answer, err := client.Logical().WriteWithContext(t.Context(), "auth/approle/login", map[string]any{"role_id": c.RoleID, "secret_id": secret})
	if err != nil {
		t.Fatal(err)
	}
	client.SetToken(answer.Auth.ClientToken)
	return client
}

// status makes a request and returns the status of the answer.
func status(ctx context.Context, client *api.Client, method, path string, body map[string]any) int {
	r := client.NewRequest(method, "/v1/"+path)
	if body != nil {
		_ = r.SetJSONBody(body)
	}
	response, err := client.RawRequestWithContext(ctx, r) //nolint:staticcheck // the status is what is asked for
	if response == nil {
		_ = err
		return 0
	}
	defer response.Body.Close()
	return response.StatusCode
}

func TestEachPolicyOpensItsPathsAndNoOthers(t *testing.T) {
	mount := newMount(t, true)
	address := strings.ToLower(newKey(t, mount).Hex())
	if err := server.Write(t.Context(), mount+"/keys/open", map[string]any{"exportable": true}); err != nil {
		t.Fatal(err)
	}
	digest := map[string]any{"digest": strings.Repeat("11", 32)}
	transaction := map[string]any{"chainId": "1", "nonce": "0", "gas": "21000", "gasPrice": "1", "to": address}
	const admin, digests, transactions = vaulttest.Administrator, vaulttest.DigestSigner, vaulttest.TransactionSigner
	requests := []struct {
		method, path string
		body         map[string]any
		allowed      string // the policies that open it
	}{
		{"LIST", "addresses", nil, admin + digests + transactions},
		{"GET", "addresses/" + address, nil, admin + digests + transactions},
		{"PUT", "sign/" + address, digest, digests},
		{"PUT", "sign-transaction/" + address, transaction, transactions},
		{"LIST", "keys", nil, admin},
		{"GET", "keys/open", nil, admin},
		{"PUT", "keys/new", map[string]any{}, admin},
		{"PUT", "keys/new", map[string]any{"enabled": false}, admin},
		{"GET", "wrapping-key", nil, admin},
		{"PUT", "keys/other/import", map[string]any{"ciphertext": ""}, admin}, // which is wrong, and then 400
		{"GET", "keys/open/export", nil, ""},
		{"DELETE", "keys/new", nil, admin},
	}
	for _, policy := range []string{admin, digests, transactions} {
		client := login(t, mount, policy)
		for _, r := range requests {
			got := status(t.Context(), client, r.method, mount+"/"+r.path, r.body)
			if want := !strings.Contains(r.allowed, policy); (got == http.StatusForbidden) != want || got == 0 || got >= 500 {
				t.Errorf("%s: %s %s answers %d, refused should be %v", policy, r.method, r.path, got, want)
			}
		}
	}
	// All three together open no export either: a denial wins.
	all := login(t, mount, admin, digests, transactions)
	if got := status(t.Context(), all, "GET", mount+"/keys/open/export", nil); got != http.StatusForbidden {
		t.Errorf("export under all three policies answers %d, want 403", got)
	}
}

func TestPolicyThatNamesOneAddressOpensNoOther(t *testing.T) {
	mount := newMount(t, false)
	named, other := strings.ToLower(newKey(t, mount).Hex()), strings.ToLower(newKey(t, mount).Hex())
	policy := unique("named-")
	text := `path "` + mount + `/sign/` + named + `" { capabilities = ["update"] }`
	if err := server.Write(t.Context(), "sys/policies/acl/"+policy, map[string]any{"policy": text}); err != nil {
		t.Fatal(err)
	}
	token, err := server.Token(t.Context(), []string{policy}, nil)
	if err != nil {
		t.Fatal(err)
	}
	client, err := server.NewClient(token)
	if err != nil {
		t.Fatal(err)
	}
	digest := map[string]any{"digest": strings.Repeat("11", 32)}
	for address, want := range map[string]int{
		named: 200, other: 403,
		// Another spelling is another path for a policy: it must not be served.
		"0x" + strings.ToUpper(other[2:]): 403, "0x" + strings.ToUpper(named[2:]): 403,
	} {
		if got := status(t.Context(), client, "PUT", mount+"/sign/"+address, digest); got != want {
			t.Errorf("sign/%s answers %d, want %d", address, got, want)
		}
	}
	root, err := server.NewClient(server.RootToken())
	if err != nil {
		t.Fatal(err)
	}
	if got := status(t.Context(), root, "PUT", mount+"/sign/0x"+strings.ToUpper(named[2:]), digest); got != 400 {
		t.Errorf("an address in capital letters answers %d, want 400", got)
	}
}

func TestMissingRightIsNamed(t *testing.T) {
	mount := newMount(t, false)
	address := newKey(t, mount)
	c, _, _ := withAppRole(t, mount, nil, vaulttest.TransactionSigner)
	b := open(t, c)
	_, err := b.SignDigest(t.Context(), refOf(mount, address), [32]byte{1})
	says(t, err, key.ErrDenied, "update on "+mount+"/sign/0x")
	_, err = b.(key.Creator).Create(t.Context(), "x", nil)
	says(t, err, key.ErrDenied, "create and update on "+mount+"/keys/x")
	c.Mount = "no-such-mount"
	_, err = open(t, c).Keys(t.Context(), "")
	says(t, err, key.ErrDenied, "list on no-such-mount/addresses")
}

func TestRealRootTokenIsRefused(t *testing.T) {
	mount := newMount(t, false)
	c := hashicorp.Config{Address: server.URL(), Mount: mount, Token: func() (string, error) { return server.RootToken(), nil }}
	_, err := open(t, c).SignDigest(t.Context(), refOf(mount, newKey(t, mount)), [32]byte{1})
	says(t, err, key.ErrDenied, "root token")
	if strings.Contains(err.Error(), server.RootToken()) {
		t.Error("the error holds the token")
	}
}

func TestTokenThatCanReadExportsIsWarnedAbout(t *testing.T) {
	mount := newMount(t, false)
	newKey(t, mount)
	policy := unique("exporter-")
	text := `path "` + mount + `/*" { capabilities = ["read", "list", "update"] }`
	if err := server.Write(t.Context(), "sys/policies/acl/"+policy, map[string]any{"policy": text}); err != nil {
		t.Fatal(err)
	}
	for want, policies := range map[bool][]string{true: {policy}, false: {vaulttest.PolicyName(mount, vaulttest.DigestSigner)}} {
		token, err := server.Token(t.Context(), policies, nil)
		if err != nil {
			t.Fatal(err)
		}
		var log bytes.Buffer
		b := open(t, hashicorp.Config{
			Address: server.URL(), Mount: mount, Token: func() (string, error) { return token, nil },
			Logger: slog.New(slog.NewTextHandler(&log, nil)),
		})
		for range 3 {
			if _, err := b.Keys(t.Context(), ""); err != nil {
				t.Fatal(err)
			}
		}
		times := strings.Count(log.String(), "may read private keys")
		if want && times != 1 || !want && times != 0 {
			t.Errorf("policies %v: warned %d times: %s", policies, times, log.String())
		}
		if strings.Contains(log.String(), token) {
			t.Error("the log holds the token")
		}
	}
}

func TestGivenTokenIsNotRevokedAndOwnIs(t *testing.T) {
	mount := newMount(t, false)
	address := newKey(t, mount)
	token, err := server.Token(t.Context(), []string{vaulttest.PolicyName(mount, vaulttest.DigestSigner)}, nil)
	if err != nil {
		t.Fatal(err)
	}
	c := hashicorp.Config{Address: server.URL(), Mount: mount, Token: func() (string, error) { return token, nil }}
	for range 2 {
		b := must(t, c)
		_, err := b.SignDigest(t.Context(), refOf(mount, address), [32]byte{1})
		if err := errors.Join(err, b.Close()); err != nil {
			t.Fatal(err)
		}
	}
	accessors := func() int {
		client, err := server.NewClient(server.RootToken())
		if err != nil {
			t.Fatal(err)
		}
		list, err := client.Logical().ListWithContext(t.Context(), "auth/token/accessors")
		if err != nil {
			t.Fatal(err)
		}
		return len(list.Data["keys"].([]any))
	}
	own, _, _ := withAppRole(t, mount, nil, vaulttest.DigestSigner)
	before := accessors()
	b := must(t, own)
	if _, err := b.SignDigest(t.Context(), refOf(mount, address), [32]byte{1}); err != nil {
		t.Fatal(err)
	}
	if got := accessors(); got != before+1 {
		t.Errorf("%d tokens after a login, want %d", got, before+1)
	}
	_ = b.Close()
	if got := accessors(); got != before {
		t.Errorf("%d tokens after Close, want %d", got, before)
	}
}
