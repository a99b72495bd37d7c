// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/hsmsigner/hsmsigner/client"
)

// freezeRun is what the commands of the stop switch share.
type freezeRun struct {
	*app
	flags  remoteFlags
	scope  scopeFlags
	reason string
}

func (a *app) freezeCommand() *cobra.Command {
	run := &freezeRun{app: a}
	c := group("freeze", "Stop what signs and sends, and let it go on", run.list(), run.show(), run.set(), run.release())
	c.Long = `Stops an account, a wallet, a membership or everything: nothing of it is signed or
sent any more, on all replicas within two seconds. What was accepted waits, and
goes on when it is released; nothing is lost.

With --server (or ` + envServer + `) or an API key it works by the management API.
Without, it works on this machine as the operator: by the daemon on the data
directory of the config, or on the database itself if none runs.`
	run.flags.add(c)
	run.scope.add(c, true)
	return c
}

func (r *freezeRun) list() *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List what is frozen", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return r.with(cmd, &r.flags, func(ctx context.Context, c *client.Client) error {
				all, err := c.Freezes(ctx)
				if err != nil {
					return err
				}
				return r.print(cmd, all, func(w io.Writer) { printFreezes(w, all) })
			})
		},
	}
}

func (r *freezeRun) show() *cobra.Command {
	return &cobra.Command{
		Use: "show", Short: "Show whether something is frozen, and by what", Args: cobra.NoArgs,
		Example: `  hsmsigner freeze show --service treasury`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return r.about(cmd, func(ctx context.Context, c *client.Client, s client.Scope) (*client.FreezeState, error) {
				return c.FreezeState(ctx, s)
			})
		},
	}
}

func (r *freezeRun) set() *cobra.Command {
	cmd := &cobra.Command{
		Use: "set", Short: "Freeze an account, a service, a membership or everything", Args: cobra.NoArgs,
		Long: `Freezes what the flags name. It needs the role operator or admin there. The
reason is told to everybody whose requests are refused by it.`,
		Example: `  hsmsigner freeze set --everything --reason "key of the CI leaked"
  hsmsigner freeze set --service treasury --account 0x… --reason "under review"`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if r.reason == "" {
				return &usageError{errors.New("--reason is missing: say why"), cmd.CommandPath()}
			}
			return r.about(cmd, func(ctx context.Context, c *client.Client, s client.Scope) (*client.FreezeState, error) {
				return c.Freeze(ctx, s, r.reason)
			})
		},
	}
	cmd.Flags().StringVar(&r.reason, "reason", "", "why, for those whose requests are refused, and for the audit trail")
	return cmd
}

func (r *freezeRun) release() *cobra.Command {
	cmd := &cobra.Command{
		Use: "release", Short: "Let go on what was frozen", Args: cobra.NoArgs,
		Long: `Releases what the flags name, and nothing wider or narrower that is frozen as
well. It needs the role admin there; what somebody above has frozen, only
somebody above can release.`,
		Example: `  hsmsigner freeze release --everything --reason "key replaced"`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return r.about(cmd, func(ctx context.Context, c *client.Client, s client.Scope) (*client.FreezeState, error) {
				return c.Release(ctx, s, r.reason)
			})
		},
	}
	cmd.Flags().StringVar(&r.reason, "reason", "", "why, for the audit trail")
	return cmd
}

// about does something about the scope that the flags name, and shows what holds
// then.
func (r *freezeRun) about(cmd *cobra.Command, do func(context.Context, *client.Client, client.Scope) (*client.FreezeState, error)) error {
	if err := r.scope.check(cmd); err != nil {
		return err
	}
	if r.scope.given() == 0 {
		return &usageError{errNoScope, cmd.CommandPath()}
	}
	return r.with(cmd, &r.flags, func(ctx context.Context, c *client.Client) error {
		s, err := r.scope.find(ctx, c)
		if err != nil {
			return err
		}
		state, err := do(ctx, c, s)
		if err != nil {
			return err
		}
		return r.print(cmd, state, func(w io.Writer) {
			switch {
			case !state.Known:
				fmt.Fprintln(w, "not known: the store does not answer, so everything counts as frozen")
			case state.Frozen:
				printFreezes(w, state.By)
			default:
				fmt.Fprintln(w, "not frozen")
			}
		})
	})
}

func printFreezes(w io.Writer, all []client.Freeze) {
	if len(all) == 0 {
		fmt.Fprintln(w, "nothing is frozen")
		return
	}
	rows := [][]string{{"SCOPE", "SINCE", "BY", "REASON"}}
	for _, f := range all {
		by := f.By
		if by == "" {
			by = "(above)"
		}
		rows = append(rows, []string{f.Scope, f.At.UTC().Format(time.RFC3339), by, f.Reason})
	}
	table(w, rows)
}
