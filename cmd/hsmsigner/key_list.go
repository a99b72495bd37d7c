// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/hex"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/hsmsigner/hsmsigner/internal/key"
)

func (a *app) keyListCommand() *cobra.Command {
	var source keySource
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the secp256k1 keys of a backend",
		Long: `Asks the backend itself, with the credential that signs, and lists its
secp256k1 keys, whether the wallet's filters take them or not. Keys that cannot
be used stand below, with the reason.`,
		Example: `  hsmsigner key list --wallet treasury
  hsmsigner key list --provider azure --set vault_name=treasury --set tenant_id=… \
    --set user_id=… --set user_secret.file=secrets/azure`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.keyList(cmd, source) },
	}
	a.sourceFlags(cmd, &source)
	return cmd
}

// listedKeys is what key list says as JSON.
type listedKeys struct {
	Keys     []keyView        `json:"keys"`
	Problems []listingProblem `json:"problems"`
}

type listingProblem struct {
	Name   string `json:"name"`
	Reason string `json:"reason"`
}

func (a *app) keyList(cmd *cobra.Command, source keySource) error {
	backend, _, err := a.openKeys(cmd, source, cmd.InOrStdin())
	if err != nil {
		return err
	}
	defer backend.Close()
	keys, problems, err := listKeys(cmd.Context(), backend, cmd.ErrOrStderr())
	if err != nil {
		return err
	}
	out := listedKeys{Keys: []keyView{}, Problems: []listingProblem{}}
	for _, k := range keys {
		out.Keys = append(out.Keys, viewOf(k))
	}
	for _, p := range problems {
		out.Problems = append(out.Problems, listingProblem{p.Name, p.Reason})
	}
	return a.print(cmd, out, func(w io.Writer) {
		if len(out.Keys) == 0 {
			fmt.Fprintln(w, "no secp256k1 keys")
		} else {
			lines := [][]string{{"ADDRESS", "STATE", "PROTECTION", "NAME"}}
			for _, k := range out.Keys {
				lines = append(lines, []string{k.Address, k.state(), k.Protection, k.Name})
			}
			table(w, lines)
		}
		for _, p := range out.Problems {
			fmt.Fprintf(w, "cannot be used: %s: %s\n", p.Name, p.Reason)
		}
	})
}

func (a *app) keyShowCommand() *cobra.Command {
	var source keySource
	cmd := &cobra.Command{
		Use:   "show ADDRESS|NAME|REFERENCE",
		Short: "Show one key: its reference, public key and tags",
		Example: `  hsmsigner key show 0x7E5F4552091A69125d5DfCb7b8C2659029395Bdf
  hsmsigner key show treasury-1 --wallet treasury --output json`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			backend, _, err := a.openKeys(cmd, source, cmd.InOrStdin())
			if err != nil {
				return err
			}
			defer backend.Close()
			k, err := findKey(cmd, backend, args[0])
			if err != nil {
				return err
			}
			pub, err := backend.PublicKey(cmd.Context(), k.Ref)
			if err != nil {
				return err
			}
			return a.printKey(cmd, k, "0x04"+hex.EncodeToString(pub[:]))
		},
	}
	a.sourceFlags(cmd, &source)
	return cmd
}

// printKey shows one key.
func (a *app) printKey(cmd *cobra.Command, k key.Key, publicKey string) error {
	view := viewOf(k)
	view.PublicKey = publicKey
	return a.print(cmd, view, func(w io.Writer) {
		tags := make([]string, 0, len(view.Tags))
		for _, name := range slices.Sorted(maps.Keys(view.Tags)) {
			tags = append(tags, name+"="+view.Tags[name])
		}
		pairs(w, [][2]string{
			{"address", view.Address},
			{"name", view.Name},
			{"reference", view.Ref},
			{"state", view.state()},
			{"protection", view.Protection},
			{"tags", strings.Join(tags, ", ")},
			{"public key", view.PublicKey},
		})
	})
}
