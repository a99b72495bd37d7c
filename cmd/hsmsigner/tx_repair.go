// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"slices"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/hsmsigner/hsmsigner/internal/control"
)

func (a *app) txRepairCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "repair [SENDER [ACTION [TX]]]",
		Short: "Examine a sender that is parked, and let it go on",
		Long: `Without a sender, lists the senders and says which of them are parked and why.
A sender is one address on one chain. It is parked when going on by itself
could send something twice or leave a nonce out: somebody else used the key,
the chain was reset, or a backup was restored.

With a sender, asks the running daemon to compare its rows with the chain:

  explain    say what differs and what each action would do (the default)
  adopt      take the chain's count of transactions for true and go on from there
  release    go on from the stored rows
  cancel TX  replace one unmined transaction by a self-transfer of value 0
  speed-up TX  sign one unmined transaction again with higher fees

Nothing but explain changes anything; start with it.`,
		Example: `  hsmsigner tx repair
  hsmsigner tx repair 1-d4e56740-0x…
  hsmsigner tx repair 1-d4e56740-0x… adopt
  hsmsigner tx repair 1-d4e56740-0x… cancel 0193c1f0-…`,
		Args: cobra.MaximumNArgs(3),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return a.listSenders(cmd)
			}
			order := control.RepairAction{Action: control.Explain}
			if len(args) > 1 {
				order.Action = control.Action(args[1])
			}
			if len(args) > 2 {
				order.Tx = args[2]
			}
			if err := checkOrder(order); err != nil {
				return &usageError{err, cmd.CommandPath()}
			}
			return a.repair(cmd, args[0], order)
		},
	}
}

func checkOrder(order control.RepairAction) error {
	switch {
	case !slices.Contains(control.Actions(), order.Action):
		return fmt.Errorf("%q is not an action: want one of %v", order.Action, control.Actions())
	case order.Action.OfTx() && order.Tx == "":
		return fmt.Errorf("%s wants the id of a transaction, which hsmsigner tx list shows", order.Action)
	case !order.Action.OfTx() && order.Tx != "":
		return fmt.Errorf("%s takes no transaction", order.Action)
	}
	return nil
}

func (a *app) repair(cmd *cobra.Command, sender string, order control.RepairAction) error {
	c, err := a.load(cmd)
	if err != nil {
		return err
	}
	report, err := control.NewClient(c.Data).Repair(cmd.Context(), sender, order)
	if err != nil {
		return err
	}
	return a.showReport(cmd, report)
}

func (a *app) showReport(cmd *cobra.Command, report control.Report) error {
	return a.print(cmd, report, func(w io.Writer) {
		parked := "no"
		if report.Parked != "" {
			parked = "yes: " + report.Parked
		}
		pairs(w, [][2]string{
			{"sender", report.Sender},
			{"parked", parked},
			{"count on the chain", strconv.FormatUint(report.Latest, 10)},
			{"next nonce", strconv.FormatUint(report.Next, 10)},
			{"queued", strconv.Itoa(report.Queued)},
			{"in flight", strconv.Itoa(report.InFlight)},
			{"done", report.Done},
		})
		for _, finding := range report.Findings {
			fmt.Fprintf(w, "- %s\n", finding)
		}
		for _, advice := range report.Advice {
			fmt.Fprintf(w, "→ %s\n", advice)
		}
	})
}

// senderView is a sender as the command line shows it.
type senderView struct {
	ID      string `json:"id"`
	ChainID uint64 `json:"chain_id"`
	Address string `json:"address"`
	Parked  string `json:"parked,omitempty"`
}

func (a *app) listSenders(cmd *cobra.Command) error {
	db, err := a.openStore(cmd)
	if err != nil {
		return err
	}
	defer db.Close()
	rows, err := db.Senders(cmd.Context())
	if err != nil {
		return err
	}
	views := make([]senderView, len(rows))
	for i, row := range rows {
		views[i] = senderView{row.ID, row.ChainID, row.Address.Hex(), row.Parked}
	}
	return a.print(cmd, views, func(w io.Writer) {
		if len(views) == 0 {
			fmt.Fprintln(w, "no senders: nothing was sent yet")
			return
		}
		lines := [][]string{{"SENDER", "PARKED"}}
		for _, v := range views {
			parked := "no"
			if v.Parked != "" {
				parked = "yes: " + v.Parked
			}
			lines = append(lines, []string{v.ID, parked})
		}
		table(w, lines)
	})
}
