// SPDX-License-Identifier: Apache-2.0

package store_test

import (
	"errors"
	"fmt"
	"io/fs"
	"sync"
	"testing"
	"time"

	"github.com/hsmsigner/hsmsigner/internal/store"
)

func aResource(id string) store.Resource {
	return store.Resource{ID: id, Kind: "apikeys", State: "started", Created: time.Now(), Updated: time.Now(), Data: []byte("{}")}
}

func TestWritesBesideADaemonReachItAndDisturbNothing(t *testing.T) {
	dir := t.TempDir()
	daemon := open(t, store.Config{Dir: dir, Exclusive: true})
	before, err := daemon.ResourceVersion(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	const each = 30
	insert := func(db *store.DB, who string) {
		for i := range each {
			id := fmt.Sprintf("%s%08d", who, i)
			if err := db.Write(t.Context(), func(w *store.Writer) error { return w.InsertResource(aResource(id)) }); err != nil {
				t.Errorf("%s: %v", id, err)
			}
		}
	}
	var group sync.WaitGroup
	group.Go(func() { insert(daemon, "aa") })
	for _, who := range []string{"bb", "cc"} { // two commands, one after the other, each with its own connections
		beside, err := store.OpenBeside(t.Context(), store.Config{Dir: dir})
		if err != nil {
			t.Fatal(err)
		}
		group.Go(func() {
			insert(beside, who)
			if err := beside.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	all, err := daemon.Resources(t.Context(), store.ResourceFilter{Kind: "apikeys"})
	if err != nil || len(all) != 3*each {
		t.Errorf("the daemon sees %d, %v", len(all), err)
	}
	if v, err := daemon.ResourceVersion(t.Context()); err != nil || v != before+3*each {
		t.Errorf("version %d, %v", v, err)
	}
	if _, err := store.OpenSQLite(t.Context(), store.Config{Dir: dir}); !errors.Is(err, store.ErrInUse) {
		t.Errorf("the daemon has lost its lock: %v", err)
	}
}

func TestBesideMakesNoDatabase(t *testing.T) {
	if _, err := store.OpenBeside(t.Context(), store.Config{Dir: t.TempDir()}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v", err)
	}
}
