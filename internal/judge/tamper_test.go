// SPDX-License-Identifier: Apache-2.0

package judge_test

import (
	"database/sql"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hsmsigner/hsmsigner/internal/store"

	"github.com/hsmsigner/hsmsigner/internal/sqlite"
)

// tamper changes the database as somebody would who has the file.
func tamper(t *testing.T, dir, text string, args ...any) {
	t.Helper()
	db, err := sql.Open(sqlite.Driver, "file:"+filepath.Join(dir, "hsmsigner.db"))
	must(t, err)
	defer db.Close()
	if _, err := db.ExecContext(t.Context(), text, args...); err != nil {
		t.Fatal(err)
	}
}

func TestAPolicyThatWasChangedOutsideOfTheAPIRefusesEverythingOfItsScope(t *testing.T) {
	const count = `UPDATE change SET value = value + 1 WHERE name = 'policy'; `
	for name, c := range map[string]struct{ text, why string }{
		"its document":           {count + `UPDATE policy SET document = replace(document, 'deny', 'allow') WHERE scope = 'service:u0service0'`, "changed outside"},
		"a past one is revived":  {count + `UPDATE policy SET state = 'past' WHERE version = 2; UPDATE policy SET state = 'active' WHERE version = 1 AND scope = 'service:u0service0'`, "changed outside"},
		"it is gone":             {count + `DELETE FROM policy WHERE scope = 'service:u0service0'`, "is gone"},
		"it is rejected":         {count + `UPDATE policy SET state = 'rejected' WHERE scope = 'service:u0service0'`, "is gone"},
		"it is said to be older": {count + `UPDATE policy SET version = 0 WHERE scope = 'service:u0service0' AND version = 2`, "changed outside"},
		"another one stands in":  {count + `UPDATE policy SET document = (SELECT document FROM policy WHERE version = 1), mac = (SELECT mac FROM policy WHERE version = 1) WHERE version = 2`, "changed outside"},
		"there are two":          {count + `UPDATE policy SET state = 'active' WHERE version = 1 AND scope = 'service:u0service0'`, "several versions"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			r := newRig(t, open(t, store.Config{Dir: dir}))
			r.set("service:u0service0", pay)
			r.set("service:u0service0", "rules: [{name: none, effect: deny}]")
			r.set("service:u0other000", pay)
			r.want(r.send(1), false, "service:u0service0/none")
			tamper(t, dir, c.text)
			must(t, r.judge.Reload(t.Context()))
			if v := r.want(r.send(1), false, "service:u0service0"); !strings.Contains(v.Reason, c.why) && !strings.Contains(v.Reason, "is gone") {
				t.Errorf("%s", v.Reason)
			}
			e, err := r.judge.Explain(t.Context(), r.send(1))
			if must(t, err); e.Effect != "deny" || e.Rule != "service:u0service0" {
				t.Errorf("%+v", e)
			}
			elsewhere := r.send(1)
			elsewhere.Owner.Service = "u0other000"
			r.want(elsewhere, true, "service:u0other000/pay")
		})
	}
}

func TestAPolicyThatCannotBeReadRefusesEverythingOfItsScope(t *testing.T) {
	r := onSQLite(t)
	p := store.Policy{Scope: "deployment", Version: 1, State: store.PolicyActive, Document: "version: hsmsigner-policy-v9", Created: time.Now().Truncate(time.Microsecond)}
	p.MAC = mac(p.Bytes())
	must(t, r.db.Write(t.Context(), func(w *store.Writer) error { return w.InsertPolicy(p) }))
	r.want(r.send(1), false, "deployment")
	r.set("deployment", pay)
	r.want(r.send(1), true, "deployment/pay")
}
