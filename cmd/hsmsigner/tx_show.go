// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/spf13/cobra"

	"github.com/hsmsigner/hsmsigner/internal/platform"
	"github.com/hsmsigner/hsmsigner/internal/store"
)

func (a *app) txShowCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "show ID|HASH",
		Short: "Show one transaction with all its attempts",
		Long: `Shows one transaction, by its id or by the hash of any of its attempts, with
every encoding that was ever signed for it. It reads the store, whether the
daemon is running or not.`,
		Example: "  hsmsigner tx show 0x5c504ed432cb51138bcf09aa5e8a410dd4a1e204ef84bfed1be16dfba1b22060",
		Args:    cobra.ExactArgs(1),
		RunE:    func(cmd *cobra.Command, args []string) error { return a.txShow(cmd, args[0]) },
	}
}

func (a *app) txShow(cmd *cobra.Command, name string) error {
	db, err := a.openStore(cmd)
	if err != nil {
		return err
	}
	defer db.Close()
	var row store.Tx
	if strings.HasPrefix(name, "0x") {
		row, err = db.TxByHash(cmd.Context(), common.HexToHash(name))
	} else {
		row, err = db.Tx(cmd.Context(), name)
	}
	if errors.Is(err, store.ErrNotFound) {
		return notFound("no transaction %s: want the id or a hash that hsmsigner tx list shows", name)
	}
	if err != nil {
		return err
	}
	attempts, err := db.Attempts(cmd.Context(), row.ID)
	if err != nil {
		return err
	}
	v := platform.ViewWhole(row, attempts)
	return a.print(cmd, v, func(w io.Writer) { writeTx(w, v) })
}

func writeTx(w io.Writer, v platform.Transaction) {
	block := ""
	if v.Succeeded != nil {
		block = fmt.Sprintf("%d, reverted", v.Block)
		if *v.Succeeded {
			block = fmt.Sprintf("%d, succeeded", v.Block)
		}
	}
	expires := ""
	if v.Expires != nil {
		expires = v.Expires.Format(time.RFC3339)
	}
	to := v.To
	if to == "" {
		to = "(new contract)"
	}
	pairs(w, [][2]string{
		{"id", v.ID},
		{"state", v.State},
		{"error", v.Error},
		{"hash", v.Hash},
		{"block", block},
		{"wallet", v.Wallet},
		{"from", v.From},
		{"to", to},
		{"nonce", nonceText(v.Nonce)},
		{"value", ether(v.Value) + " ether"},
		{"type", strconv.Itoa(int(v.Type))},
		{"gas", strconv.FormatUint(v.Gas, 10)},
		{"data", count(v.DataBytes, "byte")},
		{"fee ceiling", v.FeeCeiling + " wei per gas"},
		{"kind", v.Kind},
		{"credential", v.Credential},
		{"idempotency key", v.IdempotencyKey},
		{"replaces", v.Replaces},
		{"sender", v.Sender},
		{"created", v.Created.Format(time.RFC3339)},
		{"updated", v.Updated.Format(time.RFC3339)},
		{"expires", expires},
		{"stages", stages(v.Durations)},
	})
	if len(v.Attempts) == 0 {
		fmt.Fprintln(w, "\nnothing was signed for it yet")
		return
	}
	fmt.Fprintln(w)
	rows := [][]string{{"ATTEMPT", "KIND", "NONCE", "OUTCOME", "EPOCH", "SIGNED", "HASH"}}
	for _, try := range v.Attempts {
		rows = append(rows, []string{
			try.ID, try.Kind, strconv.FormatUint(try.Nonce, 10), try.Outcome,
			strconv.FormatInt(try.Epoch, 10), try.Created.Format(time.RFC3339), try.Hash,
		})
	}
	table(w, rows)
}

// stages says how long each stage took; empty if nothing is known. One that is not
// named has not ended, or nobody was there to see it.
func stages(d *platform.Durations) string {
	if d == nil {
		return ""
	}
	var said []string
	for _, s := range []struct {
		word string
		us   *int64
	}{{"queued", d.Queued}, {"signed", d.Signed}, {"sent", d.Sent}, {"mined", d.Mined}} {
		if s.us != nil {
			said = append(said, s.word+" in "+(time.Duration(*s.us)*time.Microsecond).String())
		}
	}
	return strings.Join(said, ", ")
}
