// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/hsmsigner/hsmsigner/internal/audit/logbook"
	"github.com/hsmsigner/hsmsigner/internal/audit/witness"
)

func (a *app) auditVerifyCommand() *cobra.Command {
	var source auditSource
	var kept []string
	limit := 0
	cmd := &cobra.Command{
		Use:   "verify [FILE]",
		Short: "Find out whether the audit trail was altered",
		Long: `Looks at every record of the audit trail, at the log's tree and at all of its
checkpoints, in the database or in a FILE that hsmsigner audit export has
written, and names the first record that is not as it was logged: edited,
deleted, moved, forged or cut off. It believes nothing but the log's key.

Give the key with --key as you noted it when the log was new, and checkpoints
that were kept elsewhere with --checkpoint: a file of audit.witnesses, or one
checkpoint. Without one, nobody can tell whether the newest records were cut off.

Intents without an outcome are reported apart: the signer was stopped between the
two, and nothing was signed, or was signed and not used. Ends with code 1 if
anything was altered.`,
		Example: `  hsmsigner audit verify --key signer.example.org/treasury+1a2b3c4d+AX… --checkpoint /mnt/worm/checkpoints
  hsmsigner audit verify --key audit.pub records.jsonl`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if limit < 1 {
				return &usageError{errors.New("--limit: want at least 1"), cmd.CommandPath()}
			}
			cfg := logbook.VerifyConfig{Limit: limit}
			var err error
			if cfg.Kept, err = keptCheckpoints(cmd, kept); err != nil {
				return err
			}
			return a.auditVerify(cmd, &source, cfg, args)
		},
	}
	source.flags(cmd)
	cmd.Flags().StringArrayVar(&kept, "checkpoint", nil, "`file` with checkpoints that were kept elsewhere; may be repeated")
	cmd.Flags().IntVar(&limit, "limit", 20, "how many problems are shown at most")
	_ = cmd.MarkFlagFilename("checkpoint")
	return cmd
}

// keptCheckpoints reads the files of --checkpoint.
func keptCheckpoints(cmd *cobra.Command, files []string) (all [][]byte, err error) {
	for _, name := range files {
		f, err := os.Open(name)
		if err != nil {
			return nil, fmt.Errorf("--checkpoint: %w", err)
		}
		signed, strange, err := witness.ReadFile(f)
		if err = errors.Join(err, f.Close()); err != nil {
			return nil, fmt.Errorf("--checkpoint: %s: %w", name, err)
		}
		if strange > 0 {
			fmt.Fprintf(cmd.ErrOrStderr(), "warning: %s: %s passed over that hold no checkpoint\n", name, count(strange, "line"))
		}
		if len(signed) == 0 {
			return nil, fmt.Errorf("--checkpoint: %s holds no checkpoint", name)
		}
		for _, one := range signed {
			all = append(all, []byte(one))
		}
	}
	return all, nil
}

func (a *app) auditVerify(cmd *cobra.Command, source *auditSource, cfg logbook.VerifyConfig, args []string) error {
	var report logbook.Report
	err := error(nil)
	if len(args) == 1 {
		report, err = a.auditVerifyFile(cmd, source, cfg, args[0])
	} else {
		report, err = a.auditVerifyDatabase(cmd, source, cfg)
	}
	if err != nil {
		return err
	}
	if source.key == "" {
		fmt.Fprintln(cmd.ErrOrStderr(), "warning: the key is that of the config, or in the database that it is to judge: give the one that you noted, with --key")
	}
	if len(cfg.Kept) == 0 {
		fmt.Fprintln(cmd.ErrOrStderr(), "warning: no checkpoint was given that was kept elsewhere, so it is not known whether the newest records were cut off: see --checkpoint")
	}
	if report.Start > 0 {
		fmt.Fprintf(cmd.ErrOrStderr(), "warning: the file begins with record %d: the %s before it were not looked at, and of them nothing is known but the hashes that the file gives%s\n",
			report.Start, count(int(report.Start), "record"), edgeText(report))
	}
	if err := a.print(cmd, viewReport(report), func(w io.Writer) { reportText(w, report) }); err != nil {
		return err
	}
	if first, bad := report.First(); bad || !report.OK() {
		return fmt.Errorf("the audit trail was altered: %s; the first: %s", count(int(report.Bad), "problem"), problemText(first))
	}
	return nil
}

func (a *app) auditVerifyDatabase(cmd *cobra.Command, source *auditSource, cfg logbook.VerifyConfig) (logbook.Report, error) {
	db, v, err := source.open(a, cmd)
	if err != nil {
		return logbook.Report{}, err
	}
	defer db.Close()
	return logbook.Read(db, v).Verify(cmd.Context(), cfg)
}

func (a *app) auditVerifyFile(cmd *cobra.Command, source *auditSource, cfg logbook.VerifyConfig, name string) (logbook.Report, error) {
	v, given, err := source.verifier(cmd)
	if err == nil && !given {
		db, own, err := source.open(a, cmd)
		if err != nil {
			return logbook.Report{}, err
		}
		v = own
		if err := db.Close(); err != nil {
			return logbook.Report{}, err
		}
	}
	if err != nil {
		return logbook.Report{}, err
	}
	file := cmd.InOrStdin()
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return logbook.Report{}, err
		}
		defer f.Close()
		file = f
	}
	return logbook.VerifyExport(cmd.Context(), file, v, cfg)
}

// edgeText says who vouches for what stands before the first record of a file.
func edgeText(r logbook.Report) string {
	if r.Kept > 0 {
		return ", which a checkpoint that was kept elsewhere agrees with"
	}
	return ": only a checkpoint that was kept elsewhere shows that they are still those of this log (--checkpoint)"
}

// shownReport is a report as JSON.
type shownReport struct {
	OK         bool           `json:"ok"`
	Log        string         `json:"log"`
	Start      int64          `json:"first_record"`
	Records    int64          `json:"records"`
	Rows       int64          `json:"rows"`
	Checkpoint int64          `json:"checkpoint_size"`
	SignedAt   time.Time      `json:"checkpoint_at,omitzero"`
	Kept       int            `json:"kept_checkpoints"`
	Pruned     int64          `json:"pruned"`
	Waiting    int64          `json:"waiting"`
	Unanswered int64          `json:"intents_without_outcome"`
	Unknown    []string       `json:"intents_without_outcome_ids"`
	Bad        int64          `json:"problems"`
	Problems   []shownProblem `json:"first_problems"`
}

type shownProblem struct {
	Index int64  `json:"index"` // -1: no place in the log
	What  string `json:"what"`
	Kind  string `json:"kind,omitempty"`
	ID    string `json:"id,omitempty"`
	Size  int64  `json:"checkpoint_size,omitempty"`
	Why   string `json:"why"`
}

func viewReport(r logbook.Report) shownReport {
	v := shownReport{
		OK: r.OK(), Log: r.Origin, Start: r.Start, Records: r.Records, Rows: r.Rows, Checkpoint: r.Latest.Size, SignedAt: r.Latest.At.UTC(), Kept: r.Kept, Pruned: r.Pruned,
		Waiting: r.Waiting, Unanswered: r.Unanswered, Unknown: append([]string{}, r.UnansweredIDs...), Bad: r.Bad, Problems: []shownProblem{},
	}
	if r.Latest.At.IsZero() {
		v.SignedAt = time.Time{}
	}
	for _, p := range r.Problems {
		one := shownProblem{Index: p.Index, What: string(p.What), ID: p.ID, Size: p.Size, Why: p.Why}
		if p.Kind != 0 {
			one.Kind = p.Kind.String()
		}
		v.Problems = append(v.Problems, one)
	}
	return v
}

func reportText(w io.Writer, r logbook.Report) {
	rows := [][2]string{{"log", fieldText(r.Origin)}, {"records", fmt.Sprint(r.Records)}}
	if r.Latest.Size > 0 {
		checkpoint := fmt.Sprintf("of %d records", r.Latest.Size)
		if !r.Latest.At.IsZero() {
			checkpoint += ", signed " + r.Latest.At.UTC().Format(time.RFC3339)
		}
		rows = append(rows, [2]string{"checkpoint", checkpoint})
	}
	for _, n := range []struct {
		name string
		n    int64
		text string
	}{
		{"kept elsewhere", int64(r.Kept), "checkpoints that the log goes on from"},
		{"pruned", r.Pruned, "records removed because their time was up, which is on record"},
		{"waiting", r.Waiting, "records that are not in the log yet"},
		{"unanswered", r.Unanswered, "intents without an outcome: the signer was stopped in between"},
	} {
		if n.n > 0 {
			rows = append(rows, [2]string{n.name, fmt.Sprintf("%d %s", n.n, n.text)})
		}
	}
	pairs(w, rows)
	for _, id := range r.UnansweredIDs {
		fmt.Fprintf(w, "  intent %s has no outcome\n", fieldText(id))
	}
	for _, p := range r.Problems {
		fmt.Fprintln(w, problemText(p))
	}
	if more := r.Bad - int64(len(r.Problems)); more > 0 {
		fmt.Fprintf(w, "and %d more\n", more)
	}
	if r.OK() {
		fmt.Fprintln(w, "nothing was altered")
	}
}

// problemText says what is wrong, on one line. What stands in a database that may
// be an attacker's does not steer a terminal.
func problemText(p logbook.Problem) string {
	where := "the log"
	switch {
	case p.Index >= 0:
		where = fmt.Sprintf("record %d", p.Index)
	case p.Size > 0:
		where = fmt.Sprintf("the checkpoint of %d records", p.Size)
	}
	if p.ID != "" {
		where += fmt.Sprintf(" (%s %s)", p.Kind, fieldText(p.ID))
	}
	return fmt.Sprintf("%s: %s: %s", where, p.What, fieldText(p.Why))
}
