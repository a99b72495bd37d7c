// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/hsmsigner/hsmsigner/internal/store"
)

func (a *app) migrateCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "migrate",
		Short: "Bring the database to this version's schema",
		Long: `Brings the database to the schema of this version, and makes it if there is
none. The daemon does the same when it starts, so this is for those who want
to see it happen first. It never goes back: keep a copy of the data directory.

The daemon must not be running.`,
		Example: "  hsmsigner migrate --config config.yaml",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.load(cmd)
			if err != nil {
				return err
			}
			from, to, err := store.Migrate(cmd.Context(), c.Data)
			if err != nil {
				return err
			}
			result := struct {
				Data string `json:"data"`
				From int    `json:"from"`
				To   int    `json:"to"`
			}{c.Data, from, to}
			return a.print(cmd, result, func(w io.Writer) {
				if from == to {
					fmt.Fprintf(w, "%s has schema version %d already\n", c.Data, to)
					return
				}
				fmt.Fprintf(w, "%s migrated from schema version %d to %d\n", c.Data, from, to)
			})
		},
	}
}
