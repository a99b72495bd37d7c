// SPDX-License-Identifier: Apache-2.0

package storetest

import (
	"testing"

	"github.com/hsmsigner/hsmsigner/internal/store"
)

var resourceStateTests = []test{
	{"StateIsWrittenWithoutARevision", func(t *testing.T, db *store.DB) {
		a, b := aResource("a"), aResource("b")
		wantErr(t, insertResource(t, db, a), nil)
		wantErr(t, insertResource(t, db, b), nil)
		before := resourceVersion(t, db)
		wantErr(t, db.SetResourceStates(t.Context(), []store.ResourceState{
			{ID: "a", Revision: 1, State: "started"},
			{ID: "b", Revision: 7, State: "failed", Reason: "of another revision"},
			{ID: "gone", Revision: 1, State: "started"},
		}), nil)
		a.State, a.Reason = "started", ""
		wantResource(t, db, a)
		wantResource(t, db, b)
		wantEqual(t, resourceVersion(t, db), before)
	}},
	{"UsersOfAResourceAreSetBack", func(t *testing.T, db *store.DB) {
		conf, svc, leaving, other := aResource("conf"), aResource("svc", "conf"), aResource("leaving", "conf"), aResource("other")
		cred := aResource("cred", "conf")
		leaving.State, svc.State, other.State, cred.Kind, cred.State = "deleting", "started", "started", "appcred", "started"
		for _, r := range []store.Resource{conf, svc, leaving, other, cred} {
			wantErr(t, insertResource(t, db, r), nil)
		}
		before := resourceVersion(t, db)
		wantErr(t, db.Write(t.Context(), func(w *store.Writer) error {
			return w.SetStateOfUsers("conf", "service", "provisioning", "deleting")
		}), nil)
		svc.State, svc.Reason, svc.Revision = "provisioning", "", 2
		for _, r := range []store.Resource{conf, svc, leaving, other, cred} {
			wantResource(t, db, r)
		}
		wantEqual(t, resourceVersion(t, db), before+1)
	}},
}
