// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/hsmsigner/hsmsigner/internal/document"
)

func (a *app) documentVerifyCommand() *cobra.Command {
	var key, address string
	cmd := &cobra.Command{
		Use:   "verify FILE BUNDLE",
		Short: "Check a signature on a document, asking nobody",
		Long: `Checks a bundle against the document, the address that has to have signed, and
the key of the audit log, and says of each part whether it holds. It needs no
daemon, no config and no network. The exit code is 0 only if every part holds.`,
		Example: "  hsmsigner document verify --key signer.example.org/audit+3a1b9628+Af0X… --address 0x… contract.pdf contract.pdf.signature.json",
		Args:    cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.documentVerify(cmd, key, address, args[0], args[1])
		},
	}
	cmd.Flags().StringVar(&key, "key", "", "the verifier `key` of the audit log, or a file with it")
	cmd.Flags().StringVar(&address, "address", "", "the `address` that has to have signed")
	return cmd
}

// documentReport is what document verify shows.
type documentReport struct {
	Valid    bool               `json:"valid"`
	Findings []document.Finding `json:"findings"`
	Manifest json.RawMessage    `json:"manifest,omitempty"`
}

func (a *app) documentVerify(cmd *cobra.Command, key, address, path, bundle string) error {
	var against document.Against
	signer, err := addressFlag(cmd, "address", address)
	if err != nil {
		return err
	}
	if against.LogKey, err = logKey(cmd, key); err != nil {
		return err
	}
	d, err := hashFile(path)
	if err != nil {
		return err
	}
	against.Signer, against.Document = &signer, &d
	text, err := readBundle(bundle)
	if err != nil {
		return err
	}
	report := document.Verify(text, against)
	shown := documentReport{Valid: report.Complete, Findings: report.Findings}
	if report.Manifest != nil {
		shown.Manifest = report.Manifest.Bytes()
	}
	if err := a.print(cmd, shown, func(w io.Writer) { writeReport(w, report) }); err != nil {
		return err
	}
	if !report.Complete {
		return errors.New("the signature does not hold")
	}
	return nil
}

func readBundle(path string) ([]byte, error) {
	file, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, notFound("there is no file %s", path)
	}
	if err != nil {
		return nil, err
	}
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, maxBundle+1))
	if err == nil && len(text) > maxBundle {
		err = fmt.Errorf("%s has more than %d bytes: it is no bundle", path, maxBundle)
	}
	return text, err
}

func writeReport(w io.Writer, r document.Report) {
	rows := [][]string{{"PART", "RESULT", "WHY"}}
	for _, f := range r.Findings {
		rows = append(rows, []string{f.Part, string(f.Result), fieldText(f.Why)})
	}
	table(w, rows)
	m := r.Manifest
	if m == nil || !r.Complete {
		return
	}
	fmt.Fprintln(w)
	pairs(w, [][2]string{
		{"document", fieldText(m.Name)},
		{"media type", m.MediaType},
		{"size", fmt.Sprint(m.Size)},
		{"sha256", fmt.Sprintf("%x", m.SHA256)},
		{"signed by", m.Signer.Hex()},
		{"wallet", fieldText(m.Wallet)},
		{"at", m.Time.Format(time.RFC3339Nano)},
	})
}
