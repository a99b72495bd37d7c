// SPDX-License-Identifier: Apache-2.0

package chart

import (
	"encoding/xml"
	"fmt"
	"io"
	"math"
	"strings"
	"testing"
	"time"
)

func whole(v float64) string { return fmt.Sprintf("%g/s", v) }

func TestPictureIsXMLAndSaysWhatItShows(t *testing.T) {
	c := Chart{
		Title: `Signatures <b>&"`, Step: 10 * time.Second, Text: whole, Area: true,
		Series: []Series{{"good", []float64{1, math.NaN(), 3, 7.500}}, {"bad", []float64{0, 0, 0, math.NaN()}}},
	}
	text := string(c.SVG())
	d := xml.NewDecoder(strings.NewReader(text))
	for {
		if _, err := d.Token(); err == io.EOF {
			break
		} else if err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
	}
	for _, want := range []string{"good: now 7.5/s, at most 7.5/s", "bad: now 0/s", "&lt;b&gt;", "8/s", `class="line s1"`} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not in\n%s", want, text)
		}
	}
	if strings.Contains(text, "NaN") || strings.Contains(text, "<b>") {
		t.Error(text)
	}
}

func TestAxisEndsAtANumberOneCanRead(t *testing.T) {
	for v, want := range map[float64]float64{0: 1, 0.003: 0.004, 1: 1, 1.100: 2, 7.500: 8, 42: 50, 99: 100, 101: 200} {
		if got := niceCeiling(v); math.Abs(got-want) > want*1e-9 {
			t.Errorf("%g: %g, want %g", v, got, want)
		}
	}
}

func TestLogarithmicAxisHoldsAllOfIt(t *testing.T) {
	c := Chart{Step: time.Minute, Text: whole, Least: 0.001, Series: []Series{{"a", []float64{0, 0.005, 12}}}}
	most := c.ceiling()
	if most < 12 || most > 1000 {
		t.Error(most)
	}
	for v, want := range map[float64]float64{0: bottom, 0.001: bottom, most: top} {
		if y := c.y(v, most); math.Abs(y-want) > 1e-6 {
			t.Errorf("%g at %g, want %g", v, y, want)
		}
	}
	if text := string(c.SVG()); strings.Contains(text, "NaN") || strings.Contains(text, "Inf") {
		t.Error(text)
	}
}

func TestHowLongAgoIsSaidInMinutesOrHours(t *testing.T) {
	for d, want := range map[time.Duration]string{30 * time.Minute: "30 min", time.Hour: "1 h", 90 * time.Minute: "90 min", 24 * time.Hour: "24 h"} {
		if got := span(d); got != want {
			t.Errorf("%s: %s", d, got)
		}
	}
}

func TestNothingIsDrawnAsNothing(t *testing.T) {
	for _, c := range []Chart{
		{Text: whole},
		{Text: whole, Series: []Series{{"a", nil}}},
		{Text: whole, Series: []Series{{"a", []float64{math.NaN()}}}, Area: true},
	} {
		if !c.Empty() || c.Latest(0) != "–" || c.Peak(0) != "–" || !strings.HasPrefix(string(c.SVG()), "<svg") {
			t.Errorf("%+v", c)
		}
	}
}
