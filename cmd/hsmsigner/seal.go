// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"path/filepath"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/hsmsigner/hsmsigner/internal/audit"
	"github.com/hsmsigner/hsmsigner/internal/auth"
	"github.com/hsmsigner/hsmsigner/internal/config"
	"github.com/hsmsigner/hsmsigner/internal/seal"
)

func (a *app) sealStatusCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "status",
		Short: "Show which keys the stored credentials are sealed with",
		Long: `Lists the key-encryption keys: the one that seals now, the others that are
configured, and those that are missing although values were sealed with them.
A key with which nothing is sealed any more may be taken away. Neither keys nor
credentials are shown. Ends with code 4 if a key is missing.`,
		Example: `  hsmsigner seal status --output json`,
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return a.sealStatus(cmd) },
	}
}

func (a *app) sealStatus(cmd *cobra.Command) error {
	c, err := a.load(cmd)
	if err != nil {
		return err
	}
	db, err := readDatabase(cmd.Context(), c)
	if err != nil {
		return err
	}
	defer db.Close()
	sealer, err := openSealer(cmd.Context(), c, db)
	if err != nil {
		return err
	}
	uses, err := sealer.Status(cmd.Context(), db)
	if err != nil {
		return err
	}
	err = a.print(cmd, uses, func(w io.Writer) {
		if len(uses) == 0 {
			fmt.Fprintln(w, "nothing is sealed yet")
			return
		}
		rows := [][]string{{"KEY", "STATE", "VALUES"}}
		for _, u := range uses {
			rows = append(rows, []string{u.KeyID, sealState(u), strconv.Itoa(u.Values)})
		}
		table(w, rows)
	})
	if err != nil {
		return err
	}
	for _, u := range uses {
		if !u.Have {
			return notFound("the key %s is missing: what it sealed opens only with it", u.KeyID)
		}
	}
	return nil
}

func sealState(u seal.Use) string {
	switch {
	case u.Seals:
		return "seals"
	case !u.Have:
		return "missing"
	case u.Values == 0:
		return "not needed"
	}
	return "opens"
}

func (a *app) sealRotateCommand() *cobra.Command {
	var fresh bool
	cmd := &cobra.Command{
		Use:   "rotate",
		Short: "Seal all stored credentials with the first key",
		Long: `Seals everything in the database anew with the first key of seal.keys, while
daemons run. The old key must stay configured until this has ended and
hsmsigner seal status says that it is not needed.

With --new-key, first makes a new key in the file that seals now (the first of
seal.keys, or seal.key in the data directory) and puts it before the others.
Daemons see it without a restart.`,
		Example: `  hsmsigner seal rotate --new-key
  hsmsigner seal status`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.sealRotate(cmd, fresh) },
	}
	cmd.Flags().BoolVar(&fresh, "new-key", false, "first make a new key in the key file")
	return cmd
}

func (a *app) sealRotate(cmd *cobra.Command, fresh bool) error {
	c, err := a.load(cmd)
	if err != nil {
		return err
	}
	if fresh {
		path, err := sealFile(c)
		if err != nil {
			return err
		}
		if _, err := seal.AddKey(path); err != nil {
			return err
		}
		fmt.Fprintf(cmd.ErrOrStderr(), "made a new key in %s: keep a copy of it\n", path)
	}
	db, err := recordDatabase(cmd.Context(), c, cmd.ErrOrStderr())
	if err != nil {
		return err
	}
	defer db.Close()
	sealer, err := openSealer(cmd.Context(), c, db)
	if err != nil {
		return err
	}
	// First on record, then done: a second run does no harm.
	if err := db.WriteEvent(cmd.Context(), audit.Event{At: time.Now(), Principal: auth.Operator.Name, Kind: "seal-rotate"}); err != nil {
		return err
	}
	done, err := sealer.Reseal(cmd.Context(), db)
	if err != nil {
		return err
	}
	err = a.print(cmd, done, func(w io.Writer) {
		fmt.Fprintf(w, "%s sealed anew; everything that opens is sealed with %s\n", count(done.Values, "value"), done.KeyID)
	})
	for _, f := range done.Failed {
		fmt.Fprintln(cmd.ErrOrStderr(), "not opened: "+f)
	}
	if err == nil && len(done.Failed) > 0 {
		err = fmt.Errorf("%s could not be opened and were left as they are", count(len(done.Failed), "value"))
	}
	return err
}

// sealFile is the key file that seals.
func sealFile(c *config.Config) (string, error) {
	switch {
	case len(c.Seal.Keys) == 0 && c.Database.Set():
		return "", seal.ErrNoKey
	case len(c.Seal.Keys) == 0:
		return filepath.Join(c.Data, seal.DefaultFile), nil
	case c.Seal.Keys[0].File == "":
		return "", fmt.Errorf("--new-key: the first of seal.keys is %s: make the new key there, put it first, and run this without --new-key", c.Seal.Keys[0])
	}
	return c.Seal.Keys[0].File, nil
}
