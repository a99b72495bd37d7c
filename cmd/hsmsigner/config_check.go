// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/hsmsigner/hsmsigner/internal/config"
)

func (a *app) configCheckCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "check",
		Short: "Report everything that is wrong with the config file",
		Long: `Reads the config file and reports every unknown key, missing key, wrong value
and contradiction, each with its line, and everything that is allowed but
unwise. Secret and certificate files are read too. Nothing is connected to.

Exits with 3 if something is wrong; warnings alone exit with 0.`,
		Example: `  hsmsigner config check --config /etc/hsmsigner/config.yaml
  hsmsigner config check --output json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.configCheck(cmd) },
	}
}

// checked is what config check says as JSON.
type checked struct {
	OK       bool             `json:"ok"`
	Problems []config.Problem `json:"problems"`
	Warnings []config.Warning `json:"warnings"`
	Wallets  []string         `json:"wallets"`
}

func (a *app) configCheck(cmd *cobra.Command) error {
	c, warnings, err := config.Load(a.configPath)
	var problems config.Errors
	if err != nil && !errors.As(err, &problems) {
		return &configError{err}
	}
	result := checked{
		OK:       err == nil,
		Problems: append([]config.Problem{}, problems...),
		Warnings: append([]config.Warning{}, warnings...),
		Wallets:  []string{},
	}
	if c != nil {
		for _, w := range c.Wallets {
			result.Wallets = append(result.Wallets, w.Name)
		}
	}
	if a.output == textOutput {
		for _, w := range warnings {
			fmt.Fprintf(cmd.ErrOrStderr(), "warning: %s\n", w)
		}
	}
	if a.output == jsonOutput || err == nil {
		if err := a.print(cmd, result, func(w io.Writer) {
			fmt.Fprintf(w, "%s is valid: %s (%s)\n", a.configPath, count(len(c.Wallets), "wallet"), walletNames(c))
		}); err != nil {
			return err
		}
	}
	if err != nil {
		return &configError{err}
	}
	return nil
}

func walletNames(c *config.Config) string {
	names := make([]string, len(c.Wallets))
	for i, w := range c.Wallets {
		names[i] = w.Name
	}
	return strings.Join(names, ", ")
}
