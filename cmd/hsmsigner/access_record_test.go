// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hsmsigner/hsmsigner/internal/audit"
	"github.com/hsmsigner/hsmsigner/internal/auth"
)

// trailOf keeps events, or fails.
type trailOf struct {
	all  []audit.Event
	fail error
}

func (k *trailOf) WriteEvent(_ context.Context, e audit.Event) error {
	if k.fail == nil {
		k.all = append(k.all, e)
	}
	return k.fail
}

func TestSignInsAreOnRecordAndStrangersDoNotFillIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		to := &trailOf{}
		record := recordAccess(to, slog.New(slog.DiscardHandler))
		at := func(kind auth.EventKind) error {
			return record(t.Context(), auth.Event{At: time.Now(), Kind: kind, Who: "person:x", Remote: "192.0.2.1", Count: 1})
		}
		if err := errors.Join(at(auth.SignedIn), at(auth.SignedOut), at(auth.Revoked)); err != nil {
			t.Fatal(err)
		}
		if len(to.all) != 2 || to.all[0].Kind != "sign-in" || to.all[0].Principal != "person:x" || !strings.Contains(to.all[0].Detail, "192.0.2.1") || to.all[1].Kind != "sign-out" {
			t.Errorf("%+v", to.all)
		}
		for range 1000 {
			if err := at(auth.BadLogin); err != nil {
				t.Fatal(err)
			}
		}
		if got := len(to.all) - 2; got != badAtOnce {
			t.Errorf("%d of 1000 are put on record one by one, not %d", got, badAtOnce)
		}
		time.Sleep(2 * time.Second)
		if err := at(auth.BadLogin); err != nil {
			t.Fatal(err)
		}
		if last := to.all[len(to.all)-1]; last.Kind != "bad-credentials" || !strings.Contains(last.Detail, `"count":951`) {
			t.Errorf("the others are not counted: %s", last.Detail)
		}
		to.fail = errors.New("disk full")
		if err := at(auth.SignedIn); !errors.Is(err, to.fail) {
			t.Errorf("a sign-in that is not on record: %v", err)
		}
	})
}
