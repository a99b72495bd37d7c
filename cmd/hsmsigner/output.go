// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
)

// outputFormat is the value of --output.
type outputFormat string

const (
	textOutput outputFormat = "text"
	jsonOutput outputFormat = "json"
)

// Set implements pflag.Value.
func (f *outputFormat) Set(s string) error {
	if s != string(textOutput) && s != string(jsonOutput) {
		return fmt.Errorf("want text or json")
	}
	*f = outputFormat(s)
	return nil
}

func (f *outputFormat) String() string { return string(*f) }

// Type implements pflag.Value.
func (*outputFormat) Type() string { return "format" }

// print writes data as JSON, or lets text write it for people.
func (a *app) print(cmd *cobra.Command, data any, text func(w io.Writer)) error {
	out := cmd.OutOrStdout()
	if a.output != jsonOutput {
		text(out)
		return nil
	}
	encoder := json.NewEncoder(out)
	encoder.SetIndent("", "  ")
	encoder.SetEscapeHTML(false)
	return encoder.Encode(data)
}

// table writes rows in columns; the first row is the heading.
func table(w io.Writer, rows [][]string) {
	columns := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, row := range rows {
		fmt.Fprintln(columns, strings.Join(row, "\t"))
	}
	_ = columns.Flush()
}

// pairs writes names and values below each other; pairs without a value are
// left out.
func pairs(w io.Writer, rows [][2]string) {
	columns := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, row := range rows {
		if row[1] != "" {
			fmt.Fprintf(columns, "%s\t%s\n", row[0], row[1])
		}
	}
	_ = columns.Flush()
}
