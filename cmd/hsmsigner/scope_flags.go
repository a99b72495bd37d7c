// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/ethereum/go-ethereum/common"
	"github.com/spf13/cobra"

	"github.com/hsmsigner/hsmsigner/client"
)

// scopeFlags say what a command about rules or a freeze is about.
type scopeFlags struct {
	consortium, environment      string
	membership, service, appcred string
	account                      string
	everything                   bool
}

func (f *scopeFlags) add(cmd *cobra.Command, freezes bool) {
	flags := cmd.PersistentFlags()
	flags.StringVar(&f.consortium, "consortium", "", "`name` or id; not needed if there is one only")
	flags.StringVar(&f.environment, "environment", "", "`name` or id; not needed if the consortium has one only")
	flags.StringVar(&f.membership, "membership", "", "all of this membership: `name` or id")
	flags.StringVar(&f.service, "service", "", "this service, or wallet of the config file: `name` or id")
	if freezes {
		flags.StringVar(&f.account, "account", "", "one account of the service: its `address`")
		flags.BoolVar(&f.everything, "everything", false, "the whole deployment")
		return
	}
	flags.StringVar(&f.appcred, "appcred", "", "what comes by this app credential: `name` or id")
}

// errNoScope asks for a scope where everything must be asked for by its name.
var errNoScope = errors.New("what is it about? Want --everything, --membership, or --service, with --account for one of its accounts")

// given reports how many scopes are named.
func (f *scopeFlags) given() (n int) {
	for _, is := range []bool{f.membership != "", f.service != "", f.appcred != "", f.everything} {
		if is {
			n++
		}
	}
	return n
}

func (f *scopeFlags) check(cmd *cobra.Command) error {
	switch {
	case f.given() > 1:
		return &usageError{errors.New("more than one scope is named: want one of them"), cmd.CommandPath()}
	case f.account != "" && f.service == "":
		return &usageError{errors.New("--account wants --service, too"), cmd.CommandPath()}
	case f.account != "" && !common.IsHexAddress(f.account):
		return &usageError{fmt.Errorf("--account: %q is not an address: want 0x and 40 hex digits", f.account), cmd.CommandPath()}
	}
	return nil
}

// find is the scope that the flags name. Without any it is the whole deployment,
// or, with --consortium alone, that consortium.
func (f *scopeFlags) find(ctx context.Context, c *client.Client) (client.Scope, error) {
	var whole client.Scope
	r := &remote{client: c}
	noun := map[bool]string{true: "membership"}[f.membership != ""]
	name := f.membership
	switch {
	case f.service != "":
		noun, name = "service", f.service
	case f.appcred != "":
		noun, name = "appcred", f.appcred
	}
	if noun == "" {
		if f.consortium == "" || f.everything {
			return whole, nil
		}
		id, err := r.find(ctx, kindCalled("consortium"), f.consortium)
		return client.InConsortium(id), err
	}
	k := kindCalled(noun)
	if err := r.enter(ctx, k, f.consortium, f.environment); err != nil {
		return whole, err
	}
	id, err := r.find(ctx, k, name)
	if err != nil {
		return whole, err
	}
	place := c.In(r.consortium, r.environment)
	switch {
	case noun == "membership":
		return client.InMembership(r.consortium, id), nil
	case noun == "appcred":
		return place.AppCredScope(id), nil
	case f.account != "":
		return place.ServiceAccount(id, f.account), nil
	}
	return place.Service(id), nil
}
