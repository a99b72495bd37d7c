// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/hsmsigner/hsmsigner/client"
	"github.com/hsmsigner/hsmsigner/internal/policy"
)

// policyRun is what the commands about rules share.
type policyRun struct {
	*app
	flags    remoteFlags
	scope    scopeFlags
	comment  string
	replaces int64
}

func (a *app) policyCommand() *cobra.Command {
	run := &policyRun{app: a}
	c := group("policy", "Say what may be signed, and see what that would do",
		run.show(), run.set(), run.remove(), run.versions(), run.decide(true), run.decide(false), run.test(), run.usage(), run.check(), run.schema())
	c.Long = `Shows and changes the rules about what may be signed: of the whole deployment,
or of what a flag names. All rules that apply to a request have to allow it.
Rules of wallets of the config file stand there, under policy.

With --server (or ` + envServer + `) or an API key it works by the management API.
Without, it works on this machine as the operator: by the daemon on the data
directory of the config, or on the database itself if none runs.`
	run.flags.add(c)
	run.scope.add(c, false)
	return c
}

// in runs a command against the scope that the flags name.
func (r *policyRun) in(cmd *cobra.Command, do func(context.Context, *client.Client, client.Scope) error) error {
	if err := r.scope.check(cmd); err != nil {
		return err
	}
	return r.with(cmd, &r.flags, func(ctx context.Context, c *client.Client) error {
		s, err := r.scope.find(ctx, c)
		if err != nil {
			return err
		}
		return do(ctx, c, s)
	})
}

func (r *policyRun) show() *cobra.Command {
	var version int64
	cmd := &cobra.Command{
		Use: "show", Short: "Show the rules that count", Args: cobra.NoArgs,
		Example: `  hsmsigner policy show --service treasury
  hsmsigner policy show --service treasury --version 3`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return r.in(cmd, func(ctx context.Context, c *client.Client, s client.Scope) error {
				if version > 0 {
					v, err := c.PolicyVersion(ctx, s, version)
					if err != nil {
						return err
					}
					return r.print(cmd, v, func(w io.Writer) { printVersion(w, v) })
				}
				p, err := c.Policy(ctx, s)
				if err != nil {
					return err
				}
				return r.print(cmd, p, func(w io.Writer) { printPolicy(w, p) })
			})
		},
	}
	cmd.Flags().Int64Var(&version, "version", 0, "this one, whether it counts or not")
	return cmd
}

func (r *policyRun) set() *cobra.Command {
	cmd := &cobra.Command{
		Use: "set FILE", Short: "Set the rules", Args: cobra.ExactArgs(1),
		Long: `Sets rules from a YAML or JSON file (- for standard input), as a new version.
They count within a second; where the consortium has policy_approvals, another
admin has to approve them first. What counts already is not set again.`,
		Example: `  hsmsigner policy set treasury.yaml --service treasury --comment "limits of Q3"`,
		RunE: func(cmd *cobra.Command, args []string) error {
			text, err := readRulesFile(cmd, args[0])
			if err != nil {
				return err
			}
			n := client.NewPolicy{Document: string(text), Comment: r.comment}
			if cmd.Flags().Changed("replaces") {
				n.Replaces = &r.replaces
			}
			return r.in(cmd, func(ctx context.Context, c *client.Client, s client.Scope) error {
				v, err := c.SetPolicy(ctx, s, n)
				return r.printDone(cmd, v, err)
			})
		},
	}
	cmd.Flags().StringVar(&r.comment, "comment", "", "for people")
	cmd.Flags().Int64Var(&r.replaces, "replaces", 0, "the `version` that counts, to your knowledge, 0 if none does: if another does, nothing is changed")
	return cmd
}

func (r *policyRun) remove() *cobra.Command {
	cmd := &cobra.Command{
		Use: "remove", Short: "End the rules", Args: cobra.NoArgs,
		Long: `Adds a version without rules, which ends those that count. Where the consortium
has policy_approvals, another admin has to approve that first.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return r.in(cmd, func(ctx context.Context, c *client.Client, s client.Scope) error {
				v, err := c.SetPolicy(ctx, s, client.NewPolicy{Comment: r.comment})
				return r.printDone(cmd, v, err)
			})
		},
	}
	cmd.Flags().StringVar(&r.comment, "comment", "", "for people")
	return cmd
}

func (r *policyRun) printDone(cmd *cobra.Command, v *client.PolicyVersion, err error) error {
	if err != nil {
		return err
	}
	return r.print(cmd, v, func(w io.Writer) {
		switch v.State {
		case client.PolicyProposed:
			fmt.Fprintf(w, "version %d of %s is proposed: another admin has to approve it\n", v.Version, v.Scope)
		case client.PolicyActive:
			text := "version %d of %s counts\n"
			if v.Document == "" {
				text = "version %d of %s has ended the rules\n"
			}
			fmt.Fprintf(w, text, v.Version, v.Scope)
		default:
			fmt.Fprintf(w, "version %d of %s is %s\n", v.Version, v.Scope, v.State)
		}
	})
}

func (r *policyRun) versions() *cobra.Command {
	return &cobra.Command{
		Use: "versions", Short: "List all versions of the rules", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return r.in(cmd, func(ctx context.Context, c *client.Client, s client.Scope) error {
				all, err := c.PolicyVersions(ctx, s, nil)
				if err != nil {
					return err
				}
				return r.print(cmd, all, func(w io.Writer) {
					rows := [][]string{{"VERSION", "STATE", "CREATED", "AUTHOR", "APPROVER", "SHA-256", "COMMENT"}}
					for _, v := range all {
						rows = append(rows, []string{
							strconv.FormatInt(v.Version, 10), v.State, v.Created.UTC().Format(time.RFC3339), who(v.Author, v.AuthorName), who(v.Approver, v.ApproverName), v.SHA256[:min(16, len(v.SHA256))], v.Comment,
						})
					}
					table(w, rows)
				})
			})
		},
	}
}

func (r *policyRun) decide(approve bool) *cobra.Command {
	name, short := "reject", "Drop a proposed version"
	if approve {
		name, short = "approve", "Have a proposed version count, which somebody else has written"
	}
	return &cobra.Command{
		Use: name + " VERSION", Short: short, Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			version, err := strconv.ParseInt(args[0], 10, 64)
			if err != nil || version < 1 {
				return &usageError{fmt.Errorf("%q is not the number of a version", args[0]), cmd.CommandPath()}
			}
			return r.in(cmd, func(ctx context.Context, c *client.Client, s client.Scope) error {
				do := c.RejectPolicy
				if approve {
					do = c.ApprovePolicy
				}
				v, err := do(ctx, s, version)
				return r.printDone(cmd, v, err)
			})
		},
	}
}

func (r *policyRun) usage() *cobra.Command {
	return &cobra.Command{
		Use: "usage", Short: "Show how much of the limits is used", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return r.in(cmd, func(ctx context.Context, c *client.Client, s client.Scope) error {
				all, err := c.PolicyUsage(ctx, s)
				if err != nil {
					return err
				}
				return r.print(cmd, all, func(w io.Writer) {
					rows := [][]string{{"LIMIT", "FOR", "ASSET", "USED", "MAX", "LEFT", "WINDOW"}}
					for _, u := range all {
						rows = append(rows, []string{u.Limit, u.Per, u.Asset, u.Used, u.Max, u.Left, u.Window})
					}
					table(w, rows)
				})
			})
		},
	}
}

func (r *policyRun) check() *cobra.Command {
	return &cobra.Command{
		Use: "check FILE", Short: "Report everything that is wrong with a file of rules", Args: cobra.ExactArgs(1),
		Long: `Reads rules from a file (- for standard input), and asks nobody. Exits with 3 if
something is wrong with them.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			text, err := readRulesFile(cmd, args[0])
			if err != nil {
				return err
			}
			parsed, err := policy.Parse(args[0], text)
			if err == nil {
				_, err = policy.Compile(parsed)
			}
			var wrong policy.Errors
			switch {
			case errors.As(err, &wrong) && r.output == jsonOutput:
				_ = r.print(cmd, map[string]any{"ok": false, "problems": wrong}, nil)
			case err == nil:
				return r.print(cmd, map[string]any{"ok": true, "problems": []string{}, "rules": parsed.Rules(), "limits": parsed.Limits()}, func(w io.Writer) {
					fmt.Fprintf(w, "%s is valid: %s, %s\n", args[0], count(parsed.Rules(), "rule"), count(parsed.Limits(), "limit"))
				})
			}
			return &configError{err}
		},
	}
}

func (r *policyRun) schema() *cobra.Command {
	return &cobra.Command{
		Use: "schema", Short: "Print the JSON Schema of rules", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := fmt.Fprintln(cmd.OutOrStdout(), string(policy.Schema()))
			return err
		},
	}
}

// maxRules bounds a file of rules.
const maxRules = 256 << 10

func readRulesFile(cmd *cobra.Command, name string) ([]byte, error) {
	from := cmd.InOrStdin()
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		from = f
	}
	text, err := io.ReadAll(io.LimitReader(from, maxRules+1))
	if err == nil && len(text) > maxRules {
		err = fmt.Errorf("%s is larger than %d bytes", name, maxRules)
	}
	return text, err
}

func printVersion(w io.Writer, v *client.PolicyVersion) {
	decided := ""
	if v.Decided != nil {
		decided = v.Decided.UTC().Format(time.RFC3339)
	}
	pairs(w, [][2]string{
		{"scope", v.Scope},
		{"version", strconv.FormatInt(v.Version, 10)},
		{"state", v.State},
		{"created", v.Created.UTC().Format(time.RFC3339)},
		{"decided", decided},
		{"author", who(v.Author, v.AuthorName)},
		{"approver", who(v.Approver, v.ApproverName)},
		{"comment", v.Comment},
		{"sha-256", v.SHA256},
		{"problem", v.Problem},
	})
	if v.Document != "" {
		fmt.Fprintf(w, "\n%s\n", v.Document)
	}
}

func printPolicy(w io.Writer, p *client.Policy) {
	if (p.Active == nil || p.Active.Document == "") && p.Declared == nil {
		fmt.Fprintf(w, "%s has no rules\n", p.Scope)
	}
	if p.Declared != nil {
		fmt.Fprintf(w, "rules of the config file, sha-256 %s:\n\n%s\n", p.Declared.SHA256, p.Declared.Document)
	}
	if p.Active != nil {
		printVersion(w, p.Active)
	}
	if p.Proposed != nil {
		fmt.Fprintf(w, "version %d by %s is proposed and waits for another admin: see policy show --version %d\n", p.Proposed.Version, who(p.Proposed.Author, p.Proposed.AuthorName), p.Proposed.Version)
	}
	for _, scope := range p.Outer {
		fmt.Fprintf(w, "%s has rules, too\n", scope)
	}
}
