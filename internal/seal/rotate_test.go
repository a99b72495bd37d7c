// SPDX-License-Identifier: Apache-2.0

package seal_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hsmsigner/hsmsigner/internal/seal"
	"github.com/hsmsigner/hsmsigner/internal/store"
)

// fill puts n resources with secrets into the store.
func fill(t testing.TB, db *store.DB, s *seal.Sealer, n int) {
	t.Helper()
	for i := range n {
		r := resource(fmt.Sprintf("u0r%07d", i), "u0member00")
		r.Sealed = mustSeal(t, s, seal.OfResource(r), secretOf(i))
		if err := db.Write(t.Context(), func(w *store.Writer) error { return w.InsertResource(r) }); err != nil {
			t.Fatal(err)
		}
	}
}

// withStream puts an event stream with secret headers into the store, and looks at
// them when the test ends.
func withStream(t testing.TB, db *store.DB, s *seal.Sealer) {
	t.Helper()
	row := store.Stream{ID: "u0stream00", Environment: "u0environ0", Membership: "u0member00", Wallet: "u0r0000000", Name: "orders", Settings: "{}", Created: time.Now(), Updated: time.Now()}
	row.Secret = mustSeal(t, s, seal.OfStream(row), secretOf(1))
	if err := db.Write(t.Context(), func(w *store.Writer) error { return w.InsertStream(row) }); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		now, err := db.Stream(context.Background(), row.ID)
		if err != nil || bytes.Equal(now.Secret, row.Secret) {
			t.Errorf("the headers of a stream are sealed as they were, %v", err)
		}
		wantPlain(t, s, seal.OfStream(row), now.Secret, secretOf(1))
	})
}

func secretOf(i int) string { return fmt.Sprintf("canary-%d-of-a-credential", i) }

func TestRotationWhileEightSealAndOpen(t *testing.T) {
	const values = 40
	db, dir := openStore(t)
	running := open(t, seal.Config{Store: db, Dir: dir})
	fill(t, db, running, values)
	withStream(t, db, running)
	verifier, err := running.Key(t.Context(), "verifier")
	if err != nil {
		t.Fatal(err)
	}
	before := running.KeyID()

	stop := make(chan struct{})
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				id := fmt.Sprintf("u0r%07d", (g*7+i)%values)
				r, err := db.Resource(t.Context(), id)
				if err != nil {
					t.Error(err)
					return
				}
				plain, err := running.Open(t.Context(), seal.OfResource(r), r.Sealed)
				if err != nil || !strings.HasPrefix(string(plain), "canary-") {
					t.Errorf("open %s: %q, %v", id, plain, err)
					return
				}
				if r.Sealed, err = running.Seal(t.Context(), seal.OfResource(r), plain); err != nil {
					t.Errorf("seal %s: %v", id, err)
					return
				}
				err = db.Write(t.Context(), func(w *store.Writer) error { return w.UpdateResource(r) })
				if err != nil && !errors.Is(err, store.ErrRevision) {
					t.Error(err)
					return
				}
			}
		})
	}
	path := filepath.Join(dir, seal.DefaultFile)
	for range 3 { // another process: what the command line does
		if _, err := seal.AddKey(path); err != nil {
			t.Fatal(err)
		}
		other := open(t, seal.Config{Store: db, Dir: dir})
		done, err := other.Reseal(t.Context(), db)
		if err != nil || len(done.Failed) > 0 {
			t.Fatalf("%+v, %v", done, err)
		}
	}
	close(stop)
	wg.Wait()

	// Without the old keys everything still opens, and nothing is sealed with them.
	whole, err := os.ReadFile(path)
	if err != nil || len(bytes.Fields(whole)) != 4 {
		t.Fatalf("%d keys, %v", len(bytes.Fields(whole)), err)
	}
	if err := os.WriteFile(path, append(bytes.Fields(whole)[0], '\n'), 0o600); err != nil {
		t.Fatal(err)
	}
	after := open(t, seal.Config{Store: db, Dir: dir})
	if after.KeyID() == before || after.KeyID() != running.KeyID() {
		t.Errorf("the keys are %s before, %s after, %s in the running one", before, after.KeyID(), running.KeyID())
	}
	for i := range values {
		r := read(t, db, fmt.Sprintf("u0r%07d", i))
		wantPlain(t, after, seal.OfResource(r), r.Sealed, secretOf(i))
	}
	if again, err := after.Key(t.Context(), "verifier"); err != nil || !bytes.Equal(again, verifier) {
		t.Errorf("the deployment's own key changed: %v", err)
	}
	uses, err := after.Status(t.Context(), db)
	if err != nil || len(uses) != 1 || uses[0] != (seal.Use{KeyID: after.KeyID(), Seals: true, Have: true, Values: values + 2}) {
		t.Errorf("%+v, %v", uses, err)
	}
}

func TestRotationChangesNothingElseOfARow(t *testing.T) {
	db, dir := openStore(t)
	s := open(t, seal.Config{Store: db, Dir: dir})
	fill(t, db, s, 1)
	before := read(t, db, "u0r0000000")
	version, err := db.ResourceVersion(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := seal.AddKey(filepath.Join(dir, seal.DefaultFile)); err != nil {
		t.Fatal(err)
	}
	if done, err := s.Reseal(t.Context(), db); err != nil || done.Values != 1 {
		t.Fatalf("%+v, %v", done, err)
	}
	after := read(t, db, "u0r0000000")
	if bytes.Equal(after.Sealed, before.Sealed) {
		t.Error("not sealed anew")
	}
	after.Sealed = before.Sealed
	if now, err := db.ResourceVersion(t.Context()); err != nil || now != version || after.Revision != before.Revision || !after.Updated.Equal(before.Updated) {
		t.Errorf("version %d → %d, %v; %+v → %+v", version, now, err, before, after)
	}
	if done, err := s.Reseal(t.Context(), db); err != nil || done.Values != 0 {
		t.Errorf("the second time: %+v, %v", done, err)
	}
}

func TestRotationLeavesWhatItCannotOpenAndSaysSo(t *testing.T) {
	db, _ := openStore(t)
	fill(t, db, open(t, seal.Config{Store: db, Sources: []seal.Source{seal.File(keyFile(t, 1))}}), 1)
	s := open(t, seal.Config{Store: db, Sources: []seal.Source{seal.File(keyFile(t, 2))}})
	before := read(t, db, "u0r0000000")
	done, err := s.Reseal(t.Context(), db)
	if err != nil || len(done.Failed) != 1 || !strings.Contains(done.Failed[0], "u0r0000000") || !strings.Contains(done.Failed[0], "is missing") {
		t.Fatalf("%+v, %v", done, err)
	}
	if !bytes.Equal(read(t, db, "u0r0000000").Sealed, before.Sealed) {
		t.Error("the row was changed")
	}
	uses, err := s.Status(t.Context(), db)
	if err != nil || len(uses) != 2 || uses[1].Have || uses[1].Values != 1 {
		t.Errorf("%+v, %v", uses, err)
	}
}

func TestDatabaseWithoutTheKeyRevealsNothing(t *testing.T) {
	db, dir := openStore(t)
	s := open(t, seal.Config{Store: db, Dir: dir})
	fill(t, db, s, 20)
	verifier, err := s.Key(t.Context(), "verifier")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := seal.AddKey(filepath.Join(dir, seal.DefaultFile)); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Reseal(t.Context(), db); err != nil {
		t.Fatal(err)
	}
	lines, err := os.ReadFile(filepath.Join(dir, seal.DefaultFile))
	if err != nil {
		t.Fatal(err)
	}
	canaries := [][]byte{[]byte("canary-"), verifier, []byte(hex.EncodeToString(verifier))}
	for _, line := range bytes.Fields(lines) {
		raw, err := base64.StdEncoding.DecodeString(string(line))
		if err != nil {
			t.Fatal(err)
		}
		canaries = append(canaries, line, raw, []byte(hex.EncodeToString(raw)))
	}
	files := 0
	err = filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() || entry.Name() == seal.DefaultFile {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		files++
		for i, canary := range canaries {
			if bytes.Contains(data, canary) {
				t.Errorf("%s holds canary %d", entry.Name(), i)
			}
		}
		return nil
	})
	if err != nil || files < 2 {
		t.Errorf("looked at %d files, %v", files, err)
	}
}
