// SPDX-License-Identifier: Apache-2.0

package platform_test

import (
	"bytes"
	"encoding/json"
	"reflect"
	"regexp"
	"testing"

	"github.com/hsmsigner/hsmsigner/internal/config"
	"github.com/hsmsigner/hsmsigner/internal/platform"
	"github.com/hsmsigner/hsmsigner/internal/strictjson"
)

// FuzzMerge patches any object with any other: the parts put together are the
// whole, nothing that is secret is in the open part, and sending back the open
// part changes nothing.
func FuzzMerge(f *testing.F) {
	f.Add(`{"provider":"azure","user_secret":"s","admin":{"user_id":"a","user_secret":"b"}}`, `{"admin":{"user_id":"c"},"user_secret":null}`)
	f.Add(`{"a":[{"password":"x"}],"b":{}}`, `{"b":1,"a":{"password":{"c":2}}}`)
	f.Add(`{"a":{"b":{"pin":"1"}}}`, `{"a":{"b":{"d":null}}}`)
	f.Fuzz(func(t *testing.T, whole, patch string) {
		a, err := strictjson.Parse([]byte(whole))
		b, err2 := strictjson.Parse([]byte(patch))
		if err != nil || err2 != nil || a.Kind != strictjson.Object || b.Kind != strictjson.Object {
			return
		}
		start, _ := platform.Merge(nil, a)
		merged, changed := platform.Merge(start, b)
		if again, _ := platform.Merge(start, a); !reflect.DeepEqual(again, start) {
			t.Fatalf("what was given once more changes %v to %v", start, again)
		}
		if len(changed) == 0 && !reflect.DeepEqual(merged, start) {
			t.Fatalf("%v became %v, and nothing is said to be changed", start, merged)
		}
		shown, secret := platform.Split(merged)
		if joined := platform.Join(shown, secret); !reflect.DeepEqual(joined, merged) {
			t.Fatalf("%v and %v are %v together, not %v", shown, secret, joined, merged)
		}
		if name := secretIn(shown); name != "" {
			t.Fatalf("%s is shown in %v", name, shown)
		}
		back, err := json.Marshal(shown)
		if err != nil {
			t.Fatal(err)
		}
		v, err := strictjson.Parse(back)
		if err != nil {
			return // deeper than any request may be
		}
		if _, changed := platform.Merge(merged, v); len(changed) != 0 {
			t.Fatalf("sending back %s changes %v", back, changed)
		}
	})
}

func secretIn(v any) string {
	switch v := v.(type) {
	case map[string]any:
		for name, inner := range v {
			if platform.IsSecret(name) {
				return name
			}
			if found := secretIn(inner); found != "" {
				return found
			}
		}
	case []any:
		for _, inner := range v {
			if found := secretIn(inner); found != "" {
				return found
			}
		}
	}
	return ""
}

// FuzzUpdate changes a configuration by any body: no panic, and every refusal is
// one of ours that shows nothing of the secret.
func FuzzUpdate(f *testing.F) {
	for _, seed := range []string{`{}`, `{"details":{"user_secret":"CANARY"}}`, `{"name":null,"details":null}`, `{"details":{"admin":[]}}`, `{"_revision":"1"}`, `[`, `{"details":{"target_address":{"CANARY":1}}}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, patch []byte) {
		r := newRig(t)
		c := must[*platform.Configuration](r, platform.Configurations, home(), vaultBody(""))
		v, err := r.p.Update(t.Context(), root(), platform.Configurations, at(home(), c.ID), patch)
		if err != nil {
			refused(t, err)
			return
		}
		if bytes.Contains([]byte(text(v)), []byte(vaultToken)) {
			t.Fatalf("%s shows the secret", patch)
		}
	})
}

func TestKnownFieldsAreShownButForSecrets(t *testing.T) {
	for _, name := range config.SecretDetails() {
		if !platform.IsSecret(name) {
			t.Errorf("%s is shown", name)
		}
	}
	for _, name := range []string{
		"provider", "include", "exclude", "require_hsm", "rate_limit", "quota_share", "user_id", "tenant_id", "vault_name",
		"subscription_id", "target_address", "authority_address", "ca_cert", "kek", "plain_import", "protection", "identity",
		"target_region", "discovery", "tagging_address", "fips", "role_arn", "external_id", "sts_address", "mount", "namespace",
		"engine", "role_id", "auth_mount", "key_ring", "module", "token_label", "token_serial", "sessions", "call_timeout",
		"keep_alive", "wrapping_key", "path", "cloudhsm_id", "node_id",
	} {
		if platform.IsSecret(name) {
			t.Errorf("%s is not shown", name)
		}
	}
	for _, name := range []string{"clientSecret", "Password", "api-key", "x.token", "privateKey", "PIN", "aws_secret_access_key"} {
		if !platform.IsSecret(name) {
			t.Errorf("%s is shown", name)
		}
	}
}

func TestIDsAreThoseOfTheRegion(t *testing.T) {
	want := regexp.MustCompile(`^u0[a-z][0-9a-z]{7}$`)
	seen := make(map[string]bool)
	for range 10_000 {
		id := platform.NewID("u0")
		if !want.MatchString(id) || seen[id] {
			t.Fatal(id)
		}
		seen[id] = true
	}
	for _, id := range []string{platform.DefaultConsortium, platform.DefaultEnvironment, platform.DefaultMembership, platform.DeclaredID("treasury")} {
		if !regexp.MustCompile(`^h0[a-z][0-9a-z]{7}$`).MatchString(id) {
			t.Error(id)
		}
	}
	if platform.DeclaredID("a") == platform.DeclaredID("b") {
		t.Error("ids of declared wallets are not theirs")
	}
}
