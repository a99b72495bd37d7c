// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/hsmsigner/hsmsigner/client"
	"github.com/hsmsigner/hsmsigner/internal/platform"
)

// approvalRun is what the commands about approvals share.
type approvalRun struct {
	*app
	flags                            remoteFlags
	consortium, environment, service string
}

func (a *app) approvalCommand() *cobra.Command {
	run := &approvalRun{app: a}
	c := group("approval", "Look at requests that wait for people, approve and reject them",
		run.list(), run.show(), run.vote("approve"), run.vote("reject"))
	c.Long = `Requests that a rule wants people asked about wait until enough of them have
approved, one has rejected, or their time is over. An approved transaction is
sent by the daemon; anything else is signed when its caller asks again.

With --server (or ` + envServer + `) or an API key it works by the management API,
and a vote is that of the key. Without, it works on this machine as the operator.`
	run.flags.add(c)
	flags := c.PersistentFlags()
	flags.StringVar(&run.consortium, "consortium", "", "`name` or id; not needed if there is one only")
	flags.StringVar(&run.environment, "environment", "", "`name` or id; not needed if the consortium has one only")
	flags.StringVar(&run.service, "service", "", "service, or wallet of the config file: `name` or id; not needed if there is one only")
	return c
}

// at runs a command against a service.
func (r *approvalRun) at(cmd *cobra.Command, do func(ctx context.Context, p client.Place, service string) error) error {
	return r.with(cmd, &r.flags, func(ctx context.Context, c *client.Client) error {
		at, k := &remote{client: c}, kindCalled("service")
		if err := at.enter(ctx, k, r.consortium, r.environment); err != nil {
			return err
		}
		id, err := at.find(ctx, k, r.service)
		if err != nil {
			return err
		}
		return do(ctx, c.In(at.consortium, at.environment), id)
	})
}

func (r *approvalRun) list() *cobra.Command {
	var q client.ApprovalQuery
	cmd := &cobra.Command{
		Use: "list", Short: "List requests, the newest first", Args: cobra.NoArgs,
		Long: "Lists requests that wait, or waited, for people, the newest first. States:\n" + strings.Join(platform.ApprovalStates(), ", ") + ".",
		Example: `  hsmsigner approval list --service treasury --state pending
  hsmsigner approval list --output json | jq '.[].id'`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if q.Limit < 1 || q.Limit > 1000 {
				return &usageError{errors.New("--limit: want 1 to 1000"), cmd.CommandPath()}
			}
			return r.at(cmd, func(ctx context.Context, p client.Place, service string) error {
				all, err := p.Approvals(ctx, service, q)
				if err != nil {
					return err
				}
				return r.print(cmd, all, func(w io.Writer) { printApprovals(w, all, time.Now()) })
			})
		},
	}
	cmd.Flags().StringSliceVar(&q.States, "state", nil, "only in these states")
	cmd.Flags().StringVar(&q.Before, "before", "", "only older than the request with this `id`, for paging")
	cmd.Flags().IntVar(&q.Limit, "limit", 50, "how many at most, up to 1000")
	_ = cmd.RegisterFlagCompletionFunc("state", cobra.FixedCompletions(platform.ApprovalStates(), cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

func printApprovals(w io.Writer, all []client.Approval, now time.Time) {
	if len(all) == 0 {
		fmt.Fprintln(w, "no requests for approval")
		return
	}
	rows := [][]string{{"ID", "AGE", "STATE", "APPROVALS", "ACTION", "BY", "ACCOUNT", "ETHER", "TO"}}
	for _, a := range all {
		var have []string
		for _, rule := range a.Rules {
			have = append(have, fmt.Sprintf("%d/%d", rule.Approved, rule.Needed))
		}
		value := approvalField(a, "value")
		if value != "" {
			value = ether(value)
		}
		rows = append(rows, []string{
			a.ID, age(a.Created, now), a.State, strings.Join(have, " "), a.Action, who(a.Principal, a.AskedBy), a.Address, value, approvalField(a, "to"),
		})
	}
	table(w, rows)
}

// approvalField is one field of what approvers sign; empty if there is none.
func approvalField(a client.Approval, name string) string {
	for _, f := range a.Fields {
		if f.Name == name {
			return fieldText(f.Value)
		}
	}
	return ""
}

func (r *approvalRun) show() *cobra.Command {
	var sign string
	cmd := &cobra.Command{
		Use: "show ID", Short: "Show a request, or what an approver signs", Args: cobra.ExactArgs(1),
		Long: `Shows a request with all that was asked for, and who has said what.

With --typed-data it prints the EIP-712 document instead which a listed address
signs to approve or reject it (eth_signTypedData_v4): any wallet can. Bring the
signature by approval approve --signature.`,
		Example: `  hsmsigner approval show 0190c1… --service treasury
  hsmsigner approval show 0190c1… --service treasury --typed-data approve > sign.json`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if sign != "" && sign != "approve" && sign != "reject" {
				return &usageError{errors.New("--typed-data: want approve or reject"), cmd.CommandPath()}
			}
			return r.at(cmd, func(ctx context.Context, p client.Place, service string) error {
				a, err := p.Approval(ctx, service, args[0])
				if err != nil {
					return err
				}
				if sign != "" {
					return printToSign(cmd.OutOrStdout(), a, sign)
				}
				return r.print(cmd, a, func(w io.Writer) { printApproval(w, a) })
			})
		},
	}
	cmd.Flags().StringVar(&sign, "typed-data", "", "what is signed to `approve` or reject")
	_ = cmd.RegisterFlagCompletionFunc("typed-data", cobra.FixedCompletions([]string{"approve", "reject"}, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

func printToSign(w io.Writer, a *client.Approval, verdict string) error {
	if a.TypedData == nil {
		return fmt.Errorf("the request is %s: there is nothing to sign any more", a.State)
	}
	document := a.TypedData.Approve
	if verdict == "reject" {
		document = a.TypedData.Reject
	}
	var shown any
	if err := json.Unmarshal(document, &shown); err != nil {
		return err
	}
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(shown)
}

func printApproval(w io.Writer, a *client.Approval) {
	rows := [][2]string{
		{"id", a.ID},
		{"state", a.State},
		{"result", fieldText(a.Result)},
		{"waits", fieldText(a.Waits)},
		{"created", a.Created.UTC().Format(time.RFC3339)},
		{"expires", a.Expires.UTC().Format(time.RFC3339)},
	}
	for _, f := range a.Fields {
		switch f.Name {
		case "id", "expires":
		case "principal":
			rows = append(rows, [2]string{f.Name, who(f.Value, a.AskedBy)})
		default:
			rows = append(rows, [2]string{f.Name, fieldText(f.Value)})
		}
	}
	if a.Data != "" {
		rows = append(rows, [2]string{"data", a.Data})
	}
	for _, rule := range a.Rules {
		all := append(append(append([]string{}, rule.Approvers.Principals...), rule.Approvers.Roles...), rule.Approvers.Addresses...)
		rows = append(rows, [2]string{"rule " + rule.Rule, fmt.Sprintf("%d of %d, by %s", rule.Approved, rule.Needed, strings.Join(all, ", "))})
	}
	for _, v := range a.Votes {
		text := v.Verdict
		if !v.Counts {
			text += " (does not count)"
		}
		if v.Comment != "" {
			text += ": " + strconv.Quote(v.Comment)
		}
		rows = append(rows, [2]string{"by " + who(v.Approver, v.Name), text})
	}
	pairs(w, rows)
}

// who is a principal, and what people call it.
func who(principal, name string) string {
	if name == "" {
		return fieldText(principal)
	}
	return fieldText(principal) + " (" + fieldText(name) + ")"
}

// vote is approval approve and approval reject.
func (r *approvalRun) vote(verdict string) *cobra.Command {
	var v client.Vote
	cmd := &cobra.Command{
		Use: verdict + " ID", Args: cobra.ExactArgs(1),
		Short: map[string]string{"approve": "Approve a request", "reject": "Reject a request, which ends it"}[verdict],
		Long: `Votes on a request, in the name of who runs the command, or, with --signature, in
that of the address which has signed. A vote cannot be taken back.`,
		Example: fmt.Sprintf("  hsmsigner approval %s 0190c1… --service treasury --comment \"as discussed\"", verdict),
		RunE: func(cmd *cobra.Command, args []string) error {
			return r.at(cmd, func(ctx context.Context, p client.Place, service string) error {
				do := p.Approve
				if verdict == "reject" {
					do = p.Reject
				}
				a, err := do(ctx, service, args[0], v)
				if err != nil {
					return err
				}
				return r.print(cmd, a, func(w io.Writer) { printApproval(w, a) })
			})
		},
	}
	cmd.Flags().StringVar(&v.Comment, "comment", "", "why, for others and for the audit trail")
	cmd.Flags().StringVar(&v.Signature, "signature", "", "EIP-712 signature of a listed address: 0x and 130 hex digits")
	return cmd
}
