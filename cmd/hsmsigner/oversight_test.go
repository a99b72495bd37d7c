// SPDX-License-Identifier: Apache-2.0

package main

import (
	"testing"

	"github.com/hsmsigner/hsmsigner/internal/approval"
	"github.com/hsmsigner/hsmsigner/internal/auth"
	"github.com/hsmsigner/hsmsigner/internal/config"
	"github.com/hsmsigner/hsmsigner/internal/platform"
)

// Whom the config file lets in stands in no list of the directory: what they asked
// for is sent once it is approved all the same, as long as the file names them.
func TestWhomTheConfigLetsInStillMay(t *testing.T) {
	here := func(name string) auth.Principal {
		return auth.Principal{Name: name, Membership: platform.DefaultMembership, Environment: platform.DefaultEnvironment}
	}
	elsewhere := here("app:shop")
	elsewhere.Membership = "u0member00"
	declared := approval.Owner{Wallet: "treasury", Service: platform.DeclaredID("treasury")}
	made := approval.Owner{Wallet: "u0service0", Service: "u0service0"}
	basic := config.RPC{Auth: config.AuthBasic, Credentials: []config.Credential{{Username: "shop"}}}
	mutual := config.RPC{Auth: config.AuthMTLS}
	for _, c := range []struct {
		rpc  config.RPC
		who  auth.Principal
		of   approval.Owner
		want bool
	}{
		{basic, here("app:shop"), declared, true},
		{basic, here("app:shop"), made, true},
		{basic, here("app:till"), declared, false},
		{basic, elsewhere, declared, false},
		{basic, here("cert:shop"), declared, false},
		{mutual, here("cert:shop"), declared, true},
		{mutual, here("cert:shop"), made, false}, // whom a service knows, its directory says
		{mutual, here("app:shop"), declared, false},
		{config.RPC{Auth: config.AuthNone}, here("app:shop"), declared, false},
	} {
		if got := letIn(c.rpc, c.who, c.of); got != c.want {
			t.Errorf("%s: %+v of %s: %v", c.rpc.Auth, c.who, c.of.Wallet, got)
		}
	}
}
