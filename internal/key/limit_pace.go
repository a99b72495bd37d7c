// SPDX-License-Identifier: Apache-2.0

package key

import (
	"math"
	"time"
)

const (
	maxPause = 5 * time.Minute        // the longest that a service is left alone at its own word
	gather   = 100 * time.Millisecond // of replies, before the first of them that was throttled is acted upon
	calm     = time.Second            // between one decrease and the next, and before an increase
	growth   = 0.05                   // of the share, in a second
	floor    = 0.1                    // of the share
	memory   = 1.0 / 16               // weight of the newest reply in lost

	leastKnown = 10 // calls a second, in place of the share where nothing is known
)

// pace finds out how many calls a second a service takes: additive increase,
// multiplicative decrease. The decrease follows the part of the calls that was
// throttled lately, from 5 % for a stray one to a half, and comes once for all
// replies of a second: many calls are under way at a time, and what they tell is
// one piece of news.
//
// It is not safe for concurrent use.
type pace struct {
	share float64 // the most; +Inf if nothing is known
	rate  float64 // now

	lost      float64   // moving average of replies: 1 throttled, 0 answered
	judge     time.Time // when to act upon a throttled reply; zero: there is none
	changed   time.Time // of the last decrease, throttled reply or end of a pause
	cut       time.Time // of the last decrease
	throttled uint64

	// Where nothing is known, the replies are counted, to begin with what was
	// reached when the service first throttled.
	reached  float64   // the rate after the last decrease
	counting time.Time // begin of the second that is being counted
	replies  float64   // in it
	before   float64   // in the second before
}

func newPace(share float64) pace { return pace{share: share, rate: share} }

func (p *pace) setShare(share float64) {
	switch {
	case math.IsInf(share, 1) || math.IsInf(p.share, 1):
		p.rate = share
	default:
		p.rate *= share / p.share // what was learned stays
	}
	p.share = share
}

// reply notes what became of a call.
func (p *pace) reply(now time.Time, throttled bool) {
	if now.Sub(p.counting) >= time.Second {
		p.before = p.replies
		if now.Sub(p.counting) >= 2*time.Second {
			p.before = 0
		}
		p.counting, p.replies = now, 0
	}
	p.replies++
	p.lost -= memory * p.lost
	if !throttled {
		return
	}
	p.lost += memory
	p.throttled++
	p.changed = now
	if p.judge.IsZero() && now.Sub(p.cut) >= calm {
		p.judge = now.Add(gather)
	}
}

// advance changes the rate as it is due after passed seconds.
func (p *pace) advance(now time.Time, passed float64) {
	if !p.judge.IsZero() && !now.Before(p.judge) {
		p.decrease(now)
		return
	}
	if p.rate >= p.share || !p.judge.IsZero() || now.Sub(p.changed) < calm {
		return
	}
	base := p.base()
	p.rate = min(p.share, p.rate+base*growth*passed)
	if p.rate > 4*base { // the service has long stopped to mind
		p.rate, p.reached = p.share, 0
	}
}

func (p *pace) decrease(now time.Time) {
	keep := min(0.95, max(0.5, 1-p.lost))
	p.judge, p.cut = time.Time{}, now
	if now.After(p.changed) {
		p.changed = now
	}
	if !math.IsInf(p.share, 1) {
		p.rate = max(p.rate*keep, p.share*floor)
		return
	}
	if math.IsInf(p.rate, 1) {
		elapsed := max(gather.Seconds(), now.Sub(p.counting).Seconds())
		p.rate = max(p.before, p.replies/elapsed, leastKnown)
	}
	p.rate = max(p.rate*keep, leastKnown*floor)
	p.reached = p.rate
}

// base is what growth is a part of.
func (p *pace) base() float64 {
	if math.IsInf(p.share, 1) {
		return p.reached
	}
	return p.share
}

// burst is how many calls may be made at once after a while without any.
func burst(rate float64) float64 { return max(1, math.Floor(rate/20)) }
