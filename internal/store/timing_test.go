// SPDX-License-Identifier: Apache-2.0

package store

import (
	"testing"
	"time"
)

func TestTimingIsReadAsItWasWritten(t *testing.T) {
	for text, want := range map[string]Timing{
		"":                  {},
		"512":               {Asked: 512 * time.Microsecond},
		"512,40210,,999999": {Asked: 512 * time.Microsecond, Signed: 40210 * time.Microsecond, Mined: 999999 * time.Microsecond},
		",,7":               {Sent: 7 * time.Microsecond},
		"1,2,3,4":           {time.Microsecond, 2 * time.Microsecond, 3 * time.Microsecond, 4 * time.Microsecond},
	} {
		if got := timingOf(text); got != want {
			t.Errorf("%q is read as %+v, want %+v", text, got, want)
		}
		if got := want.text(); got != text {
			t.Errorf("%+v is written as %q, want %q", want, got, text)
		}
	}
	if got := (Timing{Asked: 1, Signed: -5}).text(); got != "1" {
		t.Errorf("less than a microsecond, and less than nothing: %q", got)
	}
}

// A row must be loaded whatever stands in a column by which nothing is decided.
func TestTimingThatNobodyCanReadIsNotKnown(t *testing.T) {
	for text, want := range map[string]Timing{
		"x":                      {},
		"1,x,3":                  {Asked: time.Microsecond, Sent: 3 * time.Microsecond},
		"-1,0":                   {},
		"9223372036854775807":    {},
		"99999999999999999999,2": {Signed: 2 * time.Microsecond},
		"1,2,3,4,5":              {time.Microsecond, 2 * time.Microsecond, 3 * time.Microsecond, 4 * time.Microsecond},
	} {
		if got := timingOf(text); got != want {
			t.Errorf("%q is read as %+v, want %+v", text, got, want)
		}
	}
}
