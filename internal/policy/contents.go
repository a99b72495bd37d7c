// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"mime"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/hsmsigner/hsmsigner/internal/auth"
)

// readTimes reads periods, of which one must hold.
func readTimes(n node) condition {
	var periods []period
	for _, item := range n.list() {
		if p, ok := readPeriod(item); ok {
			periods = append(periods, p)
		}
	}
	return condition{
		holds: func(f *facts) outcome {
			return known(slices.ContainsFunc(periods, func(p period) bool { return p.holds(f.now) }))
		},
		saw: func(f *facts) string {
			var clocks []string
			for _, p := range periods {
				if clock := f.now.In(p.zone).Format("Mon 15:04 MST"); !slices.Contains(clocks, clock) {
					clocks = append(clocks, clock)
				}
			}
			return "it is " + strings.Join(clocks, ", ")
		},
	}
}

var dayNames = []string{"sun", "mon", "tue", "wed", "thu", "fri", "sat"} // as time.Weekday counts

func readPeriod(n node) (period, bool) {
	p := period{to: 24 * 60}
	o := n.object()
	if days, ok := o.given("days"); ok {
		for _, day := range all(days, "a day", oneOf(dayNames...)) {
			p.days[slices.Index(dayNames, day)] = true
		}
	} else {
		p.days = [7]bool{true, true, true, true, true, true, true}
	}
	if v, ok := o.given("from"); ok {
		p.from, _ = parsed(v, "a time like 08:30", clockTime(24*60-1))
	}
	if v, ok := o.given("to"); ok {
		p.to, _ = parsed(v, "a time like 17:00", clockTime(24*60))
	}
	zone, ok := o.need("zone")
	if ok {
		p.zone, ok = parsed(zone, "a time zone like Europe/Zurich, or UTC", timeZone)
	}
	o.done()
	return p, ok
}

func clockTime(most int) func(string) (int, error) {
	return func(s string) (int, error) {
		var hour, minute int
		m := clockPattern.FindStringSubmatch(s)
		if m != nil {
			_, _ = fmt.Sscanf(m[1]+" "+m[2], "%d %d", &hour, &minute)
		}
		if m == nil || minute > 59 || hour*60+minute > most {
			return 0, fmt.Errorf("want a time of day like 08:30, not %q", s)
		}
		return hour*60 + minute, nil
	}
}

var (
	clockPattern = regexp.MustCompile(`^([0-9]{2}):([0-9]{2})$`)
	zonePattern  = regexp.MustCompile(`^(UTC|[A-Za-z]+(/[A-Za-z0-9_+-]+){1,2})$`)
)

func timeZone(s string) (*time.Location, error) {
	if zonePattern.MatchString(s) {
		if zone, err := time.LoadLocation(s); err == nil {
			return zone, nil
		}
	}
	return nil, fmt.Errorf("%q is not a time zone: want a name like Europe/Zurich, or UTC", s)
}

// readMessages reads what a message may say, and how long it may be.
func readMessages(n node) condition {
	o := n.object()
	var whole, part *regexp.Regexp
	most := int64(-1)
	if v, ok := o.given("pattern"); ok {
		whole = v.pattern(wholeText)
	}
	if v, ok := o.given("contains"); ok {
		part = v.pattern(partOfText)
	}
	if v, ok := o.given("max_bytes"); ok {
		most, _ = parsed(v, "a size", bytesCount)
	}
	o.done()
	if o != nil && len(o.keys) == 0 {
		n.fail("is empty: want pattern, contains or max_bytes")
	}
	return condition{
		holds: func(f *facts) outcome {
			if most >= 0 && int64(len(f.req.Message)) > most {
				return known(false)
			}
			if (whole != nil || part != nil) && (len(f.req.Message) > maxMatched || !utf8.Valid(f.req.Message)) {
				return unknown
			}
			return known((whole == nil || whole.Match(f.req.Message)) && (part == nil || part.Match(f.req.Message)))
		},
		saw: func(f *facts) string {
			if !utf8.Valid(f.req.Message) {
				return fmt.Sprintf("the message has %d bytes and is not text", len(f.req.Message))
			}
			return fmt.Sprintf("the message has %d bytes and reads %s", len(f.req.Message), short(string(f.req.Message)))
		},
	}
}

var mediaPattern = regexp.MustCompile(`^[a-z0-9][a-z0-9!#$&^_.+-]*/(\*|[a-z0-9][a-z0-9!#$&^_.+-]*)$`)

// readDocuments reads what a document may be, and how large.
func readDocuments(n node) condition {
	o := n.object()
	var media []string
	most := int64(-1)
	if v, ok := o.given("media_types"); ok {
		media = all(v, "a media type", matching(mediaPattern, "a media type in lower case like application/pdf, or text/*"))
	}
	if v, ok := o.given("max_size"); ok {
		most, _ = parsed(v, "a size", bytesCount)
	}
	o.done()
	if o != nil && len(o.keys) == 0 {
		n.fail("is empty: want media_types or max_size")
	}
	return condition{
		holds: func(f *facts) outcome {
			d := f.req.Document
			if most >= 0 && d.Size > most {
				return known(false)
			}
			if media == nil {
				return known(true)
			}
			return ofMedia(d.MediaType, media)
		},
		saw: func(f *facts) string {
			return fmt.Sprintf("the document has %d bytes and the media type %s", f.req.Document.Size, short(f.req.Document.MediaType))
		},
	}
}

// ofMedia compares without parameters such as a character set.
func ofMedia(got string, want []string) outcome {
	got, _, err := mime.ParseMediaType(got)
	kind, _, ok := strings.Cut(got, "/")
	if err != nil || !ok {
		return unknown
	}
	return known(slices.Contains(want, got) || slices.Contains(want, kind+"/*"))
}

// readApproval reads who is asked.
func (r *reader) approval(n node) Ask {
	ask := Ask{Needed: 1, Expires: 24 * time.Hour}
	o := n.object()
	if v, ok := o.given("needed"); ok {
		ask.Needed, _ = parsed(v, "a number", count(1, 20))
	}
	if v, ok := o.given("names"); ok {
		ask.Approvers.Names = distinct(v, all(v, "a principal", matching(approverPattern, "key:<id> or person:<subject>")))
	}
	if v, ok := o.given("roles"); ok {
		ask.Approvers.Roles = distinct(v, all(v, "a role", oneOf(auth.Roles()...)))
	}
	if v, ok := o.given("addresses"); ok {
		ask.Approvers.Addresses = distinct(v, all(v, "an address", addressLiteral))
	}
	if v, ok := o.given("expires"); ok {
		ask.Expires, _ = parsed(v, "a duration", span(time.Minute, 30*24*time.Hour))
	}
	o.done()
	a := ask.Approvers
	switch who := len(a.Names) + len(a.Addresses); {
	case o == nil:
	case who == 0 && len(a.Roles) == 0:
		n.fail("names nobody: want names, roles or addresses")
	case len(a.Roles) == 0 && who < ask.Needed:
		n.fail("wants %d approvers and names %d", ask.Needed, who)
	}
	return ask
}

var approverPattern = regexp.MustCompile(`^(key|person):.+$`)

func distinct[T comparable](n node, list []T) []T {
	for i, item := range list {
		if slices.Contains(list[:i], item) {
			n.fail("has %v twice", item)
		}
	}
	return list
}
