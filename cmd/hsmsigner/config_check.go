// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/hsmsigner/hsmsigner/internal/config"
	"github.com/hsmsigner/hsmsigner/internal/policy"
)

func (a *app) configCheckCommand() *cobra.Command {
	var offline bool
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Report everything that is wrong with the config file",
		Long: `Reads the config file and reports every unknown key, missing key, wrong value
and contradiction, each with its line, and everything that is allowed but
unwise. Secret and certificate files are read too.

If the file is valid, it asks the key backend of each wallet for the first page
of its keys, as the daemon will, and says which setting is wrong where that
fails. Nothing is signed; no node and no database is asked. With --offline
nothing is connected to.

Exits with 3 if something is wrong; warnings alone exit with 0.`,
		Example: `  hsmsigner config check --config /etc/hsmsigner/config.yaml
  hsmsigner config check --offline --output json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.configCheck(cmd, offline) },
	}
	cmd.Flags().BoolVar(&offline, "offline", false, "do not ask the key backends")
	return cmd
}

// checked is what config check says as JSON.
type checked struct {
	OK       bool             `json:"ok"`
	Problems []config.Problem `json:"problems"`
	Warnings []config.Warning `json:"warnings"`
	Wallets  []string         `json:"wallets"`
	Backends []probed         `json:"backends"` // empty with --offline, or if the file is not valid
}

func (a *app) configCheck(cmd *cobra.Command, offline bool) error {
	c, warnings, err := config.Load(a.configPath)
	var problems config.Errors
	if err != nil && !errors.As(err, &problems) {
		return &configError{err}
	}
	if err == nil {
		_, err = declaredRules(c)
		problems = policyProblems(err)
	}
	result := checked{
		Problems: append([]config.Problem{}, problems...),
		Warnings: append([]config.Warning{}, warnings...),
		Wallets:  []string{},
		Backends: []probed{},
	}
	if a.output == textOutput {
		for _, w := range warnings {
			fmt.Fprintf(cmd.ErrOrStderr(), "warning: %s\n", w)
		}
	}
	if err != nil {
		if a.output == jsonOutput {
			_ = a.print(cmd, result, nil)
		}
		return &configError{err}
	}
	for _, w := range c.Wallets {
		result.Wallets = append(result.Wallets, w.Name)
	}
	if !offline {
		result.Backends = probe(cmd.Context(), c.Wallets)
	}
	var bad []string
	for _, b := range result.Backends {
		if !b.OK {
			bad = append(bad, fmt.Sprintf("%s: wallet %s: %s: %s", a.configPath, b.Wallet, b.Provider, b.Error))
		}
	}
	result.OK = len(bad) == 0
	if err := a.print(cmd, result, func(w io.Writer) {
		fmt.Fprintf(w, "%s is valid: %s (%s)\n", a.configPath, count(len(c.Wallets), "wallet"), walletNames(c))
		for _, b := range result.Backends {
			if b.OK {
				fmt.Fprintln(w, b)
			}
			for _, problem := range b.Problems {
				fmt.Fprintf(cmd.ErrOrStderr(), "warning: wallet %s: %s\n", b.Wallet, problem)
			}
		}
	}); err != nil {
		return err
	}
	if len(bad) > 0 {
		return &configError{errors.New(strings.Join(bad, "\nhsmsigner: "))}
	}
	return nil
}

// policyProblems are what is wrong with rules, as problems of the config.
func policyProblems(err error) (problems config.Errors) {
	var wrong policy.Errors
	if errors.As(err, &wrong) {
		for _, p := range wrong {
			problems = append(problems, config.Problem{File: p.File, Line: p.Line, Path: strings.TrimSuffix("policy."+p.Path, "."), Message: p.Message})
		}
	}
	return problems
}

func walletNames(c *config.Config) string {
	names := make([]string, len(c.Wallets))
	for i, w := range c.Wallets {
		names[i] = w.Name
	}
	return strings.Join(names, ", ")
}
