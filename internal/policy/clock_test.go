// SPDX-License-Identifier: Apache-2.0

package policy_test

import (
	"testing"
	"time"
)

func TestTimesAreWhatTheClockOnTheWallSays(t *testing.T) {
	zurich, err := time.LoadLocation("Europe/Zurich")
	if err != nil {
		t.Fatal(err)
	}
	office := rules(t, `rules: [{name: it, effect: allow, actions: message, times: [{days: [mon, tue, wed, thu, fri], from: "08:00", to: "17:30", zone: Europe/Zurich}]}]`)
	night := rules(t, `rules: [{name: it, effect: allow, actions: message, times: [{days: [sat], from: "22:00", to: "03:00", zone: Europe/Zurich}, {days: [mon], to: "00:01", zone: UTC}]}]`)
	all := rules(t, `rules: [{name: it, effect: allow, actions: message, times: [{zone: Europe/Zurich}]}]`)
	utc := func(s string) time.Time {
		at, err := time.Parse(time.RFC3339, s)
		if err != nil {
			t.Fatal(err)
		}
		return at
	}
	for s, open := range map[string]bool{
		"2026-01-05T07:00:00Z":           true, // Monday 08:00 in winter
		"2026-01-05T06:59:59Z":           false,
		"2026-01-05T16:29:59.999999999Z": true,
		"2026-01-05T16:30:00Z":           false,
		"2026-07-06T06:00:00Z":           true, // Monday 08:00 in summer
		"2026-07-06T15:30:00Z":           false,
		"2026-01-04T10:00:00Z":           false, // Sunday
	} {
		if got := office.Judge(texts("x"), utc(s)).Effect == allow; got != open {
			t.Errorf("office at %s (%s): %v", s, utc(s).In(zurich), got)
		}
	}
	for s, open := range map[string]bool{
		"2026-01-10T21:00:00Z": true,  // Saturday 22:00
		"2026-01-11T01:59:59Z": true,  // Sunday 02:59:59, of Saturday's night
		"2026-01-11T02:00:00Z": false, // 03:00
		"2026-01-11T21:30:00Z": false, // Sunday 22:30
		"2026-01-09T21:30:00Z": false, // Friday 22:30
		"2026-01-10T01:00:00Z": false, // Saturday 02:00, of Friday's night
		"2026-03-29T00:59:59Z": true,  // 01:59:59, then the clock jumps to 03:00
		"2026-03-29T01:00:00Z": false,
		"2026-10-25T00:30:00Z": true, // 02:30 for the first time
		"2026-10-25T01:30:00Z": true, // 02:30 again
		"2026-10-25T02:00:00Z": false,
		"2026-01-12T00:00:59Z": true, // the other period
		"2026-01-12T00:01:00Z": false,
	} {
		if got := night.Judge(texts("x"), utc(s)).Effect == allow; got != open {
			t.Errorf("night at %s (%s): %v", s, utc(s).In(zurich), got)
		}
	}
	for hour := range 24 * 366 {
		if at := utc("2026-01-01T00:00:00Z").Add(time.Duration(hour) * time.Hour); all.Judge(texts("x"), at).Effect != allow {
			t.Fatalf("a period without bounds does not hold at %s", at)
		}
	}
}
