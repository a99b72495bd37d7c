// SPDX-License-Identifier: Apache-2.0

package logbook

import (
	"bytes"
	"context"
	"slices"
	"testing"

	"github.com/hsmsigner/hsmsigner/internal/store"
)

// Intents without an outcome are reported, each by its id, and are no tampering; those
// that were refused never have one, and those of the last minutes may get one yet.
func TestIntentsWithoutAnOutcomeAreReported(t *testing.T) {
	t.Parallel()
	r := open(t, t.TempDir())
	r.fill(t, 40)
	var alone []string
	var last string
	err := r.db.Write(context.Background(), func(w *store.Writer) error {
		alone = nil
		for n := range 5 {
			intent, _ := signature(1000 + n)
			last = intent.ID
			if n%2 == 1 {
				intent.Verdict = "deny: service:u0x/daily"
			} else {
				alone = append(alone, intent.ID)
			}
			if err := w.AuditIntent(intent); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(alone)
	if err := r.book.Await(context.Background(), last); err != nil {
		t.Fatal(err)
	}
	view := Read(r.db, r.key.Verifier())
	report := verify(t, view, VerifyConfig{})
	wantOK(t, report)
	if report.Unanswered != 3 || !slices.Equal(report.UnansweredIDs, alone) {
		t.Errorf("%d are without an outcome: %v, want %v", report.Unanswered, report.UnansweredIDs, alone)
	}
	if report = verify(t, view, VerifyConfig{Limit: 2}); report.Unanswered != 3 || !slices.Equal(report.UnansweredIDs, alone[:2]) {
		t.Errorf("of %d two are named: %v", report.Unanswered, report.UnansweredIDs)
	}
	if report, err = view.Verify(context.Background(), VerifyConfig{}); err != nil || report.Unanswered != 0 {
		t.Errorf("%d that may get an outcome yet are reported, %v", report.Unanswered, err)
	}

	// An export says the same by itself.
	var file bytes.Buffer
	if err := view.Export(context.Background(), &file, 0, 0); err != nil {
		t.Fatal(err)
	}
	report, err = VerifyExport(context.Background(), &file, r.key.Verifier(), VerifyConfig{Now: later()})
	if err != nil {
		t.Fatal(err)
	}
	wantOK(t, report)
	if report.Unanswered != 3 || !slices.Equal(report.UnansweredIDs, alone) {
		t.Errorf("of an export %d are without an outcome: %v, want %v", report.Unanswered, report.UnansweredIDs, alone)
	}
}
