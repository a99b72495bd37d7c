// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"math/big"

	"github.com/spf13/cobra"

	"github.com/hsmsigner/hsmsigner/internal/control"
	"github.com/hsmsigner/hsmsigner/internal/store"
)

func (a *app) txCancelCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "cancel TX",
		Short: "End a transaction that is not mined",
		Long: `Ends a transaction. One that was not sent yet is failed at once. For one that
was, a self-transfer of value 0 with a higher fee competes for its nonce: it is
failed only when that one is mined and confirmed, and goes through if not.`,
		Example: "  hsmsigner tx cancel 0193c1f0…",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.careFor(cmd, control.RepairAction{Action: control.Cancel, Tx: args[0]})
		},
	}
}

func (a *app) txSpeedUpCommand() *cobra.Command {
	var fee, tip string
	cmd := &cobra.Command{
		Use:   "speed-up TX",
		Short: "Sign a sent transaction again with higher fees",
		Long: `Signs a transaction that no block takes again with higher fees, at the same
nonce: at least 10 % more, as nodes want it (100 % for blobs), or what the chain
asks now, or what you say. Both are watched, and whichever is mined counts. The
ceiling that was fixed when it was accepted, and the wallet's limits, hold.`,
		Example: "  hsmsigner tx speed-up 0193c1f0… --max-fee 30gwei",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			order := control.RepairAction{Action: control.SpeedUp, Tx: args[0]}
			for _, flag := range []struct {
				name, text string
				into       *string
			}{{"max-fee", fee, &order.Fee}, {"tip", tip, &order.Tip}} {
				if flag.text == "" {
					continue
				}
				n, err := gasPrice(flag.text)
				if err != nil {
					return &usageError{errors.New("--" + flag.name + ": " + err.Error()), cmd.CommandPath()}
				}
				*flag.into = n.String()
			}
			return a.careFor(cmd, order)
		},
	}
	cmd.Flags().StringVar(&fee, "max-fee", "", "wei per gas at most, like 30gwei")
	cmd.Flags().StringVar(&tip, "tip", "", "wei per gas for the block's maker, like 2gwei")
	return cmd
}

// gasPrice reads a number of wei, or of gwei with that word behind it.
func gasPrice(s string) (*big.Int, error) {
	number, gwei := s, false
	for _, unit := range []string{" gwei", "gwei"} {
		if len(s) > len(unit) && s[len(s)-len(unit):] == unit {
			number, gwei = s[:len(s)-len(unit)], true
			break
		}
	}
	r, ok := new(big.Rat).SetString(number)
	if ok && gwei {
		r.Mul(r, big.NewRat(1e9, 1))
	}
	if !ok || !r.IsInt() || r.Sign() <= 0 {
		return nil, errors.New("want a number of wei, or like 30gwei, not \"" + s + "\"")
	}
	return r.Num(), nil
}

// careFor has the daemon act on one transaction.
func (a *app) careFor(cmd *cobra.Command, order control.RepairAction) error {
	c, err := a.load(cmd)
	if err != nil {
		return err
	}
	db, err := readDatabase(cmd.Context(), c)
	if err != nil {
		return err
	}
	defer db.Close()
	t, err := db.Tx(cmd.Context(), order.Tx)
	if errors.Is(err, store.ErrNotFound) {
		return notFound("there is no transaction %s: hsmsigner tx list shows those there are", order.Tx)
	}
	if err != nil {
		return err
	}
	report, err := control.NewClient(c.Data).Repair(cmd.Context(), t.Sender, order)
	if err != nil {
		return err
	}
	return a.showReport(cmd, report)
}
