// SPDX-License-Identifier: Apache-2.0

package auth_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hsmsigner/hsmsigner/internal/auth"
	"github.com/hsmsigner/hsmsigner/internal/store"
)

func TestAppCredentialIsScopedToItsMembershipAndEnvironment(t *testing.T) {
	p := newPlace(t)
	password := p.app("h0aaaaaaa1")
	who, err := p.directory(auth.DirectoryConfig{}).App(basic("h0aaaaaaa1", password))
	want := auth.Principal{Name: "app:h0aaaaaaa1", Membership: "h0membe001", Environment: "h0envir001"}
	if err != nil || who != want {
		t.Errorf("got %+v, %v", who, err)
	}
}

func TestEveryWrongAppCredentialIsRefusedInTheSameWords(t *testing.T) {
	p := newPlace(t)
	password, other := p.app("h0aaaaaaa1"), p.app("h0aaaaaaa2")
	key := p.key("h0kkkkkkk1", auth.Grant{Role: auth.Admin})
	d := p.directory(auth.DirectoryConfig{})
	for name, r := range map[string][2]string{
		"unknown id":               {"h0aaaaaaa9", password},
		"wrong password":           {"h0aaaaaaa1", auth.NewSecret()},
		"another's password":       {"h0aaaaaaa1", other},
		"no password":              {"h0aaaaaaa1", ""},
		"no id":                    {"", password},
		"nothing":                  {"", ""},
		"id in capitals":           {"H0AAAAAAA1", password},
		"more after the password":  {"h0aaaaaaa1", password + "x"},
		"less of the password":     {"h0aaaaaaa1", password[1:]},
		"the stored hash":          {"h0aaaaaaa1", string(p.verifier.Hash(auth.ForAppCred, "h0aaaaaaa1", password))},
		"an API key":               {key[:10], key[11:]},
		"password for another use": {"h0kkkkkkk1", password},
		"long":                     {"h0aaaaaaa1", strings.Repeat("x", 1<<16)},
	} {
		who, err := d.App(basic(r[0], r[1]))
		if err == nil || err.Error() != auth.ErrCredentials.Error() || who != (auth.Principal{}) {
			t.Errorf("%s: got %+v, %v", name, who, err)
		}
	}
	for name, header := range map[string]string{"no header": "", "bearer": "Bearer " + key, "bare": "Basic", "not base64": "Basic %%%"} {
		r := request("192.0.2.1:5")
		if header != "" {
			r.Header.Set("Authorization", header)
		}
		if who, err := d.App(r); !errors.Is(err, auth.ErrCredentials) || who != (auth.Principal{}) {
			t.Errorf("%s: got %+v, %v", name, who, err)
		}
	}
}

// revocations are what a directory has told of.
type revocations struct {
	mu  sync.Mutex
	who []auth.Principal
}

func (r *revocations) add(p auth.Principal) {
	r.mu.Lock()
	r.who = append(r.who, p)
	r.mu.Unlock()
}

func (r *revocations) all() []auth.Principal {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.who)
}

func TestRevokedCredentialsAreRefusedAtOnceHereAndWithinTwoSecondsElsewhere(t *testing.T) {
	p := newPlace(t)
	password, key := p.app("h0aaaaaaa1"), p.key("h0kkkkkkk1", auth.Grant{Role: auth.Admin})
	kept := p.app("h0aaaaaaa2")
	// The other replica has a connection of its own to the same file.
	here, elsewhere := p.running(auth.DirectoryConfig{}), p.running(auth.DirectoryConfig{})
	var toldHere, toldElsewhere revocations
	here.OnRevoke(toldHere.add)
	elsewhere.OnRevoke(toldElsewhere.add)

	p.remove("h0aaaaaaa1")
	p.remove("h0kkkkkkk1")
	here.Changed()
	if _, err := here.App(basic("h0aaaaaaa1", password)); !errors.Is(err, auth.ErrCredentials) {
		t.Errorf("here, app credential: %v", err)
	}
	if _, err := here.Manager(bearer(key)); !errors.Is(err, auth.ErrCredentials) {
		t.Errorf("here, API key: %v", err)
	}
	gone := auth.Principal{Name: "app:h0aaaaaaa1", Membership: "h0membe001", Environment: "h0envir001"}
	if told := toldHere.all(); !slices.Contains(told, gone) || !slices.Contains(told, auth.Principal{Name: "key:h0kkkkkkk1"}) || len(told) != 2 {
		t.Errorf("told of %v", told)
	}
	if here.Valid(gone) {
		t.Error("its principal is still valid")
	}
	took := within(t, 20*time.Second, "the other replica refuses", func() bool {
		_, app := elsewhere.App(basic("h0aaaaaaa1", password))
		_, api := elsewhere.Manager(bearer(key))
		return app != nil && api != nil && len(toldElsewhere.all()) == 2
	})
	// A machine that stands still keeps no time: it has some tries.
	for try := 2; took > 2*time.Second && try <= 5; try++ {
		id := fmt.Sprintf("h0aaaaaa%02d", try)
		password := p.app(id)
		within(t, 20*time.Second, "the other replica knows a new one", func() bool {
			_, err := elsewhere.App(basic(id, password))
			return err == nil
		})
		p.remove(id)
		took = min(took, within(t, 20*time.Second, "the other replica refuses", func() bool {
			_, err := elsewhere.App(basic(id, password))
			return err != nil
		}))
	}
	t.Logf("seen elsewhere after %s", took)
	if took > 2*time.Second {
		t.Errorf("seen elsewhere after %s at best", took)
	}
	for _, d := range []*auth.Directory{here, elsewhere} {
		if _, err := d.App(basic("h0aaaaaaa2", kept)); err != nil {
			t.Errorf("the other credential: %v", err)
		}
	}
}

func TestRegeneratedPasswordEndsTheOldOneAndTellsOfIt(t *testing.T) {
	p := newPlace(t)
	old, fresh := p.app("h0aaaaaaa1"), auth.NewSecret()
	d := p.directory(auth.DirectoryConfig{})
	var told revocations
	d.OnRevoke(told.add)
	p.change("h0aaaaaaa1", func(r *store.Resource) { r.Verifier = credentialOf(*r, auth.Basic, r.ID).Stored(p.verifier, fresh) })
	d.Changed()
	if _, err := d.App(basic("h0aaaaaaa1", old)); !errors.Is(err, auth.ErrCredentials) {
		t.Errorf("old password: %v", err)
	}
	if _, err := d.App(basic("h0aaaaaaa1", fresh)); err != nil {
		t.Errorf("new password: %v", err)
	}
	if len(told.all()) != 1 {
		t.Errorf("told of %v", told.all())
	}
	p.change("h0aaaaaaa1", func(r *store.Resource) { r.Name = "another name" })
	d.Changed()
	if len(told.all()) != 1 {
		t.Errorf("a name is not a revocation: told of %v", told.all())
	}
	p.change("h0aaaaaaa1", func(r *store.Resource) {
		r.Membership = "h0membe002"
		r.Verifier = credentialOf(*r, auth.Basic, r.ID).Stored(p.verifier, fresh)
	})
	d.Changed()
	was := auth.Principal{Name: "app:h0aaaaaaa1", Membership: "h0membe001", Environment: "h0envir001"}
	if all := told.all(); len(all) != 2 || all[1] != was || d.Valid(was) {
		t.Errorf("another membership is a revocation: told of %v", all)
	}
}

func TestNewCredentialWorksWhenChangedReturns(t *testing.T) {
	p := newPlace(t)
	d := p.directory(auth.DirectoryConfig{})
	var group sync.WaitGroup
	for i := range 8 {
		id := "h0aaaaaaa" + string(rune('1'+i))
		password := p.app(id)
		group.Go(func() {
			d.Changed()
			if _, err := d.App(basic(id, password)); err != nil {
				t.Errorf("%s: %v", id, err)
			}
		})
	}
	group.Wait()
}

func TestRowThatIsNoCredentialLetsNobodyInAndKeepsNobodyOut(t *testing.T) {
	p := newPlace(t)
	password := p.app("h0aaaaaaa1")
	for id, change := range map[string]func(*store.Resource){
		"h0bbbbbbb1": func(r *store.Resource) { r.Verifier = nil },
		"h0bbbbbbb2": func(r *store.Resource) { r.Membership = "" },
		"h0bbbbbbb3": func(r *store.Resource) { r.Environment = "" },
		"h0bbbbbbb4": func(r *store.Resource) { r.Data = []byte("{") },
		"h0bbbbbbb5": func(r *store.Resource) { r.Data = []byte(`{"auth_type":"mtls"}`) },
	} {
		r := p.row("appcreds", id, map[string]any{"auth_type": auth.Basic, "username": id})
		r.Verifier = credentialOf(r, auth.Basic, id).Stored(p.verifier, "secret")
		change(&r)
		p.insert(r)
	}
	d := p.directory(auth.DirectoryConfig{})
	for _, id := range []string{"h0bbbbbbb1", "h0bbbbbbb2", "h0bbbbbbb3", "h0bbbbbbb4", "h0bbbbbbb5"} {
		for _, try := range []string{"secret", ""} {
			if _, err := d.App(basic(id, try)); !errors.Is(err, auth.ErrCredentials) {
				t.Errorf("%s: %v", id, err)
			}
		}
	}
	if _, err := d.App(basic("h0aaaaaaa1", password)); err != nil {
		t.Error(err)
	}
}

func TestDirectoryGoesOnWithWhatItKnowsWhileTheStoreIsAway(t *testing.T) {
	p := newPlace(t)
	password := p.app("h0aaaaaaa1")
	var log bytes.Buffer
	d := p.directory(auth.DirectoryConfig{Logger: slog.New(slog.NewTextHandler(&log, nil))})
	if err := p.db.Close(); err != nil {
		t.Fatal(err)
	}
	d.Changed()
	d.Changed()
	if _, err := d.App(basic("h0aaaaaaa1", password)); err != nil {
		t.Error(err)
	}
	if n := strings.Count(log.String(), "cannot be read"); n != 1 {
		t.Errorf("said %d times that the store is away:\n%s", n, log.String())
	}
}

func TestDatabaseHoldsNoSecret(t *testing.T) {
	dir := t.TempDir()
	db, err := store.OpenSQLite(t.Context(), store.Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	p := &place{t, dir, db, newVerifier(t, 1)}
	secrets := []string{p.app("h0aaaaaaa1"), p.key("h0kkkkkkk1", auth.Grant{Role: auth.Admin})[11:]}
	d := p.directory(auth.DirectoryConfig{})
	secrets = append(secrets, signIn(t, d, auth.Person{Subject: "ada"}).Value)
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range secrets {
			if bytes.Contains(content, []byte(s)) {
				t.Errorf("%s holds a secret", filepath.Base(file))
			}
		}
	}
}

func TestLogHoldsNeitherSecretsNorNamesThatAreNotOurs(t *testing.T) {
	p := newPlace(t)
	p.app("h0aaaaaaa1")
	var log bytes.Buffer
	d := p.directory(auth.DirectoryConfig{Logger: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))})
	canaries := []string{"canary-password", "canary-name", "h0aaaaaaa9", "canary-token"}
	_, _ = d.App(basic("h0aaaaaaa1", canaries[0]))
	_, _ = d.App(basic(canaries[1], "x")) // a password in the wrong field
	_, _ = d.Manager(bearer(canaries[2] + "-" + canaries[0]))
	_, _ = d.Manager(bearer(canaries[3]))
	for _, c := range canaries {
		if strings.Contains(log.String(), c) {
			t.Errorf("the log holds %s:\n%s", c, log.String())
		}
	}
	if !strings.Contains(log.String(), "h0aaaaaaa1") || strings.Count(log.String(), "bad login") != 4 {
		t.Errorf("bad logins are not logged:\n%s", log.String())
	}
}

func TestDirectoryNeedsItsStore(t *testing.T) {
	if _, err := auth.NewDirectory(t.Context(), auth.DirectoryConfig{}); err == nil {
		t.Error("made without a store")
	}
	p := newPlace(t)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := auth.NewDirectory(ended, auth.DirectoryConfig{Store: p.db, Verifier: p.verifier}); err == nil {
		t.Error("made without having read the credentials")
	}
}
