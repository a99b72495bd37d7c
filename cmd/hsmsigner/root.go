// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"

	"github.com/spf13/cobra"

	"github.com/hsmsigner/hsmsigner/internal/config"
)

// app is what all commands share: the flags that stand before them.
type app struct {
	configPath string
	output     outputFormat
	ran        bool // a command's own code was reached: the command line was understood
}

// run is the whole program but for the process around it. It returns the exit
// code.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	a := &app{output: textOutput}
	root := a.rootCommand()
	root.SetArgs(args[1:])
	root.SetOut(stdout)
	root.SetErr(stderr)
	cmd, err := root.ExecuteContextC(ctx)
	if err != nil && !a.ran {
		err = &usageError{err, cmd.CommandPath()}
	}
	if err != nil {
		printError(stderr, err)
	}
	return exitCode(err)
}

func (a *app) rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "hsmsigner",
		Short: "Ethereum transactions and messages, signed by keys that stay in their vault",
		Long: `HSM Signer stands between Ethereum programs and an Ethereum node. It answers
JSON-RPC as a node with a wallet would, signs with keys that never leave their
backend, and passes everything else to the node.

Exit codes:
  0  done
  1  an error
  2  the command line is wrong
  3  the config file is wrong
  4  what was asked for does not exist
  5  the data directory is in use, or no daemon is running on it`,
		Example: `  hsmsigner demo
  hsmsigner config check --config config.yaml
  hsmsigner serve --config config.yaml`,
		SilenceErrors: true,
		SilenceUsage:  true,
		PersistentPreRun: func(*cobra.Command, []string) {
			a.ran = true
		},
	}
	root.PersistentFlags().StringVarP(&a.configPath, "config", "c", "config.yaml", "the config `file`")
	root.PersistentFlags().VarP(&a.output, "output", "o", "text or json")
	_ = root.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]string{"text", "json"}, cobra.ShellCompDirectiveNoFileComp))
	_ = root.MarkPersistentFlagFilename("config", "yaml", "yml")
	root.AddCommand(
		a.serveCommand(),
		a.demoCommand(),
		group("config", "Check the config file", a.configCheckCommand()),
		group("account", "List, make and import accounts",
			a.accountListCommand(), a.accountNewCommand(), a.accountImportCommand()),
		group("key", "List, make, import, test, switch and delete keys in their backends",
			a.keyListCommand(), a.keyShowCommand(), a.keyCreateCommand(), a.keyImportCommand(),
			a.keySwitchCommand(false), a.keySwitchCommand(true), a.keyDeleteCommand(),
			a.keyTestCommand(), a.keyConformanceCommand(), a.keyWrapCommand()),
		group("tx", "Look at transactions, and mend senders that are parked",
			a.txListCommand(), a.txShowCommand(), a.txCancelCommand(), a.txSpeedUpCommand(), a.txRepairCommand()),
		group("admin", "Make the first key of the management API", a.adminBootstrapCommand()),
		group("seal", "Look at and change the keys that tenants' credentials are encrypted with",
			a.sealStatusCommand(), a.sealRotateCommand()),
		a.auditCommand(),
		a.documentCommand(),
		a.policyCommand(),
		a.freezeCommand(),
		a.approvalCommand(),
		a.applyCommand(),
		a.migrateCommand(),
		a.versionCommand(),
	)
	root.AddCommand(a.remoteCommands()...)
	return root
}

// group is a command that only holds others.
func group(name, short string, children ...*cobra.Command) *cobra.Command {
	c := &cobra.Command{
		Use:   name,
		Short: short,
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	c.AddCommand(children...)
	return c
}

// load reads the config and shows its warnings on stderr.
func (a *app) load(cmd *cobra.Command) (*config.Config, error) {
	c, warnings, err := config.Load(a.configPath)
	for _, w := range warnings {
		fmt.Fprintf(cmd.ErrOrStderr(), "warning: %s\n", w)
	}
	if err != nil {
		return nil, &configError{err}
	}
	return c, nil
}

// wallet is the wallet called name, or the only one if name is empty.
func wallet(c *config.Config, name string) (config.Wallet, error) {
	if name == "" && len(c.Wallets) == 1 {
		return c.Wallets[0], nil
	}
	if name == "" {
		return config.Wallet{}, fmt.Errorf("the config has %d wallets: name one with --wallet (%s)", len(c.Wallets), walletNames(c))
	}
	w, ok := c.Wallet(name)
	if !ok {
		return config.Wallet{}, notFound("the config has no wallet %q: want one of %s", name, walletNames(c))
	}
	return w, nil
}

// walletFlag adds --wallet, completed from the config.
func (a *app) walletFlag(cmd *cobra.Command, name *string, usage string) {
	cmd.Flags().StringVarP(name, "wallet", "w", "", usage)
	_ = cmd.RegisterFlagCompletionFunc("wallet", func(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
		c, _, err := config.Load(a.configPath)
		if err != nil {
			return nil, cobra.ShellCompDirectiveError
		}
		names := make([]cobra.Completion, len(c.Wallets))
		for i, w := range c.Wallets {
			names[i] = w.Name
		}
		return names, cobra.ShellCompDirectiveNoFileComp
	})
}

func newLogger(c config.Log, w io.Writer) *slog.Logger {
	var level slog.Level
	_ = level.UnmarshalText([]byte(c.Level)) // one of the four names: config has checked it
	options := &slog.HandlerOptions{Level: level}
	if c.Format == "json" {
		return slog.New(slog.NewJSONHandler(w, options))
	}
	return slog.New(slog.NewTextHandler(w, options))
}
