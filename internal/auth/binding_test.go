// SPDX-License-Identifier: Apache-2.0

package auth_test

import (
	"bytes"
	"database/sql"
	"errors"
	"log/slog"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hsmsigner/hsmsigner/internal/auth"
	"github.com/hsmsigner/hsmsigner/internal/sqlite"
)

func TestCredentialThatWasChangedInTheDatabaseOpensNothingAndIsLoggedOnce(t *testing.T) {
	member := auth.Grant{Consortium: "h0conso001", Membership: "h0membe001", Role: auth.Admin}
	wide := func(grants string) string { return `data = json_set(data, '$.grants', json('` + grants + `'))` }
	for name, c := range map[string][2]string{
		"app to another membership":     {"h0aaaaaaa1", `membership = 'h0membe002'`},
		"app to another environment":    {"h0aaaaaaa1", `environment = 'h0envir002'`},
		"app to a certificate":          {"h0aaaaaaa1", `data = json_set(data, '$.auth_type', 'mtls', '$.username', 'shop')`},
		"app without a binding":         {"h0aaaaaaa1", `verifier = substr(verifier, 1, 32)`},
		"app of another id":             {"h0aaaaaaa1", `id = 'h0aaaaaaa9'`},
		"certificate's identity":        {"h0aaaaaaa2", `data = json_set(data, '$.username', 'till')`},
		"certificate's membership":      {"h0aaaaaaa2", `membership = 'h0membe002'`},
		"certificate's environment":     {"h0aaaaaaa2", `environment = 'h0envir002'`},
		"certificate without a binding": {"h0aaaaaaa2", `verifier = NULL`},
		"wider grants":                  {"h0kkkkkkk1", wide(`[{"role":"admin"}]`)},
		"one more grant":                {"h0kkkkkkk1", wide(`[{"consortium_id":"h0conso001","membership_id":"h0membe001","role":"admin"},{"role":"auditor"}]`)},
		"another role":                  {"h0kkkkkkk1", wide(`[{"consortium_id":"h0conso001","membership_id":"h0membe001","role":"operator"}]`)},
		"another membership":            {"h0kkkkkkk1", wide(`[{"consortium_id":"h0conso001","membership_id":"h0membe002","role":"admin"}]`)},
		"no grants":                     {"h0kkkkkkk1", wide(`[]`)},
	} {
		id, edit := c[0], c[1]
		p := newPlace(t)
		password, key := p.app("h0aaaaaaa1"), p.key("h0kkkkkkk1", member)
		p.certificate("h0aaaaaaa2", "shop", "h0membe001", 0)
		var log bytes.Buffer
		d := p.directory(auth.DirectoryConfig{Logger: slog.New(slog.NewTextHandler(&log, nil))})
		var told revocations
		d.OnRevoke(told.add)
		open := func() map[string]bool {
			_, app := d.App(basic("h0aaaaaaa1", password))
			_, shop := d.App(withCertificate("shop", true))
			_, till := d.App(withCertificate("till", true))
			_, byKey := d.Manager(bearer(key))
			return map[string]bool{"h0aaaaaaa1": app == nil, "h0aaaaaaa2": shop == nil || till == nil, "h0kkkkkkk1": byKey == nil}
		}
		for id, is := range open() {
			if !is {
				t.Fatalf("%s: before, %s does not open", name, id)
			}
		}
		rows(t, p.dir, `UPDATE resource SET `+edit+` WHERE id = '`+id+`'`)
		d.Changed()
		d.Changed()
		for other, is := range open() {
			if is == (other == id) {
				t.Errorf("%s: %s opens: %v", name, other, is)
			}
		}
		if n := strings.Count(log.String(), "cannot be used"); n != 1 || !strings.Contains(log.String(), id[:9]) || len(told.all()) != 1 {
			t.Errorf("%s: logged %d times, told of %v\n%s", name, n, told.all(), log.String())
		}
	}
}

func TestVerifierOfOneRowIsWorthNothingInAnother(t *testing.T) {
	p := newPlace(t)
	password, key := p.app("h0aaaaaaa1"), p.key("h0kkkkkkk1", auth.Grant{Role: auth.Admin})
	p.app("h0aaaaaaa2")
	p.key("h0kkkkkkk2", auth.Grant{Role: auth.Admin})
	for from, to := range map[string]string{"h0aaaaaaa1": "h0aaaaaaa2", "h0kkkkkkk1": "h0kkkkkkk2"} {
		rows(t, p.dir, `UPDATE resource SET verifier = (SELECT verifier FROM resource WHERE id = '`+from+`') WHERE id = '`+to+`'`)
	}
	d := p.directory(auth.DirectoryConfig{})
	if _, err := d.App(basic("h0aaaaaaa2", password)); !errors.Is(err, auth.ErrCredentials) {
		t.Errorf("app credential: %v", err)
	}
	if _, err := d.Manager(bearer("h0kkkkkkk2" + key[10:])); !errors.Is(err, auth.ErrCredentials) {
		t.Errorf("API key: %v", err)
	}
}

func TestSessionThatWasChangedInTheDatabaseIsEndedAndLoggedOnce(t *testing.T) {
	const all = `'{"grants":[{"role":"admin"}],`
	for name, edit := range map[string]string{
		"grants":              `UPDATE sign_in SET grants = replace(grants, '"role":"operator"', '"role":"admin"')`,
		"grants, and no more": `UPDATE sign_in SET grants = ` + all + `"rules":""}'`,
		"grants as a list":    `UPDATE sign_in SET grants = '[{"role":"admin"}]'`,
		"subject":             `UPDATE sign_in SET subject = 'eve'`,
		"name":                `UPDATE sign_in SET name = 'Eve'`,
		"expires":             `UPDATE sign_in SET expires = expires + 1`,
	} {
		p := newPlace(t)
		var log bytes.Buffer
		d := p.directory(auth.DirectoryConfig{Logger: slog.New(slog.NewTextHandler(&log, nil))})
		cookie := signIn(t, d, ada())
		if _, err := d.Manager(with("GET", cookie)); err != nil {
			t.Fatal(err)
		}
		rows(t, p.dir, edit)
		for range 2 {
			if who, err := d.Manager(with("GET", cookie)); !errors.Is(err, auth.ErrCredentials) || len(who.Grants) > 0 {
				t.Errorf("%s: got %+v, %v", name, who, err)
			}
		}
		if n := strings.Count(log.String(), "was changed in the database"); n != 1 {
			t.Errorf("%s: logged %d times\n%s", name, n, log.String())
		}
	}
}

// rows changes exactly one row, past us.
func rows(t *testing.T, dir, statement string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.db"))
	if err != nil || len(files) != 1 {
		t.Fatal(files, err)
	}
	raw, err := sql.Open(sqlite.Driver, files[0])
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	done, err := raw.ExecContext(t.Context(), statement)
	if err != nil {
		t.Fatal(err)
	}
	if n, err := done.RowsAffected(); n != 1 || err != nil {
		t.Fatalf("%d rows changed, %v: %s", n, err, statement)
	}
}

func TestSessionEndsWithTheRulesThatItWasBegunUnder(t *testing.T) {
	p := newPlace(t)
	before, after := p.directory(auth.DirectoryConfig{Rules: "one"}), p.directory(auth.DirectoryConfig{Rules: "two"})
	cookie := signIn(t, before, ada())
	if _, err := before.Manager(with("GET", cookie)); err != nil {
		t.Error(err)
	}
	if who, err := after.Manager(with("GET", cookie)); !errors.Is(err, auth.ErrCredentials) || len(who.Grants) > 0 {
		t.Errorf("under other rules: %+v, %v", who, err)
	}
}

func TestSigningInEndsTheBrowsersOldSession(t *testing.T) {
	p := newPlace(t)
	d := p.directory(auth.DirectoryConfig{})
	old, other := signIn(t, d, ada()), signIn(t, d, ada())
	w := httptest.NewRecorder()
	if err := d.SignIn(w, with("GET", old), ada()); err != nil {
		t.Fatal(err)
	}
	fresh := w.Result().Cookies()[0]
	if _, err := d.Session(with("GET", old)); !errors.Is(err, auth.ErrCredentials) {
		t.Errorf("the old one: %v", err)
	}
	if _, err := d.Session(with("GET", other)); err != nil {
		t.Errorf("another browser's: %v", err)
	}
	if _, err := d.Session(with("GET", fresh)); err != nil {
		t.Errorf("the new one: %v", err)
	}
}
