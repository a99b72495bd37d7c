// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/url"
	"slices"

	"github.com/spf13/cobra"

	"github.com/hsmsigner/hsmsigner/internal/store"
)

func (a *app) migrateCommand() *cobra.Command {
	var from, to string
	cmd := &cobra.Command{ //nolint:gosec // the URL of the example holds no password of anybody
		Use:   "migrate",
		Short: "Bring the database to this version's schema, or to another place",
		Long: `Brings the database to the schema of this version, and makes it if there is
none. The daemon does the same when it starts, so this is for those who want
to see it happen first. It never goes back: keep a copy.

With --from and --to, copies everything from a SQLite data directory into an
empty PostgreSQL database, or the other way round. Neither may be in use. The
database that was copied is marked, so that no daemon goes on with it by
mistake; point the config's database (or data) to the new one.`,
		Example: `  hsmsigner migrate --config config.yaml
  hsmsigner migrate --from ./data --to postgres://signer:password@db.example.org/signer`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			switch {
			case (from == "") != (to == ""):
				return &usageError{errors.New("--from and --to belong together"), cmd.CommandPath()}
			case from != "":
				return a.move(cmd, from, to)
			}
			return a.migrate(cmd)
		},
	}
	cmd.Flags().StringVar(&from, "from", "", "data directory or postgres:// URL to copy from")
	cmd.Flags().StringVar(&to, "to", "", "data directory or postgres:// URL to copy to")
	return cmd
}

func (a *app) migrate(cmd *cobra.Command) error {
	c, err := a.load(cmd)
	if err != nil {
		return err
	}
	cfg, err := storeConfig(c)
	if err != nil {
		return err
	}
	where, shown := cfg.Dir, cfg.Dir
	if cfg.URL != "" {
		where, shown = cfg.URL, placeOf(cfg.URL)
	}
	from, to, err := store.Migrate(cmd.Context(), where)
	if err != nil {
		return err
	}
	result := struct {
		Data string `json:"data"`
		From int    `json:"from"`
		To   int    `json:"to"`
	}{shown, from, to}
	return a.print(cmd, result, func(w io.Writer) {
		if from == to {
			fmt.Fprintf(w, "%s has schema version %d already\n", shown, to)
			return
		}
		fmt.Fprintf(w, "%s migrated from schema version %d to %d\n", shown, from, to)
	})
}

// move copies a database to another place.
func (a *app) move(cmd *cobra.Command, from, to string) error {
	moved, err := store.Move(cmd.Context(), from, to, slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), nil)))
	if err != nil {
		return err
	}
	result := struct {
		From string           `json:"from"`
		To   string           `json:"to"`
		Rows map[string]int64 `json:"rows"`
	}{placeOf(from), placeOf(to), moved.Rows}
	return a.print(cmd, result, func(w io.Writer) {
		for _, table := range slices.Sorted(maps.Keys(moved.Rows)) {
			fmt.Fprintf(w, "%-14s %d rows\n", table, moved.Rows[table])
		}
		fmt.Fprintf(w, "copied from %s to %s; the first is marked as moved and is not used any more\n", placeOf(from), placeOf(to))
	})
}

// placeOf is where a database is, without the password of a URL.
func placeOf(where string) string {
	u, err := url.Parse(where)
	if err != nil || u.Scheme == "" {
		return where
	}
	return u.Redacted()
}
