// SPDX-License-Identifier: Apache-2.0

// Package chart draws series of numbers over time as SVG, for pages that run no
// script. Lines are told apart by dashes and by their names at the end, so that
// nobody needs the colours; what is drawn is said in words, too.
package chart

import (
	"fmt"
	"html"
	"html/template"
	"math"
	"strings"
	"time"
)

// Series is one line. A value that is NaN is not known, and leaves a gap.
type Series struct {
	Name   string
	Values []float64
}

// Chart is a picture of some series over the same time.
type Chart struct {
	Title  string // for who does not see it
	From   time.Time
	Step   time.Duration
	Series []Series               // at most four
	Text   func(v float64) string // writes a value
	Area   bool                   // the first series is filled down to zero
	Least  float64                // above zero: the axis is logarithmic, from this value upward
}

// The size of a picture, and where in it the field is, in units of its own.
const (
	width, height = 640.0, 200.0
	left, right   = 58.0, 628.0
	top, bottom   = 12.0, 172.0
)

// SVG draws it. Colours come from the page's style: classes s0 to s3, grid, axis.
func (c Chart) SVG() template.HTML {
	most := c.ceiling()
	var b strings.Builder
	fmt.Fprintf(&b, `<svg class="chart" viewBox="0 0 %g %g" role="img" aria-label="%s" preserveAspectRatio="xMidYMid meet">`, width, height, html.EscapeString(c.spoken()))
	for i := range 5 {
		v := most * float64(i) / 4
		if c.Least > 0 {
			v = c.Least * math.Pow(most/c.Least, float64(i)/4)
		}
		y := c.y(v, most)
		fmt.Fprintf(&b, `<line class="grid" x1="%g" x2="%g" y1="%.1f" y2="%.1f"/>`, left, right, y, y)
		if i%2 == 0 {
			fmt.Fprintf(&b, `<text class="axis" x="%g" y="%.1f" text-anchor="end">%s</text>`, left-8, y+4, html.EscapeString(c.Text(v)))
		}
	}
	c.hours(&b)
	for i, s := range c.Series {
		path := c.path(s.Values, most)
		if path == "" {
			continue
		}
		if c.Area && i == 0 {
			fmt.Fprintf(&b, `<path class="area s0" d="%s"/>`, c.area(s.Values, most))
		}
		fmt.Fprintf(&b, `<path class="line s%d" d="%s"/>`, i%4, path)
	}
	b.WriteString(`</svg>`)
	return template.HTML(b.String()) //nolint:gosec // G203: numbers, and text that is escaped
}

// Latest is the last value of a series that is known, as text.
func (c Chart) Latest(i int) string {
	if i < len(c.Series) {
		for j := len(c.Series[i].Values) - 1; j >= 0; j-- {
			if v := c.Series[i].Values[j]; !math.IsNaN(v) {
				return c.Text(v)
			}
		}
	}
	return "–"
}

// Peak is the greatest value of a series, as text.
func (c Chart) Peak(i int) string {
	most := math.NaN()
	if i < len(c.Series) {
		for _, v := range c.Series[i].Values {
			if !math.IsNaN(v) && !(v <= most) {
				most = v
			}
		}
	}
	if math.IsNaN(most) {
		return "–"
	}
	return c.Text(most)
}

// Empty reports whether nothing but zeros is known.
func (c Chart) Empty() bool { return c.most() == 0 }

func (c Chart) most() float64 {
	most := 0.0
	for _, s := range c.Series {
		for _, v := range s.Values {
			if v > most {
				most = v
			}
		}
	}
	return most
}

// ceiling is where the axis ends. A logarithmic one has four steps of the same
// factor, which is a power of ten or the root of one.
func (c Chart) ceiling() float64 {
	if c.Least <= 0 {
		return niceCeiling(c.most())
	}
	top := c.Least * 100
	for top < c.most() {
		top *= 100
	}
	return top
}

// spoken says the picture in words.
func (c Chart) spoken() string {
	parts := []string{c.Title}
	for i, s := range c.Series {
		parts = append(parts, fmt.Sprintf("%s: now %s, at most %s", s.Name, c.Latest(i), c.Peak(i)))
	}
	return strings.Join(parts, ". ")
}

func (c Chart) x(i int) float64 {
	n := 0
	for _, s := range c.Series {
		n = max(n, len(s.Values))
	}
	if n < 2 {
		return right
	}
	return left + (right-left)*float64(i)/float64(n-1)
}

func (c Chart) y(v, most float64) float64 {
	if c.Least > 0 {
		share := math.Log(max(v, c.Least)/c.Least) / math.Log(most/c.Least)
		return bottom - (bottom-top)*share
	}
	if most <= 0 {
		return bottom
	}
	return bottom - (bottom-top)*v/most
}

func (c Chart) path(values []float64, most float64) string {
	var b strings.Builder
	pen := "M"
	for i, v := range values {
		if math.IsNaN(v) {
			pen = "M"
			continue
		}
		fmt.Fprintf(&b, "%s%.1f %.1f", pen, c.x(i), c.y(v, most))
		if pen == "M" {
			b.WriteString("h0.1") // a point between two gaps is a dot
		}
		pen = "L"
	}
	return b.String()
}

// area closes each piece of the line down to zero.
func (c Chart) area(values []float64, most float64) string {
	var b strings.Builder
	begun := -1
	end := func(i int) {
		if begun >= 0 {
			fmt.Fprintf(&b, "L%.1f %.1fL%.1f %.1fZ", c.x(i), bottom, c.x(begun), bottom)
		}
		begun = -1
	}
	for i, v := range values {
		switch {
		case math.IsNaN(v):
			end(i - 1)
		case begun < 0:
			begun = i
			fmt.Fprintf(&b, "M%.1f %.1f", c.x(i), c.y(v, most))
		default:
			fmt.Fprintf(&b, "L%.1f %.1f", c.x(i), c.y(v, most))
		}
	}
	end(len(values) - 1)
	return b.String()
}

// hours writes when it was, as how long ago: the viewer's zone is not known here.
func (c Chart) hours(b *strings.Builder) {
	n := 0
	for _, s := range c.Series {
		n = max(n, len(s.Values))
	}
	whole := time.Duration(n) * c.Step
	for i, part := range []float64{0, 0.25, 0.5, 0.75, 1} {
		anchor := "middle"
		switch i {
		case 0:
			anchor = "start"
		case 4:
			anchor = "end"
		}
		text := "now"
		if back := whole - time.Duration(float64(whole)*part); back >= time.Minute {
			text = "−" + span(back)
		}
		fmt.Fprintf(b, `<text class="axis" x="%.1f" y="%g" text-anchor="%s">%s</text>`, left+(right-left)*part, bottom+20, anchor, text)
	}
}

// span is a time in hours or minutes.
func span(d time.Duration) string {
	if d >= time.Hour && d%time.Hour == 0 {
		return fmt.Sprintf("%d h", d/time.Hour)
	}
	return fmt.Sprintf("%d min", d/time.Minute)
}

// niceCeiling is the next of 1, 2, 2.5, 5, 10 … from v upward, so that the marks of
// the axis can be read.
func niceCeiling(v float64) float64 {
	if v <= 0 {
		return 1
	}
	unit := math.Pow(10, math.Floor(math.Log10(v)))
	for _, step := range []float64{1, 2, 2.500, 4, 5, 8, 10} {
		if v <= step*unit*(1+1e-9) {
			return step * unit
		}
	}
	return 10 * unit
}
