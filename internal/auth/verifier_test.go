// SPDX-License-Identifier: Apache-2.0

package auth_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/hsmsigner/hsmsigner/internal/auth"
)

func TestHashIsForOnePurposeOneIDAndOneKey(t *testing.T) {
	v, other := newVerifier(t, 1), newVerifier(t, 2)
	h := v.Hash("a", "b", "c")
	if len(h) != 32 || !v.Check(h, "a", "b", "c") {
		t.Fatalf("got %x", h)
	}
	for _, parts := range [][3]string{{"a", "b", "d"}, {"a", "x", "c"}, {"x", "b", "c"}, {"ab", "", "c"}, {"", "ab", "c"}, {"a", "bc", ""}, {"a", "", "bc"}} {
		if v.Check(h, parts[0], parts[1], parts[2]) {
			t.Errorf("%q has the same hash", parts)
		}
	}
	if other.Check(h, "a", "b", "c") || v.Check(nil, "a", "b", "c") || v.Check(h[:31], "a", "b", "c") {
		t.Error("another key, or no hash, is as good")
	}
}

func TestHashesOfManyAtOnceAreRight(t *testing.T) {
	v := newVerifier(t, 1)
	var group sync.WaitGroup
	for i := range 8 {
		group.Go(func() {
			secret := strings.Repeat("x", i*300)
			want := v.Hash("a", "b", secret)
			for range 500 {
				if !v.Check(want, "a", "b", secret) {
					t.Error("a hash has changed")
					return
				}
			}
		})
	}
	group.Wait()
}

func TestSecretsAreDifferentAndFitIntoAURL(t *testing.T) {
	seen := make(map[string]bool)
	for range 1000 {
		s := auth.NewSecret()
		if len(s) != 43 || seen[s] || url.QueryEscape(s) != s || url.UserPassword("x", s).String() != "x:"+s {
			t.Fatalf("secret %q", s)
		}
		seen[s] = true
	}
}

type keys struct {
	key []byte
	err error
}

func (k keys) Key(context.Context, string) ([]byte, error) { return k.key, k.err }

func TestVerifierWantsAKeyAndShowsItToNobody(t *testing.T) {
	key := bytes.Repeat([]byte{0xAB}, 32)
	v, err := auth.OpenVerifier(t.Context(), keys{key: key})
	if err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "v", v, "cfg", auth.DirectoryConfig{Verifier: v}.Verifier)
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	for _, shown := range []string{fmt.Sprintf("%v %+v %#v %x %s %d", v, v, v, v, v, v), fmt.Sprintf("%+v", auth.DirectoryConfig{Verifier: v}), string(text), log.String()} {
		if s := strings.ToLower(shown); strings.Contains(s, "abab") || strings.Contains(s, "171 171") {
			t.Errorf("shows its key: %s", shown)
		}
	}
	if _, err := auth.OpenVerifier(t.Context(), keys{key: key[:16]}); err == nil {
		t.Error("takes a short key")
	}
	gone := errors.New("gone")
	if _, err := auth.OpenVerifier(t.Context(), keys{err: gone}); !errors.Is(err, gone) {
		t.Errorf("got %v", err)
	}
}
