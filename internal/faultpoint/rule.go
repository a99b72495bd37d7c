// SPDX-License-Identifier: Apache-2.0

package faultpoint

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Action is what a rule does.
type Action string

// The actions.
const (
	Kill  Action = "kill"  // SIGKILL to the process itself
	Stop  Action = "stop"  // SIGSTOP to the process itself, until somebody sends SIGCONT
	Delay Action = "delay" // wait
	Fail  Action = "error" // make Error return an *InjectedError
)

// Rule says what happens at a point. The zero value of a condition is none.
type Rule struct {
	Point  string
	Action Action

	Delay time.Duration // of Delay; with Sigma, the median
	Sigma float64       // of Delay: > 0 makes it log-normal with this standard deviation of the logarithm
	Limit int           // of Delay: at most so many callers wait at once, the others queue up behind them
	Kind  string        // of Fail: the word in the error

	Nth   uint64  // only at the n-th hit, counted from 1 in this process
	P     float64 // only with this probability
	Seed  uint64  // of the probability and of Sigma
	Times uint64  // at most so often
}

// String is the rule as ParseRules reads it.
func (r Rule) String() string {
	var b strings.Builder
	b.WriteString(r.Point + ":" + string(r.Action))
	switch {
	case r.Action == Delay:
		b.WriteString("=" + r.Delay.String())
	case r.Kind != "":
		b.WriteString("=" + r.Kind)
	}
	option := func(name string, set bool, value any) {
		if set {
			fmt.Fprintf(&b, ",%s=%v", name, value)
		}
	}
	option("sigma", r.Sigma > 0, r.Sigma)
	option("limit", r.Limit > 0, r.Limit)
	option("n", r.Nth > 0, r.Nth)
	option("p", r.P > 0, r.P)
	option("seed", r.Seed > 0, r.Seed)
	option("times", r.Times > 0, r.Times)
	return b.String()
}

// ParseRules reads rules of the form point:action[=argument][,option=value]…,
// separated by semicolons or line feeds:
//
//	send:kill,n=17                        SIGKILL at the 17th hit
//	store:stop,p=0.01,seed=7,times=1      SIGSTOP at one hit in a hundred, once
//	sign:delay=40ms,limit=64              a backend that takes 40 ms, 64 at a time
//	sign:delay=40ms,sigma=0.5,limit=64    the same, log-normal around 40 ms
//	sign:error=unavailable,p=0.2          one call in five fails
//
// An error names the rule and what would be right.
func ParseRules(text string) ([]Rule, error) {
	var rules []Rule
	for _, one := range strings.FieldsFunc(text, func(c rune) bool { return c == ';' || c == '\n' }) {
		if one = strings.TrimSpace(one); one == "" {
			continue
		}
		r, err := parseRule(one)
		if err != nil {
			return nil, fmt.Errorf("faultpoint: rule %q: %w", one, err)
		}
		rules = append(rules, r)
	}
	return rules, nil
}

func parseRule(text string) (Rule, error) {
	point, rest, ok := strings.Cut(text, ":")
	if !ok {
		return Rule{}, fmt.Errorf("want point:action, such as send:kill")
	}
	if !slices.Contains(Points(), point) {
		return Rule{}, fmt.Errorf("there is no point %q: want one of %s", point, strings.Join(Points(), ", "))
	}
	parts := strings.Split(rest, ",")
	action, argument, given := strings.Cut(parts[0], "=")
	r := Rule{Point: point, Action: Action(action)}
	var err error
	switch r.Action {
	case Delay:
		if r.Delay, err = time.ParseDuration(argument); err != nil || r.Delay <= 0 {
			return Rule{}, fmt.Errorf("delay %q: want a time above 0, such as 40ms", argument)
		}
	case Fail:
		r.Kind = argument
	case Kill, Stop:
		if given {
			return Rule{}, fmt.Errorf("%s takes no argument", action)
		}
	default:
		return Rule{}, fmt.Errorf("there is no action %q: want kill, stop, delay=… or error", action)
	}
	for _, part := range parts[1:] {
		if err := r.option(part); err != nil {
			return Rule{}, err
		}
	}
	return r, nil
}

func (r *Rule) option(text string) error {
	name, value, _ := strings.Cut(strings.TrimSpace(text), "=")
	var err error
	switch name {
	case "n":
		r.Nth, err = strconv.ParseUint(value, 10, 64)
	case "seed":
		r.Seed, err = strconv.ParseUint(value, 10, 64)
	case "times":
		r.Times, err = strconv.ParseUint(value, 10, 64)
	case "limit":
		r.Limit, err = strconv.Atoi(value)
		if err == nil && r.Limit < 1 {
			err = strconv.ErrRange
		}
	case "p":
		r.P, err = strconv.ParseFloat(value, 64)
		if err == nil && (r.P <= 0 || r.P > 1) {
			err = strconv.ErrRange
		}
	case "sigma":
		r.Sigma, err = strconv.ParseFloat(value, 64)
		if err == nil && (r.Sigma <= 0 || r.Sigma > 3) {
			err = strconv.ErrRange
		}
	default:
		return fmt.Errorf("there is no option %q: want n, p, seed, times, limit or sigma", name)
	}
	if err != nil {
		return fmt.Errorf("option %q: want n, seed, times, limit ≥ 1, p in (0, 1], sigma in (0, 3]", text)
	}
	return nil
}
