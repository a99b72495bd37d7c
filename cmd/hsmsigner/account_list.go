// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"

	"github.com/spf13/cobra"

	"github.com/hsmsigner/hsmsigner/internal/config"
	"github.com/hsmsigner/hsmsigner/internal/control"
)

func (a *app) accountListCommand() *cobra.Command {
	var name string
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the accounts of the wallets",
		Long: `Lists the accounts. A running daemon looks for new keys first; without one, the
backend is read directly.`,
		Example: `  hsmsigner account list
  hsmsigner account list --wallet treasury --output json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.accountList(cmd, name) },
	}
	a.walletFlag(cmd, &name, "only this wallet")
	return cmd
}

// accountView is an account as the command line shows it.
type accountView struct {
	Wallet     string `json:"wallet"`
	Address    string `json:"address"`
	Name       string `json:"name"`
	State      string `json:"state"`
	Protection string `json:"protection"`
	Reason     string `json:"reason,omitempty"`
}

func (a *app) accountList(cmd *cobra.Command, name string) error {
	c, err := a.load(cmd)
	if err != nil {
		return err
	}
	wallets := c.Wallets
	if name != "" {
		w, err := wallet(c, name)
		if err != nil {
			return err
		}
		wallets = []config.Wallet{w}
	}
	views := []accountView{}
	for _, w := range wallets {
		found, err := accounts(cmd.Context(), c, w, cmd.ErrOrStderr())
		if err != nil {
			return fmt.Errorf("wallet %s: %w", w.Name, err)
		}
		views = append(views, found...)
	}
	return a.print(cmd, views, func(w io.Writer) {
		if len(views) == 0 {
			fmt.Fprintln(w, "no accounts: make one with hsmsigner account new")
			return
		}
		lines := [][]string{{"ADDRESS", "WALLET", "STATE", "PROTECTION", "NAME"}}
		for _, v := range views {
			state := v.State
			if v.Reason != "" {
				state += " (" + v.Reason + ")"
			}
			lines = append(lines, []string{v.Address, v.Wallet, state, v.Protection, v.Name})
		}
		table(w, lines)
	})
}

// accounts asks the daemon to refresh the wallet and reads what it stored;
// without a daemon it asks the backend itself.
func accounts(ctx context.Context, c *config.Config, w config.Wallet, stderr io.Writer) ([]accountView, error) {
	err := control.NewClient(c.Data).Refresh(ctx, w.Name)
	if errors.Is(err, control.ErrNotRunning) {
		return accountsOfBackend(ctx, w, stderr)
	}
	if err != nil {
		return nil, err
	}
	db, err := readDatabase(ctx, c)
	if err != nil {
		return nil, err
	}
	defer db.Close()
	rows, err := db.Accounts(ctx, w.Name)
	if err != nil {
		return nil, err
	}
	var views []accountView
	for _, row := range rows {
		views = append(views, accountView{w.Name, row.Address.Hex(), row.Name, row.State, row.Protection, row.Reason})
	}
	return views, nil
}

func accountsOfBackend(ctx context.Context, w config.Wallet, stderr io.Writer) ([]accountView, error) {
	backend, err := openBackend(ctx, w.Details, sharing{}, slog.New(slog.DiscardHandler))
	if err != nil {
		return nil, err
	}
	defer backend.Close()
	var views []accountView
	keys, problems, err := listKeys(ctx, backend, stderr)
	if err != nil {
		return nil, err
	}
	for _, problem := range problems {
		fmt.Fprintf(stderr, "warning: %s: %s: %s\n", w.Name, problem.Name, problem.Reason)
	}
	for _, k := range keys {
		views = append(views, accountView{w.Name, k.Address.Hex(), k.Name, string(k.State), string(k.Protection), k.Reason})
	}
	return views, nil
}
