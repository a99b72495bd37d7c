// SPDX-License-Identifier: Apache-2.0

package console

// group is a group of the navigation.
type group struct {
	Over  string // what this group and those behind it are about; empty: as the one before
	Title string
	Items []item
}

// item is a page of the navigation.
type item struct {
	Section string
	Title   string
	To      string
	Icon    string // name of a symbol of the layout
}

// navigation is what stands at the side: the ways that Kaleido's console has, so
// that who comes from there finds them, and what we have beside.
func navigation(v *visit) []group {
	if v.environment == nil {
		return nil
	}
	return []group{
		{"", "", []item{{"overview", "Overview", v.path("overview"), "pulse"}}},
		{"Manage resources", "Cloud configurations", []item{{"configurations", "Cloud HSM", v.path("configurations"), "cloud"}}},
		{"", "Key management", []item{{"wallets", "Cloud HSM Wallets", v.path("wallets"), "key"}}},
		{"", "Network", []item{{"nodes", "Nodes", v.path("nodes"), "node"}}},
		{"Use and control", "Gateway", []item{
			{"contracts", "Contracts", v.path("contracts"), "code"},
			{"streams", "Event streams", v.path("streams"), "stream"},
			{"tokens", "Digital Assets", v.path("tokens"), "coins"},
		}},
		{"", "Control", []item{
			{"approvals", "Approvals", v.path("approvals"), "check"},
			{"policy", "Policy", v.path("policy"), "shield"},
			{"freeze", "Freeze", v.path("freeze"), "stop"},
			{"audit", "Audit", v.path("audit"), "list"},
			{"documents", "Documents", v.path("documents"), "page"},
		}},
		{"", "Access", []item{
			{"memberships", "Memberships", v.path("memberships"), "people"},
			{"credentials", "App credentials", v.path("credentials"), "plug"},
			{"keys", "API keys", v.path("keys"), "lock"},
		}},
	}
}
