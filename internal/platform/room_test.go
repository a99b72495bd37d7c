// SPDX-License-Identifier: Apache-2.0

package platform_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/hsmsigner/hsmsigner/internal/platform"
)

func TestWhatIsStoredOfAResourceIsBounded(t *testing.T) {
	r := newRig(t)
	s := r.service()
	for kind, id := range map[platform.Kind]string{platform.Configurations: s.Details["cloudhsm_id"].(string), platform.Services: s.ID} {
		for _, name := range []string{"note", "password"} {
			if kind == platform.Services && name == "password" {
				continue // has none
			}
			var err error
			for i := range 20 { // little at a time
				_, err = r.p.Update(t.Context(), root(), kind, at(home(), id), fmt.Appendf(nil, `{"details":{"%s%d":%q}}`, name, i, strings.Repeat("a", 10<<10)))
				if err != nil {
					break
				}
			}
			if err == nil {
				t.Fatalf("%s grow without end by %s", kind, name)
			}
			if got := refused(t, err); got != "invalid: details: would have more than 65536 bytes with what was there before: want less" {
				t.Error(got)
			}
			if row := r.row(id); len(row.Data) > 64<<10 || len(row.Sealed) > 130<<10 {
				t.Errorf("%s have %d and %d bytes", kind, len(row.Data), len(row.Sealed))
			}
		}
	}
}

func TestOneMembershipHasNoMoreThanItsShare(t *testing.T) {
	r := newRig(t, func(c *platform.Config) { c.MaxResources, c.MaxServices = 3, 4 })
	a := r.tenant("", "")
	b := r.tenant(a.consortium, a.environment)
	there := platform.Path{Consortium: a.consortium, Environment: a.environment}
	grants := fmt.Sprintf(`"grants":[{"role":"auditor","consortium_id":%q,"membership_id":%q}]`, a.consortium, a.membership)
	for kind, body := range map[platform.Kind]string{
		platform.Configurations: vaultBody(""),
		platform.Nodes:          nodeBody(""),
		platform.AppCreds:       `{"name":"a"}`,
		platform.APIKeys:        `{"name":"a",` + grants + `}`,
		platform.Services:       fmt.Sprintf(`{"name":"s","service":"cloudhsm","details":{"cloudhsm_id":%q,"node_id":%q}}`, a.ids[platform.Configurations], a.ids[platform.Nodes]),
	} {
		most := 3
		if kind == platform.Services {
			most = 4
		}
		body = strings.ReplaceAll(body, platform.DefaultMembership, a.membership)
		for range most - 1 { // one is there
			made[any](r, a.admin(), kind, there, body)
		}
		rows := len(r.rows())
		_, err := r.p.Create(t.Context(), a.admin(), kind, there, []byte(body))
		if got := refused(t, err); !strings.HasPrefix(got, fmt.Sprintf("conflict: there can be no more than %d ", most)) || !strings.HasSuffix(got, " in membership "+a.membership+": delete some that are not used") {
			t.Errorf("%s: %s", kind, got)
		}
		if len(r.rows()) != rows {
			t.Errorf("%s: it was made all the same", kind)
		}
	}
	// Another membership's are its own.
	made[*platform.AppCred](r, b.admin(), platform.AppCreds, there, `{"name":"b"}`)
	var err error
	for range 3 {
		_, err = r.p.Create(t.Context(), root(), platform.Memberships, there, []byte(`{"org_name":"m"}`))
	}
	if got := refused(t, err); got != "conflict: there can be no more than 3 memberships in consortium "+a.consortium+": delete some that are not used" {
		t.Error(got)
	}
}
