// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strconv"
	"text/tabwriter"
	"time"
)

// Report is everything that one run has measured.
type Report struct {
	Machine string    `json:"machine"`
	At      time.Time `json:"at"`
	Folder  string    `json:"folder"` // of the databases; Costs.Sync is that of its disk
	Costs   Costs     `json:"costs"`
	Parts   []*Part   `json:"parts"`
}

func (r *Report) head(out io.Writer) {
	fmt.Fprintf(out, "\n%s\n", r.Machine)
	fmt.Fprintf(out, "one core's sign+recover: %.1f µs, %.0f/s (spread %.0f %%; %.1f µs while all cores do it)\n",
		us(r.Costs.SignRecover), rate(r.Costs.SignRecover), 100*r.Costs.SignSpread, us(r.Costs.SignBusy))
	fmt.Fprintf(out, "append 4 KiB and fdatasync in %s: %s (p99 %s)\n", r.Folder, short(r.Costs.Sync), short(r.Costs.SyncP99))
}

// write prints the part as a table.
func (p *Part) write(out io.Writer) {
	fmt.Fprintf(out, "\n%s: %s\n", p.Name, p.Title)
	if len(p.Samples) > 0 {
		w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
		fmt.Fprintln(w, "\tper second\tspread\tp50\tp99\tCPU µs: daemon\tclient\tnode\tothers\t")
		for _, s := range p.Samples {
			speed, spread, others := "", "", ""
			if len(s.Rounds) > 0 {
				speed, spread, others = fmt.Sprintf("%.0f", s.PerSecond), percent(s.Spread), percent(s.CPU.Others)
			}
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t\n", s.Name, speed, spread, short(s.P50), short(s.P99),
				cpu(s.CPU.Daemon), cpu(s.CPU.Client), cpu(s.CPU.Node), others)
		}
		w.Flush()
	}
	for _, n := range p.Notes {
		fmt.Fprintf(out, "  %s\n", n)
	}
	for _, g := range p.Goals {
		met, bound := "met", fmt.Sprintf("at most %s", number(g.Most))
		if g.Least != 0 {
			bound = fmt.Sprintf("at least %s", number(g.Least))
		}
		if !g.Met {
			met = "NOT MET"
		}
		unit := g.Unit
		if unit != "" {
			unit = " " + unit
		}
		fmt.Fprintf(out, "  %s%s %s: %s%s, %s\n", number(g.Got), unit, g.What, bound, unit, met)
	}
}

func number(x float64) string {
	if x >= 100 {
		return strconv.FormatFloat(x, 'f', 0, 64)
	}
	return strconv.FormatFloat(x, 'f', 2, 64)
}

func percent(x float64) string { return fmt.Sprintf("%.0f %%", 100*x) }

func cpu(d time.Duration) string {
	if d == 0 {
		return ""
	}
	return fmt.Sprintf("%.0f", us(d))
}

func us(d time.Duration) float64 { return float64(d) / 1e3 }

func short(d time.Duration) string { return fmt.Sprintf("%.2f ms", float64(d)/1e6) }

func rate(d time.Duration) float64 { return float64(time.Second) / float64(d) }

func (r *Report) save(path string) error {
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(text, '\n'), 0o644)
}
