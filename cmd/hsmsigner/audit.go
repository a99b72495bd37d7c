// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/hsmsigner/hsmsigner/internal/audit/logbook"
	"github.com/hsmsigner/hsmsigner/internal/config"
	"github.com/hsmsigner/hsmsigner/internal/store"
)

func (a *app) auditCommand() *cobra.Command {
	c := group("audit", "Verify, prove and export the audit trail",
		a.auditListCommand(), a.auditVerifyCommand(), a.auditProveCommand(), a.auditExportCommand(),
		a.auditCheckpointCommand(), a.auditKeyCommand())
	c.Long = `Every management change, sign-in, intent to sign with its verdict, and outcome is
a record of an append-only log, whose states are signed. These commands read the
database, whether the daemon runs or not, or what was exported from it.`
	return c
}

// auditSource is where a command reads the log, and by which key.
type auditSource struct {
	key string // --key
}

func (s *auditSource) flags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&s.key, "key", "", "the log's public `key`, or a file with it: as hsmsigner audit key printed it when the log was new; default that of the config, or in the database")
}

// verifier is the key that the log is held against, if one was given.
func (s *auditSource) verifier(cmd *cobra.Command) (logbook.Verifier, bool, error) {
	if s.key == "" {
		return logbook.Verifier{}, false, nil
	}
	text := s.key
	if !strings.Contains(text, "+") {
		data, err := os.ReadFile(text)
		if err != nil {
			return logbook.Verifier{}, false, fmt.Errorf("--key: %w", err)
		}
		text = string(data)
	}
	v, err := logbook.ParseVerifier(text)
	if err != nil {
		return v, false, &usageError{fmt.Errorf("--key: %w", err), cmd.CommandPath()}
	}
	return v, true, nil
}

// open opens the database for reading, and the log in it. It is closed by close.
func (s *auditSource) open(a *app, cmd *cobra.Command) (db *store.DB, v logbook.Verifier, err error) {
	v, given, err := s.verifier(cmd)
	if err != nil {
		return nil, v, err
	}
	c, err := a.load(cmd)
	if err != nil {
		return nil, v, err
	}
	db, err = readDatabase(cmd.Context(), c)
	if err != nil || given {
		return db, v, err
	}
	key, err := ownAuditKey(cmd, c, db)
	if err != nil {
		return nil, v, errors.Join(err, db.Close())
	}
	return db, key.Verifier(), nil
}

// ownAuditKey is the key that the config or the database has.
func ownAuditKey(cmd *cobra.Command, c *config.Config, db *store.DB) (*logbook.Key, error) {
	// What it warns of, the daemon says at each start.
	key, err := auditKey(cmd.Context(), c, db, slog.New(slog.DiscardHandler))
	if errors.Is(err, store.ErrReadOnly) {
		return nil, notFound("there is no audit log yet: the daemon makes it when it first starts")
	}
	return key, err
}

func (a *app) auditKeyCommand() *cobra.Command {
	var file, name string
	cmd := &cobra.Command{
		Use:   "key",
		Short: "Show the log's public key, or make a new key",
		Long: `Prints the public key of the audit log, NAME+HASH+KEY. Note it when the log is
new, somewhere else: whoever could alter the database must not be able to tell
you another one. It goes into the configuration of witnesses, too.

With --new, makes a key for a new log in a file, for audit.key, and prints its
public key. The file is the one thing that an attacker must not get: who has it
and the database can write another history, up to what was kept elsewhere.`,
		Example: `  hsmsigner audit key
  hsmsigner audit key --new /secure/audit.key --name signer.example.org/treasury`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if file != "" {
				return a.newAuditKeyFile(cmd, file, name)
			}
			if name != "" {
				return &usageError{errors.New("--name is for a new key: want --new FILE, too"), cmd.CommandPath()}
			}
			return a.auditShowKey(cmd)
		},
	}
	cmd.Flags().StringVar(&file, "new", "", "make a key in this `file`")
	cmd.Flags().StringVar(&name, "name", "", "the new log's `name`, one that no other log has, like signer.example.org/treasury; default a random one")
	return cmd
}

// shownAuditKey is the public half of a key.
type shownAuditKey struct {
	Log string `json:"log"`
	Key string `json:"key"`
}

func (a *app) printAuditKey(cmd *cobra.Command, key *logbook.Key) error {
	return a.print(cmd, shownAuditKey{key.Origin(), key.Verifier().String()}, func(w io.Writer) { fmt.Fprintln(w, key.Verifier()) })
}

func (a *app) newAuditKeyFile(cmd *cobra.Command, file, name string) error {
	key, err := newAuditKey(&config.Config{Audit: config.Audit{Name: name}})
	if err != nil {
		return &usageError{fmt.Errorf("--name: %w", err), cmd.CommandPath()}
	}
	// A key that is there already is never written over: with it, the log would end.
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("--new: %w", err)
	}
	_, err = f.WriteString(key.Text() + "\n")
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("--new: %w", err)
	}
	return a.printAuditKey(cmd, key)
}

func (a *app) auditShowKey(cmd *cobra.Command) error {
	c, err := a.load(cmd)
	if err != nil {
		return err
	}
	db, err := readDatabase(cmd.Context(), c)
	if err != nil {
		return err
	}
	defer db.Close()
	key, err := ownAuditKey(cmd, c, db)
	if err != nil {
		return err
	}
	return a.printAuditKey(cmd, key)
}

func (a *app) auditCheckpointCommand() *cobra.Command {
	var source auditSource
	cmd := &cobra.Command{
		Use:   "checkpoint",
		Short: "Print the newest signed state of the log",
		Long: `Prints the newest checkpoint of the audit log, a signed note. Keep some of them
elsewhere, or let audit.witnesses do that: hsmsigner audit verify --checkpoint
then finds out whether the log goes on from them. How far each witness and
syslog server is, goes to standard error.`,
		Example: `  hsmsigner audit checkpoint > /mnt/worm/$(date +%F).checkpoint`,
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return a.auditCheckpoint(cmd, &source) },
	}
	source.flags(cmd)
	return cmd
}

// shownCheckpoint is the newest checkpoint and who has it.
type shownCheckpoint struct {
	Log        string         `json:"log"`
	Size       int64          `json:"size"`
	Root       string         `json:"root"`
	At         time.Time      `json:"at"`
	Checkpoint string         `json:"checkpoint"`
	Witnesses  []shownWitness `json:"witnesses"`
}

type shownWitness struct {
	Name  string    `json:"name"`
	Size  int64     `json:"size"`
	At    time.Time `json:"at"`
	Note  string    `json:"note,omitempty"`
	Error string    `json:"error,omitempty"`
}

func (a *app) auditCheckpoint(cmd *cobra.Command, source *auditSource) error {
	db, v, err := source.open(a, cmd)
	if err != nil {
		return err
	}
	defer db.Close()
	c, err := logbook.Read(db, v).Checkpoint(cmd.Context())
	if errors.Is(err, store.ErrNotFound) {
		return notFound("the audit log has no records yet")
	}
	if err != nil {
		return err
	}
	rows, err := db.AuditWitnesses(cmd.Context())
	if err != nil {
		return err
	}
	shown := shownCheckpoint{c.Origin, c.Size, c.Root.String(), c.At.UTC(), string(c.Note), []shownWitness{}}
	for _, r := range rows {
		shown.Witnesses = append(shown.Witnesses, shownWitness{r.Name, r.Size, r.At.UTC(), r.Note, r.Error})
	}
	for _, w := range shown.Witnesses {
		state := "is well"
		if w.Error != "" {
			state = fieldText(w.Error)
		}
		fmt.Fprintf(cmd.ErrOrStderr(), "%s has %d of %d records since %s: %s\n", w.Name, w.Size, c.Size, w.At.Format(time.RFC3339), state)
	}
	return a.print(cmd, shown, func(w io.Writer) { fmt.Fprint(w, shown.Checkpoint) })
}
