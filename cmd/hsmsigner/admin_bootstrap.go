// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"

	"github.com/spf13/cobra"

	"github.com/hsmsigner/hsmsigner/internal/auth"
	"github.com/hsmsigner/hsmsigner/internal/config"
	"github.com/hsmsigner/hsmsigner/internal/platform"
	"github.com/hsmsigner/hsmsigner/internal/store"
)

func (a *app) adminBootstrapCommand() *cobra.Command {
	var name string
	var another bool
	cmd := &cobra.Command{
		Use:   "bootstrap",
		Short: "Make the first API key of the management API",
		Long: `Makes an API key with the role admin for the whole deployment and prints it. It
is shown here and never again: only a keyed hash of it is stored. All others are
made with it, through the API.

Works on the database itself, whether a daemon runs or not; a daemon takes the
key within a second. If there is such a key already, nothing is made, unless
with --force-new: for when the first was lost. Then delete the lost one.`,
		Example: `  hsmsigner admin bootstrap
  KEY=$(hsmsigner admin bootstrap --force-new --name "after the fire")`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.adminBootstrap(cmd, name, another) },
	}
	cmd.Flags().StringVar(&name, "name", "bootstrap", "what the key is called")
	cmd.Flags().BoolVar(&another, "force-new", false, "make one although there is one")
	return cmd
}

func (a *app) adminBootstrap(cmd *cobra.Command, name string, another bool) error {
	if name == "" || len(name) > 100 {
		return &usageError{errors.New("--name wants 1 to 100 characters"), cmd.CommandPath()}
	}
	c, err := a.load(cmd)
	if err != nil {
		return err
	}
	db, err := recordDatabase(cmd.Context(), c, cmd.ErrOrStderr())
	if err != nil {
		return err
	}
	key, err := rootKey(cmd.Context(), c, db, name, another)
	if err = errors.Join(err, db.Close()); err != nil {
		if is[*platform.HaveRootKeyError](err) {
			return fmt.Errorf("%w; nothing was made. If it is lost, make another with --force-new", err)
		}
		return err
	}
	return a.print(cmd, key, func(w io.Writer) {
		fmt.Fprintln(w, key.Key)
		fmt.Fprintln(cmd.ErrOrStderr(), "Keep it: it is not shown again. Send it as Authorization: Bearer …")
	})
}

func rootKey(ctx context.Context, c *config.Config, db *store.DB, name string, another bool) (platform.APIKey, error) {
	sealer, err := openSealer(ctx, c, db)
	if err != nil {
		return platform.APIKey{}, err
	}
	verifier, err := auth.OpenVerifier(ctx, sealer)
	if err != nil {
		return platform.APIKey{}, err
	}
	region := c.Management.Region
	if region == "" {
		region = platform.DefaultConsortium[:2]
	}
	return platform.RootKey(ctx, db, verifier, region, name, another)
}

// writeDatabase opens the rows for a few writes, beside the daemon if one runs.
// If there is no SQLite database yet it is made, as the daemon would.
func writeDatabase(ctx context.Context, c *config.Config, stderr io.Writer) (*store.DB, error) {
	cfg, err := storeConfig(c)
	if err != nil {
		return nil, err
	}
	cfg.Logger = slog.New(slog.NewTextHandler(stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	db, err := store.OpenBeside(ctx, cfg)
	if errors.Is(err, fs.ErrNotExist) {
		return store.OpenDB(ctx, cfg)
	}
	return db, err
}
