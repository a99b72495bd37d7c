// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/hsmsigner/hsmsigner/internal/audit/logbook"
	"github.com/hsmsigner/hsmsigner/internal/platform"
	"github.com/hsmsigner/hsmsigner/internal/store"
)

func (a *app) auditProveCommand() *cobra.Command {
	var source auditSource
	var check string
	cmd := &cobra.Command{
		Use:   "prove [ID]",
		Short: "Show that a record is in the log, or check what shows it",
		Long: `Prints a record with the proof that it is in the audit log under its newest
checkpoint, as JSON: what GET /audit/records/ID/proof answers. It can be given to
somebody who sees nothing else of the log.

With --check, verifies such a proof from a FILE (- for standard input) with
nothing but the log's key, and prints the record. Ends with code 1 if it does not
hold.`,
		Example: `  hsmsigner audit prove 0198c0ffee… > proof.json
  hsmsigner audit prove --check proof.json --key signer.example.org/treasury+1a2b3c4d+AX…`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			switch {
			case check != "" && len(args) == 0:
				return a.auditCheck(cmd, &source, check)
			case check == "" && len(args) == 1:
				return a.auditProve(cmd, &source, args[0])
			}
			return &usageError{errors.New("want the id of a record, or --check FILE"), cmd.CommandPath()}
		},
	}
	source.flags(cmd)
	cmd.Flags().StringVar(&check, "check", "", "`file` with a proof to verify")
	_ = cmd.MarkFlagFilename("check")
	return cmd
}

func (a *app) auditProve(cmd *cobra.Command, source *auditSource, id string) error {
	db, v, err := source.open(a, cmd)
	if err != nil {
		return err
	}
	defer db.Close()
	r, err := db.AuditRecord(cmd.Context(), id)
	if errors.Is(err, store.ErrNotFound) {
		return notFound("there is no audit record %q: hsmsigner audit list shows them", id)
	}
	if err != nil {
		return err
	}
	proof, err := logbook.Read(db, v).Prove(cmd.Context(), r.Kind(), id)
	if errors.Is(err, store.ErrNotFound) {
		return notFound("record %s is not in the log yet: a running daemon takes it in within a minute", id)
	}
	if err != nil {
		return err
	}
	encoder := json.NewEncoder(cmd.OutOrStdout())
	encoder.SetIndent("", "  ")
	encoder.SetEscapeHTML(false)
	return encoder.Encode(platform.ViewProof(proof, v.String()))
}

// auditCheck verifies a proof that somebody has given.
func (a *app) auditCheck(cmd *cobra.Command, source *auditSource, name string) error {
	v, given, err := source.verifier(cmd)
	if err != nil {
		return err
	}
	if !given {
		return &usageError{errors.New("--check: want the log's key, with --key: the one in the proof is its author's word"), cmd.CommandPath()}
	}
	file := cmd.InOrStdin()
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return fmt.Errorf("--check: %w", err)
		}
		defer f.Close()
		file = f
	}
	proof, err := readProof(file, v)
	if err == nil {
		err = proof.Check(v)
	}
	if err != nil {
		return fmt.Errorf("the proof does not hold: %w", err)
	}
	return a.print(cmd, json.RawMessage(proof.Line), func(w io.Writer) {
		fmt.Fprintf(w, "%s\n", fieldText(string(proof.Line)))
		fmt.Fprintf(cmd.ErrOrStderr(), "this is record %d of the log %s, under its checkpoint of %d records\n", proof.Index, proof.Checkpoint.Origin, proof.Checkpoint.Size)
	})
}

// maxProof bounds a proof file.
const maxProof = 1 << 20

func readProof(file io.Reader, v logbook.Verifier) (proof logbook.Proof, err error) {
	var shown platform.AuditProof
	decoder := json.NewDecoder(io.LimitReader(file, maxProof))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&shown); err != nil {
		return proof, fmt.Errorf("it is no proof: %w", err)
	}
	proof.Line, proof.Index = []byte(shown.Record), shown.Index
	for _, text := range shown.Hashes {
		hash, err := tlog.ParseHash(text)
		if err != nil {
			return proof, fmt.Errorf("it is no proof: a hash cannot be read: %w", err)
		}
		proof.Hashes = append(proof.Hashes, hash)
	}
	proof.Checkpoint, err = logbook.ParseCheckpoint([]byte(shown.Checkpoint), v)
	return proof, err
}

func (a *app) auditExportCommand() *cobra.Command {
	var source auditSource
	var from, to int64
	var file string
	cmd := &cobra.Command{
		Use:   "export",
		Short: "Write the records as JSON lines",
		Long: `Writes the records of the audit log as JSON lines, in the order of the log, each
as it was hashed, and between them lines of kind export, seal and checkpoint, by
which hsmsigner audit verify FILE judges the file without the database.`,
		Example: `  hsmsigner audit export --file records.jsonl
  hsmsigner audit export | jq 'select(.kind == "intent" and .wallet == "treasury")'`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if from < 0 || to < 0 || to > 0 && to < from {
				return &usageError{errors.New("--from and --to: want places in the log, the first not above the last"), cmd.CommandPath()}
			}
			return a.auditExport(cmd, &source, file, from, to)
		},
	}
	source.flags(cmd)
	cmd.Flags().Int64Var(&from, "from", 0, "place of the first record")
	cmd.Flags().Int64Var(&to, "to", 0, "place behind the last one; 0 for the end")
	cmd.Flags().StringVar(&file, "file", "", "`file` to write; default standard output")
	_ = cmd.MarkFlagFilename("file")
	return cmd
}

func (a *app) auditExport(cmd *cobra.Command, source *auditSource, file string, from, to int64) error {
	db, v, err := source.open(a, cmd)
	if err != nil {
		return err
	}
	defer db.Close()
	if file == "" {
		return logbook.Read(db, v).Export(cmd.Context(), cmd.OutOrStdout(), from, to)
	}
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("--file: %w", err)
	}
	err = logbook.Read(db, v).Export(cmd.Context(), f, from, to)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}
