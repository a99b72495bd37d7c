// SPDX-License-Identifier: Apache-2.0

package witness_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hsmsigner/hsmsigner/internal/audit/witness"
	"github.com/hsmsigner/hsmsigner/internal/store"
)

// start runs something until stop is called, which waits for its end.
func start(run func(done <-chan struct{})) (stop func()) {
	done := make(chan struct{})
	var ended sync.WaitGroup
	ended.Go(func() { run(done) })
	return func() { close(done); ended.Wait() }
}

func contextOf(done <-chan struct{}) context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	go func() { <-done; cancel() }()
	return ctx
}

func keeper(t *testing.T, l *logOf) *witness.Keeper {
	t.Helper()
	k, err := witness.New(witness.Config{Log: l.book, Store: l.db})
	must(t, err)
	return k
}

func served(t *testing.T, s *server) witness.Witness {
	t.Helper()
	place, err := witness.NewServer(s.URL, s.vkey, nil)
	must(t, err)
	return witness.Witness{Name: "w", Place: place}
}

func row(t *testing.T, db *store.DB) store.AuditWitness {
	t.Helper()
	r, err := db.AuditWitness(t.Context(), witness.Row("w"))
	must(t, err)
	return r
}

func TestAWitnessCosignsEachStateThatGoesOnFromTheLast(t *testing.T) {
	l := newLog(t)
	s := newServer(t, l.key.Verifier())
	k, w := keeper(t, l), served(t, s)
	for _, n := range []int{1, 1, 5, 40} {
		c := l.grow(n)
		must(t, k.Give(t.Context(), w))
		got := row(t, l.db)
		if got.Size != c.Size || got.Error != "" || !strings.HasPrefix(got.Note, string(c.Note)) {
			t.Fatalf("%+v", got)
		}
		at, err := witness.Cosigned(got.Note, s.vkey)
		if err != nil || time.Since(at) > time.Minute || strings.Contains(got.Note, "someone.else") {
			t.Errorf("%s %v\n%s", at, err, got.Note)
		}
	}
	calls := s.called()
	must(t, k.Give(t.Context(), w))
	if s.called() != calls {
		t.Error("the same state was given twice")
	}
}

func TestALostAnswerIsMadeUpFor(t *testing.T) {
	l := newLog(t)
	s := newServer(t, l.key.Verifier())
	k, w := keeper(t, l), served(t, s)
	first := l.grow(3)
	must(t, k.Give(t.Context(), w))
	s.set(func() { s.lost = func(int) bool { return true } })
	l.grow(3)
	if err := k.Give(t.Context(), w); err == nil {
		t.Fatal("no error although the answer was lost")
	}
	if got := row(t, l.db); got.Size != first.Size || got.Error == "" || got.Note == "" {
		t.Errorf("%+v", got)
	}
	s.set(func() { s.lost = nil })
	last := l.grow(3)
	must(t, k.Give(t.Context(), w))
	if got := row(t, l.db); got.Size != last.Size || got.Error != "" {
		t.Errorf("%+v", got)
	}
}

func TestWhatAWitnessRefusesIsNotTakenForGiven(t *testing.T) {
	l := newLog(t)
	l.grow(5)
	for name, c := range map[string]struct {
		do   func(s *server)
		want string
	}{
		"signature of another key": {func(s *server) { s.other = true }, "no signature of the key"},
		"unknown log":              {func(s *server) { s.fail = func(int) int { return 404 } }, "does not know this log"},
		"unknown key":              {func(s *server) { s.fail = func(int) int { return 403 } }, "does not take this log's key"},
		"another history":          {func(s *server) { s.size, s.root = 2, make([]byte, 32) }, "does not go on"},
		"ahead of us":              {func(s *server) { s.size, s.root = 1000, make([]byte, 32) }, "has a checkpoint of 1000 records"},
		"out of order":             {func(s *server) { s.fail = func(int) int { return 500 } }, "status 500"},
		"elsewhere":                {func(s *server) { s.fail = func(int) int { return 307 } }, "status 307"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newServer(t, l.key.Verifier())
			s.set(func() { c.do(s) })
			must(t, l.db.PutAuditWitness(t.Context(), store.AuditWitness{Name: witness.Row("w"), At: time.Now()}))
			err := keeper(t, l).Give(t.Context(), served(t, s))
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v", err)
			}
			if got := row(t, l.db); got.Size != 0 || got.Note != "" || got.Error != err.Error() {
				t.Errorf("%+v", got)
			}
		})
	}
}

func TestALogThatWasCutOffIsTold(t *testing.T) {
	l := newLog(t)
	had := l.grow(2).Size + 5
	must(t, l.db.PutAuditWitness(t.Context(), store.AuditWitness{Name: witness.Row("w"), Size: had, At: time.Now()}))
	err := keeper(t, l).Give(t.Context(), witness.Witness{Name: "w", Place: witness.File{Path: filepath.Join(t.TempDir(), "f")}})
	if err == nil || !strings.Contains(err.Error(), "cut off") {
		t.Error(err)
	}
	if got := row(t, l.db); got.Size != had || got.Error == "" {
		t.Errorf("%+v", got)
	}
}

func TestAFileHasEveryCheckpointAndTheNewestByItself(t *testing.T) {
	l := newLog(t)
	path := filepath.Join(t.TempDir(), "checkpoints")
	k, w := keeper(t, l), witness.Witness{Name: "w", Place: witness.File{Path: path}}
	var want []string
	for range 3 {
		want = append(want, string(l.grow(2).Note))
		must(t, k.Give(t.Context(), w))
	}
	// A crash has left half of a line behind.
	text, err := os.ReadFile(path)
	must(t, err)
	must(t, os.WriteFile(path, append(text, `{"at":"2026`...), 0o600))
	want = append(want, string(l.grow(2).Note))
	must(t, k.Give(t.Context(), w))
	f, err := os.Open(path)
	must(t, err)
	defer f.Close()
	got, strange, err := witness.ReadFile(f)
	if err != nil || strange != 1 || strings.Join(got, "|") != strings.Join(want, "|") {
		t.Errorf("%d %d %v", len(got), strange, err)
	}
	latest, err := os.Open(path + witness.Latest)
	must(t, err)
	defer latest.Close()
	if got, _, err = witness.ReadFile(latest); err != nil || len(got) != 1 || got[0] != want[3] {
		t.Errorf("%q %v", got, err)
	}
	info, err := os.Stat(path)
	must(t, err)
	if info.Mode().Perm() != 0o600 {
		t.Error(info.Mode())
	}
	left, err := filepath.Glob(filepath.Join(filepath.Dir(path), "*"))
	if err != nil || len(left) != 2 {
		t.Errorf("left behind: %v", left)
	}
}

func TestAFileThatCannotBeWrittenIsNoWitness(t *testing.T) {
	l := newLog(t)
	l.grow(1)
	err := keeper(t, l).Give(t.Context(), witness.Witness{Name: "w", Place: witness.File{Path: filepath.Join(t.TempDir(), "missing", "f")}})
	if !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
	if got := row(t, l.db); got.Size != 0 || got.Error == "" {
		t.Errorf("%+v", got)
	}
}

// One that is away is tried again, and the others are served meanwhile.
func TestRunGivesOnScheduleAndTriesAgain(t *testing.T) {
	l := newLog(t)
	s := newServer(t, l.key.Verifier())
	s.set(func() { s.fail = func(call int) int { return map[bool]int{true: 503}[call < 3] } })
	path := filepath.Join(t.TempDir(), "checkpoints")
	w := served(t, s)
	w.Every = 20 * time.Millisecond
	k, err := witness.New(witness.Config{Log: l.book, Store: l.db, Witnesses: []witness.Witness{w, {Name: "file", Place: witness.File{Path: path}, Every: 20 * time.Millisecond}}})
	must(t, err)
	stop := start(func(done <-chan struct{}) { k.Run(contextOf(done)) })
	defer stop()
	size := l.grow(4).Size
	waitFor(t, "the file", func() bool { _, err := os.Stat(path + witness.Latest); return err == nil })
	waitFor(t, "the witness", func() bool { r := row(t, l.db); return r.Size == size && r.Error == "" })
}

// Who is not on turn gives nothing.
func TestOneReplicaAtATimeGives(t *testing.T) {
	l := newLog(t)
	l.grow(1)
	path := filepath.Join(t.TempDir(), "checkpoints")
	asked := make(chan struct{}, 100)
	k, err := witness.New(witness.Config{
		Log: l.book, Store: l.db, Witnesses: []witness.Witness{{Name: "w", Place: witness.File{Path: path}, Every: time.Millisecond}},
		Turn: func(context.Context, string) bool {
			select {
			case asked <- struct{}{}:
			default:
			}
			return false
		},
	})
	must(t, err)
	stop := start(func(done <-chan struct{}) { k.Run(contextOf(done)) })
	for range 3 {
		<-asked
	}
	stop()
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Error("a checkpoint was given")
	}
}

func waitFor(t *testing.T, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !is(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("no %s", what)
		}
	}
}

func TestKeysThatAreNoneAreRefused(t *testing.T) {
	l := newLog(t)
	s := newServer(t, l.key.Verifier())
	flipped := []byte(s.vkey)
	flipped[len(flipped)-5] ^= 1
	for _, key := range []string{"", "a", "a+b", "a+00000000+AAAA", string(flipped), strings.Replace(s.vkey, "w1", "w2", 1)} {
		if _, err := witness.NewVerifier(key); err == nil {
			t.Errorf("%q was taken", key)
		}
	}
	if _, err := witness.NewVerifier(s.vkey); err != nil {
		t.Error(err)
	}
	if _, err := witness.NewVerifier(l.key.Verifier().String()); err != nil { // type 1
		t.Error(err)
	}
}
