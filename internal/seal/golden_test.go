// SPDX-License-Identifier: Apache-2.0

package seal_test

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/hsmsigner/hsmsigner/internal/seal"
	"github.com/hsmsigner/hsmsigner/internal/store"
)

// golden is a value that version 1 of this package has sealed, with all that is
// needed to open it. It was written once, by this package; every later version
// has to open it.
type golden struct {
	Key        string     `json:"key"`        // a line of a key file
	KeyID      string     `json:"key_id"`     // that it must get
	Deployment string     `json:"deployment"` // hex: the row seal/<key_id> of sealed_key
	Place      seal.Place `json:"place"`
	Sealed     string     `json:"sealed"` // hex
	Plain      string     `json:"plain"`
}

func TestWhatVersion1SealedStillOpens(t *testing.T) {
	data, err := os.ReadFile("testdata/golden.json")
	if err != nil {
		t.Fatal(err)
	}
	var g golden
	if err := json.Unmarshal(data, &g); err != nil {
		t.Fatal(err)
	}
	deployment, err := hex.DecodeString(g.Deployment)
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := hex.DecodeString(g.Sealed)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(path, []byte(g.Key+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	db, _ := openStore(t)
	if _, err := db.SealedKey(t.Context(), "seal/"+g.KeyID, deployment); err != nil {
		t.Fatal(err)
	}
	s := open(t, seal.Config{Store: db, Sources: []seal.Source{seal.File(path)}})
	if s.KeyID() != g.KeyID {
		t.Errorf("the key is called %s, and was %s", s.KeyID(), g.KeyID)
	}
	wantPlain(t, s, g.Place, sealed, g.Plain)
}

// FuzzOpen: nothing that is not what was sealed opens, and nothing panics.
func FuzzOpen(f *testing.F) {
	dir := f.TempDir()
	db, err := store.OpenSQLite(context.Background(), store.Config{Dir: dir})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { _ = db.Close() })
	s := open(f, seal.Config{Store: db, Dir: dir})
	sealed := mustSeal(f, s, home, "hunter2")
	f.Add(sealed)
	f.Add([]byte{})
	f.Add([]byte{1, 255})
	f.Add(append([]byte{1, 5}, "a b\x00c"...))
	f.Fuzz(func(t *testing.T, data []byte) {
		plain, err := s.Open(t.Context(), home, data)
		if err == nil && (string(plain) != "hunter2" || string(data) != string(sealed)) {
			t.Errorf("%x opened as %q", data, plain)
		}
	})
}
