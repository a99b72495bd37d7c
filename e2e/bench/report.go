// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"text/tabwriter"
	"time"
)

// Report is everything that one run has measured.
type Report struct {
	Machine     string   `json:"machine"`
	Costs       Costs    `json:"costs"`
	PassThrough []Sample `json:"pass_through"` // the first is the node directly
	Send        []Sample `json:"send"`         // the first is the node directly
}

func (r *Report) write(out io.Writer) {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(out, "\n%s\n", r.Machine)
	fmt.Fprintf(out, "sign and recover on one core: %s (%.0f/s); append 4 KiB and fdatasync: %s (%.0f/s)\n\n",
		r.Costs.SignRecover.Round(100*time.Nanosecond), rate(r.Costs.SignRecover), r.Costs.Sync.Round(time.Microsecond), rate(r.Costs.Sync))
	table(w, fmt.Sprintf("eth_blockNumber, %d connections", readers), r.PassThrough)
	table(w, fmt.Sprintf("one address, %d connections", senders), r.Send)
	w.Flush()
}

func table(w io.Writer, title string, samples []Sample) {
	if len(samples) == 0 {
		return
	}
	fmt.Fprintf(w, "%s\tper second\tp50\tp99\tratio\tdaemon's CPU\t\n", title)
	for _, s := range samples {
		cpu := ""
		if s.CPU > 0 {
			cpu = short(s.CPU)
		}
		fmt.Fprintf(w, "%s\t%.0f\t%s\t%s\t%.2f\t%s\t\n", s.Name, s.PerSecond, short(s.P50), short(s.P99), s.PerSecond/samples[0].PerSecond, cpu)
	}
	fmt.Fprintln(w)
}

func short(d time.Duration) string { return fmt.Sprintf("%.2f ms", float64(d)/1e6) }

func rate(d time.Duration) float64 { return float64(time.Second) / float64(d) }

func (r *Report) save(path string) error {
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(text, '\n'), 0o644)
}
