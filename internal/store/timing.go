// SPDX-License-Identifier: Apache-2.0

package store

import (
	"strconv"
	"strings"
	"time"
)

// Timing says how long after its Created a transaction came to each point of its
// way. Zero is not known: it has not come there, or nobody was there to see it. Of
// a transaction that another machine took in, the difference of the clocks is in it.
type Timing struct {
	Asked  time.Duration // its signature was asked for
	Signed time.Duration // the backend had given it
	Sent   time.Duration // a node had answered that it took the bytes
	Mined  time.Duration // its block was seen here
}

func (t *Timing) parts() [4]*time.Duration {
	return [4]*time.Duration{&t.Asked, &t.Signed, &t.Sent, &t.Mined}
}

// text is the column: microseconds with commas between, such as 512,40210,,2100345.
func (t Timing) text() string {
	b := make([]byte, 0, 40)
	for i, d := range t.parts() {
		if i > 0 {
			b = append(b, ',')
		}
		if *d > 0 {
			b = strconv.AppendInt(b, max(1, d.Microseconds()), 10)
		}
	}
	return strings.TrimRight(string(b), ",")
}

// timingOf reads the column. What cannot be read is not known: nothing is decided by
// it, so that it must not keep a row from being loaded.
func timingOf(text string) (t Timing) {
	parts := t.parts()
	i := 0
	for part := range strings.SplitSeq(text, ",") {
		if i == len(parts) {
			break
		}
		if n, err := strconv.ParseInt(part, 10, 64); err == nil && n > 0 && n < int64(1<<63-1)/1000 {
			*parts[i] = time.Duration(n) * time.Microsecond
		}
		i++
	}
	return t
}
