// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"time"
	_ "time/tzdata" // so that a rule's time zone means the same on every machine
)

// period is a time of day on some days of the week, in a time zone: what the
// clock on the wall there says counts. So an hour that daylight saving leaves out
// never comes, and one that it repeats counts both times.
type period struct {
	days     [7]bool // by time.Weekday
	from, to int     // minutes of the day; to is not part of it. A period whose to is not after from ends on the next day.
	zone     *time.Location
}

func (p period) holds(now time.Time) bool {
	local := now.In(p.zone)
	minute := local.Hour()*60 + local.Minute()
	today := local.Weekday()
	if p.from < p.to {
		return p.days[today] && p.from <= minute && minute < p.to
	}
	yesterday := (today + 6) % 7
	return p.days[today] && minute >= p.from || p.days[yesterday] && minute < p.to
}
