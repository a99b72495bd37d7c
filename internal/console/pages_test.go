// SPDX-License-Identifier: Apache-2.0

package console

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hsmsigner/hsmsigner/internal/auth"
	"github.com/hsmsigner/hsmsigner/internal/history"
	"github.com/hsmsigner/hsmsigner/internal/platform"
)

// fill makes one of everything.
func (r *rig) fill() { r.Helper(); r.fillWith("") }

// fillWith makes one of everything, with something behind each name.
func (r *rig) fillWith(behind string) {
	r.Helper()
	r.make(platform.Configurations, fmt.Sprintf(`{"type":"cloudhsm","name":"vault-of-ours%s","membership_id":"h0member00","details":{"provider":"aws_kms","target_region":"eu-central-1","user_id":"AKIAIOSFODNN7EXAMPLE","user_secret":"hunter2"}}`, behind))
	r.make(platform.Nodes, fmt.Sprintf(`{"name":"node-of-ours%s","membership_id":"h0member00","chain_id":1,"urls":{"rpc":"https://node.example.org/hunter2"}}`, behind))
	r.make(platform.Services, fmt.Sprintf(`{"service":"cloudhsm","name":"wallet-of-ours%s","membership_id":"h0member00","details":{"cloudhsm_id":%q,"node_id":%q}}`, behind, r.idFor("/configurations/"), r.idFor("/nodes/")))
	r.make(platform.AppCreds, fmt.Sprintf(`{"name":"app-of-ours%s","membership_id":"h0member00"}`, behind))
	r.key(fmt.Sprintf(`{"name":"key-of-ours%s","grants":[{"role":"auditor"}]}`, behind))
	r.control(behind)
	r.contracted(behind)
	r.past.Signature(serviceID(r), "ok")
	r.past.Signature(serviceID(r), "throttled")
	r.past.Stage(serviceID(r), history.Sign, 20*time.Millisecond)
	r.past.Head(serviceID(r), 42)
}

// idFor is the id of one of the resources that a path is about.
func (r *rig) idFor(path string) string {
	r.Helper()
	kind := platform.Services
	for part, is := range map[string]platform.Kind{
		"/configurations/": platform.Configurations, "/nodes/": platform.Nodes, "/credentials/": platform.AppCreds, "/keys/": platform.APIKeys, "/memberships/": platform.Memberships,
	} {
		if strings.Contains(path, part) {
			kind = is
		}
	}
	all, err := r.platform.List(r.Context(), auth.Operating(), kind, platform.Path{Consortium: platform.DefaultConsortium, Environment: platform.DefaultEnvironment})
	must(r, err)
	if len(all) == 0 {
		return "h0h0h0h0h0"
	}
	switch is := all[len(all)-1].(type) {
	case *platform.Configuration:
		return is.ID
	case *platform.Node:
		return is.ID
	case *platform.Service:
		return is.ID
	case *platform.AppCred:
		return is.ID
	case *platform.APIKey:
		return is.ID
	case *platform.Membership:
		return is.ID
	}
	r.Fatal("of no known kind")
	return ""
}

func serviceID(r *rig) string { return r.idFor("/wallets/") }

// filled is the path of a route, under Base, in the default environment.
func filled(path, id string) string {
	return Base + strings.NewReplacer("{consortium}", platform.DefaultConsortium, "{environment}", platform.DefaultEnvironment,
		"{abi}", strings.Repeat("0", 32), "{contract}", tokenAt, "{operation}", "mint", "{stream}", strings.Repeat("0", 32), "{subscription}", strings.Repeat("0", 32),
		"{id}", id, "{address}", account.Hex(), "{tx}", strings.Repeat("0", 32), "{approval}", strings.Repeat("0", 32), "{record}", strings.Repeat("0", 32)).Replace(path)
}

// pages are the paths of all pages, of what there is.
func (r *rig) pages() []string {
	r.Helper()
	var all []string
	for _, rt := range routes() {
		if rt.method != http.MethodGet || strings.Contains(rt.path, "{tx}") || rt.path == "/services/{id}" || slices.Contains([]string{here + "/contracts", here + "/tokens", here + "/streams"}, rt.path) {
			continue
		}
		all = append(all, filled(strings.NewReplacer("{approval}", r.waiting, "{record}", r.recorded, "{abi}", r.abi, "{stream}", r.stream).Replace(rt.path), r.idFor(rt.path)))
	}
	for _, p := range providers() {
		all = append(all, home("/configurations/new?provider="+string(p.Name)))
	}
	for _, more := range []string{"/contracts/{id}/at/" + r.deploying, "/tokens/{id}/at/" + r.deploying, "/tokens/{id}/new?type=erc721", "/streams/{id}/new?type=websocket"} {
		all = append(all, filled(here+more, serviceID(r)))
	}
	return append(all, home("/overview?span=day"))
}

func TestAmountsAreExactAndNeverRoundedUp(t *testing.T) {
	for wei, want := range map[string]amount{
		"0":                   {"0 ETH", "0 wei"},
		"1":                   {"1 wei", "1 wei"},
		"9999":                {"9\u202f999 wei", "9\u202f999 wei"},
		"1000000000":          {"1 gwei", "1\u202f000\u202f000\u202f000 wei"},
		"1500000000000000000": {"1.5 ETH", "1\u202f500\u202f000\u202f000\u202f000\u202f000\u202f000 wei"},
		"1999999999999999999": {"1.99999… ETH", "1\u202f999\u202f999\u202f999\u202f999\u202f999\u202f999 wei"},
		"1234567000000000000000000": {
			"1\u202f234\u202f567 ETH", "1\u202f234\u202f567\u202f000\u202f000\u202f000\u202f000\u202f000\u202f000 wei",
		},
		"none": {"–", ""},
	} {
		if got := amountOf(wei); got != want {
			t.Errorf("%s: %+v, want %+v", wei, got, want)
		}
	}
}

func TestGweiIsReadExactly(t *testing.T) {
	for text, want := range map[string]string{"1": "1000000000", "2.5": "2500000000", "0.000000001": "1"} {
		if got, ok := gwei(text); !ok || got.String() != want {
			t.Errorf("%s: %v %v", text, got, ok)
		}
	}
	for _, text := range []string{"", "0", "-1", "1e9", "1/3", "0.0000000001", "x", "Inf"} {
		if got, ok := gwei(text); ok {
			t.Errorf("%s: %v", text, got)
		}
	}
}

func TestLifeOfATransactionEndsAsItDid(t *testing.T) {
	for state, want := range map[string]string{
		"queued": "busy calm calm calm calm calm", "sent": "good good good busy calm calm", "confirmed": "good good good good good good",
		"failed": "calm calm calm calm calm bad", "replaced": "good good good good good warn", "displaced": "good good good good good bad",
	} {
		var tones []string
		for _, s := range life(platform.Transaction{State: state, Error: "why"}).Steps {
			tones = append(tones, s.Tone)
		}
		if got := strings.Join(tones, " "); got != want {
			t.Errorf("%s: %s", state, got)
		}
	}
}
