// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/spf13/cobra"

	"github.com/hsmsigner/hsmsigner/internal/platform"
	"github.com/hsmsigner/hsmsigner/internal/store"
)

var txHashText = regexp.MustCompile(`^0x[0-9a-fA-F]{64}$`)

func (a *app) txListCommand() *cobra.Command {
	var wallet, account, before, id, hash, key string
	var nonce uint64
	var states []string
	var limit int
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List transactions, newest first",
		Long: `Lists transactions from the store, newest first, whether the daemon is running
or not. States: ` + strings.Join(stateNames(), ", ") + `.`,
		Example: `  hsmsigner tx list --state queued,assigned,signed,sent
  hsmsigner tx list --wallet treasury --account 0x… --limit 10
  hsmsigner tx list --wallet treasury --idempotency-key order-7
  hsmsigner tx list --account 0x… --nonce 12
  hsmsigner tx list --output json | jq '.[].hash'`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			filter := store.TxFilter{Wallet: wallet, ID: id, Key: key, Before: before, Limit: limit}
			if account != "" && !common.IsHexAddress(account) {
				return &usageError{fmt.Errorf("--account: %q is not an address: want 0x and 40 hex digits", account), cmd.CommandPath()}
			}
			filter.Address = common.HexToAddress(account)
			if cmd.Flags().Changed("nonce") {
				filter.Nonce = &nonce
			}
			if hash != "" {
				if !txHashText.MatchString(hash) {
					return &usageError{fmt.Errorf("--hash: %q is not a hash: want 0x and 64 hex digits", hash), cmd.CommandPath()}
				}
				filter.Hash = common.HexToHash(hash)
			}
			if limit < 1 || limit > 1000 {
				return &usageError{errors.New("--limit: want 1 to 1000"), cmd.CommandPath()}
			}
			for _, s := range states {
				if !knownState(s) {
					return &usageError{fmt.Errorf("--state: %q is not one of %s", s, strings.Join(stateNames(), ", ")), cmd.CommandPath()}
				}
				filter.States = append(filter.States, store.TxState(s))
			}
			return a.txList(cmd, filter)
		},
	}
	a.walletFlag(cmd, &wallet, "only of this wallet")
	cmd.Flags().StringVar(&account, "account", "", "only from this `address`")
	cmd.Flags().Uint64Var(&nonce, "nonce", 0, "only with this `nonce`")
	cmd.Flags().StringVar(&key, "idempotency-key", "", "only what was sent under this `key`, whoever gave it")
	cmd.Flags().StringVar(&hash, "hash", "", "only the transaction of which this `hash` is an attempt")
	cmd.Flags().StringVar(&id, "id", "", "only the transaction with this `id`")
	cmd.Flags().StringSliceVar(&states, "state", nil, "only in these states")
	cmd.Flags().StringVar(&before, "before", "", "only older than the transaction with this `id`, for paging")
	cmd.Flags().IntVar(&limit, "limit", 50, "how many at most, up to 1000")
	_ = cmd.RegisterFlagCompletionFunc("state", cobra.FixedCompletions(stateNames(), cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

func (a *app) txList(cmd *cobra.Command, filter store.TxFilter) error {
	db, err := a.openStore(cmd)
	if err != nil {
		return err
	}
	defer db.Close()
	rows, err := db.List(cmd.Context(), filter)
	if err != nil {
		return err
	}
	views := make([]platform.Transaction, len(rows))
	for i, row := range rows {
		views[i] = platform.ViewTransaction(row)
	}
	return a.print(cmd, views, func(w io.Writer) {
		if len(views) == 0 {
			fmt.Fprintln(w, "no transactions")
			return
		}
		lines := [][]string{{"ID", "AGE", "STATE", "WALLET", "FROM", "NONCE", "ETHER", "TO", "HASH"}}
		for _, v := range views {
			to := v.To
			if to == "" {
				to = "(new contract)"
			}
			lines = append(lines, []string{v.ID, age(v.Created, time.Now()), v.State, v.Wallet, v.From, nonceText(v.Nonce), ether(v.Value), to, v.Hash})
		}
		table(w, lines)
	})
}

// openStore opens the store beside the daemon, or without one.
func (a *app) openStore(cmd *cobra.Command) (*store.DB, error) {
	c, err := a.load(cmd)
	if err != nil {
		return nil, err
	}
	return readDatabase(cmd.Context(), c)
}

func stateNames() []string {
	return []string{
		string(store.Offered), string(store.Queued), string(store.Held), string(store.Assigned), string(store.Signed),
		string(store.Sent), string(store.Mined), string(store.Superseded), string(store.Confirmed),
		string(store.Replaced), string(store.Displaced), string(store.Failed),
	}
}

func knownState(s string) bool {
	for _, name := range stateNames() {
		if s == name {
			return true
		}
	}
	return false
}
