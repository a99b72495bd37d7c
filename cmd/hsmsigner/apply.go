// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/hsmsigner/hsmsigner/client"
	"github.com/hsmsigner/hsmsigner/internal/apply"
)

// applyRun is what hsmsigner apply was called with.
type applyRun struct {
	*app
	flags              remoteFlags
	file               string
	dryRun, yes, prune bool
}

func (a *app) applyCommand() *cobra.Command {
	run := &applyRun{app: a}
	cmd := &cobra.Command{
		Use:   "apply",
		Short: "Make the resources of a management API what a file says",
		Long: `Reads resources from a YAML file (one or several documents, each a resource or
a list of them), compares them by name with what is there, shows what it would
do, asks, and creates and changes what differs. Applying a file twice changes
nothing the second time. Secrets stand in the file as {file: path} or
{env: NAME} only, and are in no plan. Nothing is deleted without --prune, which
deletes services, app credentials, configurations and nodes that are in the same
memberships and environments and not in the file.`,
		Example: `  hsmsigner apply -f platform.yaml --dry-run
  hsmsigner apply -f platform.yaml --yes`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if run.file == "" {
				return &usageError{errors.New("--file is missing: want a YAML file, or - for standard input"), cmd.CommandPath()}
			}
			if run.file == "-" && !run.yes && !run.dryRun {
				return &usageError{errors.New("the file comes from standard input, where the answer would: want --yes or --dry-run"), cmd.CommandPath()}
			}
			return run.apply(cmd)
		},
	}
	run.flags.add(cmd)
	cmd.Flags().StringVarP(&run.file, "file", "f", "", "YAML `file`, or - for standard input")
	cmd.Flags().BoolVar(&run.dryRun, "dry-run", false, "show what would be done, and do nothing")
	cmd.Flags().BoolVar(&run.yes, "yes", false, "do not ask")
	cmd.Flags().BoolVar(&run.prune, "prune", false, "delete what is not in the file")
	_ = cmd.MarkFlagFilename("file", "yaml", "yml")
	return cmd
}

func (r *applyRun) apply(cmd *cobra.Command) error {
	items, err := r.items(cmd)
	if err != nil {
		return &configError{err}
	}
	c, err := r.flags.open(cmd)
	if err != nil {
		return err
	}
	plan, err := apply.Make(cmd.Context(), c, items, r.prune)
	if err != nil {
		return told(err)
	}
	if r.dryRun {
		return r.print(cmd, plan.Steps, func(w io.Writer) { printPlan(w, plan) })
	}
	printPlan(cmd.ErrOrStderr(), plan)
	if plan.Changes() && !r.yes {
		if err := agreed(cmd, plan); err != nil {
			return err
		}
	}
	return r.run(cmd, c, plan)
}

func (r *applyRun) items(cmd *cobra.Command) ([]*apply.Item, error) {
	if r.file == "-" {
		return apply.Parse("-", cmd.InOrStdin())
	}
	f, err := os.Open(r.file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return apply.Parse(r.file, f)
}

// printPlan leaves out what stays as it is.
func printPlan(w io.Writer, plan *apply.Plan) {
	for _, s := range plan.Steps {
		switch s.Action {
		case apply.Unchanged:
		case apply.Check:
			fmt.Fprintf(w, "%s (its secrets are sent again, and nothing changes if they are the same)\n", s)
		default:
			fmt.Fprintln(w, s)
		}
	}
	fmt.Fprintf(w, "to create %d, to update %d, to check %d, to delete %d, unchanged %d\n", plan.Count(apply.Create), plan.Count(apply.Update),
		plan.Count(apply.Check), plan.Count(apply.Delete), plan.Count(apply.Unchanged))
}

// agreed asks whether to go on. Whoever deletes has to say so.
func agreed(cmd *cobra.Command, plan *apply.Plan) error {
	want := "yes"
	if plan.Count(apply.Delete) > 0 {
		want = "delete"
	}
	fmt.Fprintf(cmd.ErrOrStderr(), "Type %s to go on: ", want)
	line, err := bufio.NewReader(io.LimitReader(cmd.InOrStdin(), 1024)).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("standard input: %w", err)
	}
	if strings.TrimSpace(line) != want {
		return errors.New("nothing was done")
	}
	return nil
}

func (r *applyRun) run(cmd *cobra.Command, c *client.Client, plan *apply.Plan) error {
	done := []*apply.Step{}
	failed := plan.Run(cmd.Context(), c, func(s *apply.Step) { done = append(done, s) })
	err := r.print(cmd, done, func(w io.Writer) {
		for _, s := range done {
			fmt.Fprintf(w, "%s  %s\n", s.ID, s)
		}
	})
	if failed != nil {
		return told(failed)
	}
	return err
}
