// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/hsmsigner/hsmsigner/client"
)

// policyTestRun is what hsmsigner policy test was called with.
type policyTestRun struct {
	*policyRun
	principal, method, params, with string
	strict                          bool
}

func (r *policyRun) test() *cobra.Command {
	run := &policyTestRun{policyRun: r}
	cmd := &cobra.Command{
		Use: "test [FILE]", Short: "Ask what would become of a request, and why", Args: cobra.MaximumNArgs(1),
		Long: `Takes a JSON-RPC request to a service, from a file (- for standard input) or
from --method and --params, and says what would become of it. Nothing is signed,
sent or stored, nobody is asked, and no limit is used up.

Fees and gas that the request leaves out count as the least that there is: give
them to have caps on them judged. With --rules, these stand in the place of the
service's own. The method document is for a signature on a document: its
parameter has account, sha256, size, name and media_type.`,
		Example: `  hsmsigner policy test --service treasury --method eth_sendTransaction --params '[{"from": "0x…", "to": "0x…", "value": "0x1"}]'
  hsmsigner policy test request.json --service treasury --principal app:u0abcdefgh --rules new.yaml`,
		RunE: func(cmd *cobra.Command, args []string) error { return run.run(cmd, args) },
	}
	flags := cmd.Flags()
	flags.StringVar(&run.principal, "principal", "", "whose request it would be, like app:u0abcdefgh; default yours")
	flags.StringVar(&run.method, "method", "", "of JSON-RPC, if there is no file")
	flags.StringVar(&run.params, "params", "", "its parameters, a JSON `array`")
	flags.StringVar(&run.with, "rules", "", "`file` with rules to try")
	flags.BoolVar(&run.strict, "must-allow", false, "exit with 1 unless it is allowed")
	return cmd
}

func (r *policyTestRun) run(cmd *cobra.Command, args []string) error {
	if r.scope.service == "" {
		return &usageError{errors.New("--service is missing: whose request would it be?"), cmd.CommandPath()}
	}
	t, err := r.request(cmd, args)
	if err != nil {
		return err
	}
	if r.with != "" {
		text, err := readRulesFile(cmd, r.with)
		if err != nil {
			return err
		}
		t.Document = string(text)
	}
	return r.in(cmd, func(ctx context.Context, c *client.Client, s client.Scope) error {
		v, err := c.TestPolicy(ctx, s, t)
		if err != nil {
			return err
		}
		if err := r.print(cmd, v, func(w io.Writer) { printVerdict(w, v) }); err != nil {
			return err
		}
		if r.strict && v.Effect != "allow" {
			return errors.New("it would not be allowed")
		}
		return nil
	})
}

func (r *policyTestRun) request(cmd *cobra.Command, args []string) (client.PolicyTest, error) {
	t := client.PolicyTest{Principal: r.principal, Method: r.method, Params: json.RawMessage(r.params)}
	switch {
	case len(args) == 0 && (r.method == "" || r.params == ""):
		return t, &usageError{errors.New("there is no request: want a file, or --method and --params"), cmd.CommandPath()}
	case len(args) == 0 && !json.Valid(t.Params):
		return t, &usageError{errors.New("--params is not JSON"), cmd.CommandPath()}
	case len(args) == 0:
		return t, nil
	case r.method != "" || r.params != "":
		return t, &usageError{errors.New("there are a file and --method or --params: want one of the two"), cmd.CommandPath()}
	}
	text, err := readRulesFile(cmd, args[0])
	if err != nil {
		return t, err
	}
	var request struct {
		Method string          `json:"method"`
		Params json.RawMessage `json:"params"`
	}
	if err := json.Unmarshal(text, &request); err != nil || request.Method == "" || len(request.Params) == 0 {
		return t, fmt.Errorf("%s: want a JSON-RPC request: an object with method and params", args[0])
	}
	t.Method, t.Params = request.Method, request.Params
	return t, nil
}

func printVerdict(w io.Writer, v *client.PolicyVerdict) {
	fmt.Fprintf(w, "%s: %s\n", v.Effect, v.Rule)
	if v.Reason != "" {
		fmt.Fprintln(w, v.Reason)
	}
	for _, p := range v.Policies {
		fmt.Fprintf(w, "\n%s, version %d: %s: %s\n", p.Scope, p.Version, p.Effect, p.Rule)
		for _, s := range p.Steps {
			mark := " "
			if s.Matched {
				mark = "*"
			}
			effect := s.Effect
			if effect == "" {
				effect = "limit"
			}
			fmt.Fprintf(w, "  %s %s %s: %s\n", mark, effect, s.Rule, s.Why)
		}
	}
	if len(v.Limits) == 0 {
		return
	}
	fmt.Fprintln(w)
	rows := [][]string{{"LIMIT", "ASSET", "WOULD TAKE", "USED", "MAX", "HOLDS"}}
	for _, l := range v.Limits {
		holds := "no"
		if l.Holds {
			holds = "yes"
		}
		rows = append(rows, []string{l.Limit, l.Asset, l.Amount, l.Used, l.Max, holds})
	}
	table(w, rows)
}
