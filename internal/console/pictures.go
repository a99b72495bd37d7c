// SPDX-License-Identifier: Apache-2.0

package console

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/hsmsigner/hsmsigner/internal/console/chart"
	"github.com/hsmsigner/hsmsigner/internal/history"
	"github.com/hsmsigner/hsmsigner/internal/platform"
)

// pictures is what some wallets have done, to be drawn.
type pictures struct {
	Day        bool // the last day; else the last hour
	Signatures chart.Chart
	Latency    chart.Chart
	Errors     chart.Chart
	Blocks     chart.Chart
	Stages     []stageFigures
	Kinds      []kindFigures
	Total      int // signatures in the whole span
	Quiet      bool
}

// stageFigures is how long a stage took.
type stageFigures struct {
	Name, Text string
	P50, P99   string
	Count      int
}

// kindFigures is how often something went wrong.
type kindFigures struct {
	Kind  string
	Count int
}

// runName is how a service is called where it runs.
func runName(s *platform.Service) string {
	if s.ReadOnly {
		return s.Name
	}
	return s.ID
}

// pictures draws what the wallets have done. nil: nothing is remembered.
func (v *visit) pictures(services ...*platform.Service) *pictures {
	if v.c.cfg.Past == nil || len(services) == 0 {
		return nil
	}
	names := make([]string, len(services))
	for i, s := range services {
		names[i] = runName(s)
	}
	span, day := history.Hour(), v.r.URL.Query().Get("span") == "day"
	if day {
		span = history.Day()
	}
	points, step := v.c.cfg.Past.Of(span, names...), span.Step
	if !day {
		// Ten seconds are too little for a line that one can read.
		points, step = together(points, 6), 6*step
	}
	return draw(points, step, day)
}

// together sums up so many neighbouring points at a time.
func together(points []history.Point, n int) []history.Point {
	var out []history.Point
	for i := 0; i < len(points); i += n {
		sum := points[i]
		for _, p := range points[i+1 : min(i+n, len(points))] {
			sum = sum.Plus(p)
		}
		out = append(out, sum)
	}
	return out
}

func draw(points []history.Point, step time.Duration, day bool) *pictures {
	p := &pictures{Day: day, Quiet: true}
	series := func(f func(history.Point) float64) []float64 {
		out := make([]float64, len(points))
		for i, at := range points {
			out[i] = f(at)
		}
		return out
	}
	perSecond := func(n int) float64 { return float64(n) / step.Seconds() }
	base := chart.Chart{From: points[0].At, Step: step}
	p.Signatures, p.Latency, p.Errors, p.Blocks = base, base, base, base

	p.Signatures.Title, p.Signatures.Text, p.Signatures.Area = "Signatures per second", rateText, true
	p.Signatures.Series = []chart.Series{{Name: "signatures", Values: series(func(h history.Point) float64 { return perSecond(h.Signatures) })}}

	p.Latency.Title, p.Latency.Text = "How long each stage took for all but one in a hundred", func(s float64) string { return durationText(time.Duration(s * float64(time.Second))) }
	p.Latency.Least = 0.001 // seconds: from a signature in memory to a block in minutes
	whole := map[string]history.Latencies{}
	for _, stage := range history.Stages() {
		p.Latency.Series = append(p.Latency.Series, chart.Series{Name: stage, Values: series(func(h history.Point) float64 {
			l, ok := h.Stages[stage]
			if !ok {
				return math.NaN()
			}
			return l.Quantile(0.99).Seconds()
		})})
	}
	kinds := map[string]int{}
	for _, at := range points {
		p.Total += at.Signatures
		for stage, l := range at.Stages {
			whole[stage] = whole[stage].Plus(l)
		}
		for kind, n := range at.Errors {
			kinds[kind] += n
		}
		if at.Throttled > 0 {
			kinds["throttled by the key backend"] += at.Throttled
		}
		p.Quiet = p.Quiet && at.Signatures == 0 && len(at.Errors) == 0 && at.Throttled == 0
	}
	texts := map[string]string{history.Accept: "from the request to the stored row", history.Sign: "the key backend, and the check of its signature", history.Send: "until a node has taken it", history.Mine: "until it is in a block"}
	for _, stage := range history.Stages() {
		l := whole[stage]
		p.Stages = append(p.Stages, stageFigures{stage, texts[stage], durationText(l.Quantile(0.5)), durationText(l.Quantile(0.99)), l.Count})
	}
	for kind, n := range kinds {
		p.Kinds = append(p.Kinds, kindFigures{kind, n})
	}
	slices.SortFunc(p.Kinds, func(a, b kindFigures) int { return cmp.Or(b.Count-a.Count, cmp.Compare(a.Kind, b.Kind)) })

	p.Errors.Title, p.Errors.Text = "What went wrong", countText
	p.Errors.Series = []chart.Series{
		{Name: "errors", Values: series(func(h history.Point) float64 {
			sum := 0
			for _, n := range h.Errors {
				sum += n
			}
			return float64(sum)
		})},
		{Name: "throttled", Values: series(func(h history.Point) float64 { return float64(h.Throttled) })},
	}
	p.Blocks.Title, p.Blocks.Text = "Blocks that the nodes showed", countText
	p.Blocks.Series = []chart.Series{{Name: "blocks", Values: series(func(h history.Point) float64 { return float64(h.Blocks) })}}
	return p
}

func rateText(v float64) string {
	switch {
	case v == 0:
		return "0"
	case v < 0.1:
		return fmt.Sprintf("%.2f", v)
	case v < 10:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.0f", v)
}

func countText(v float64) string {
	if v == math.Trunc(v) {
		return grouped(fmt.Sprintf("%.0f", v))
	}
	return fmt.Sprintf("%.1f", v)
}
