// SPDX-License-Identifier: Apache-2.0

package console

import (
	"fmt"
	"html/template"
	"math/big"
	"strings"
	"time"

	"github.com/hsmsigner/hsmsigner/internal/platform"
)

// functions are what templates call.
func functions() template.FuncMap {
	return template.FuncMap{
		"amount":    amountOf,
		"ago":       ago,
		"badge":     badgeOf,
		"dict":      dict,
		"duration":  durationText,
		"fields":    strings.Fields,
		"frozen":    freezeWords,
		"window":    windowText,
		"word":      func(s string) string { return strings.ReplaceAll(s, "-", " ") },
		"identicon": identicon,
		"instant":   instantOf,
		"join":      strings.Join,
		"middle":    middle,
		"version":   versionOf,
		"plural":    plural,
		"sentence":  sentence,
		"short":     short,
		"title":     title,
	}
}

// dict makes the argument of a part from names and values.
func dict(pairs ...any) (map[string]any, error) {
	if len(pairs)%2 != 0 {
		return nil, fmt.Errorf("dict: a value is missing")
	}
	m := make(map[string]any, len(pairs)/2)
	for i := 0; i < len(pairs); i += 2 {
		name, ok := pairs[i].(string)
		if !ok {
			return nil, fmt.Errorf("dict: %v is no name", pairs[i])
		}
		m[name] = pairs[i+1]
	}
	return m, nil
}

// instant is a time as a page has it: the browser writes it in the viewer's zone,
// and what stands there until then is UTC.
type instant struct{ Machine, Text string }

func instantOf(t time.Time) instant {
	if t.IsZero() {
		return instant{}
	}
	t = t.UTC()
	return instant{t.Format(time.RFC3339Nano), t.Format("2006-01-02 15:04:05 UTC")}
}

// ago is about how long ago something was.
func ago(t time.Time) string {
	d := time.Since(t)
	switch {
	case t.IsZero():
		return "never"
	case d < 2*time.Second:
		return "just now"
	case d < 2*time.Minute:
		return fmt.Sprintf("%d s ago", int(d.Seconds()))
	case d < 2*time.Hour:
		return fmt.Sprintf("%d min ago", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h ago", int(d.Hours()))
	}
	return fmt.Sprintf("%d days ago", int(d.Hours()/24))
}

// durationText is a duration in the unit that suits it.
func durationText(d time.Duration) string {
	switch {
	case d < 0:
		return "–"
	case d < time.Millisecond:
		return "<1 ms"
	case d < time.Second:
		return fmt.Sprintf("%d ms", d.Milliseconds())
	case d < time.Minute:
		return fmt.Sprintf("%.1f s", d.Seconds())
	case d < time.Hour:
		return fmt.Sprintf("%d min %d s", int(d.Minutes()), int(d.Seconds())%60)
	}
	return fmt.Sprintf("%d h %d min", int(d.Hours()), int(d.Minutes())%60)
}

// amount is an amount of wei, for people and exactly.
type amount struct{ Text, Exact string }

// amountOf writes wei as ether, or as gwei where that is too small to read.
func amountOf(wei string) amount {
	n, ok := new(big.Int).SetString(wei, 10)
	if !ok {
		return amount{Text: "–"}
	}
	exact := grouped(n.String()) + " wei"
	switch {
	case n.Sign() == 0:
		return amount{"0 ETH", exact}
	case n.CmpAbs(big.NewInt(1e13)) >= 0: // 0.00001 ether
		return amount{decimals(n, 18, 5) + " ETH", exact}
	case n.CmpAbs(big.NewInt(1e4)) >= 0:
		return amount{decimals(n, 9, 5) + " gwei", exact}
	}
	return amount{grouped(n.String()) + " wei", exact}
}

// decimals writes n / 10^places with at most so many digits after the point; it
// never rounds up, so that nobody believes to have more than there is.
func decimals(n *big.Int, places, shown int) string {
	sign, digits := "", n.String()
	if n.Sign() < 0 {
		sign, digits = "−", digits[1:]
	}
	if len(digits) <= places {
		digits = strings.Repeat("0", places-len(digits)+1) + digits
	}
	whole, rest := digits[:len(digits)-places], digits[len(digits)-places:]
	cut := strings.TrimRight(rest[:shown], "0")
	out := sign + grouped(whole)
	if cut != "" {
		out += "." + cut
	}
	if strings.Trim(rest[shown:], "0") != "" {
		out += "…"
	}
	return out
}

// grouped puts thin spaces between groups of three digits.
func grouped(digits string) string {
	var b strings.Builder
	for i, d := range digits {
		if i > 0 && (len(digits)-i)%3 == 0 && digits[i-1] != '-' {
			b.WriteRune('\u202f')
		}
		b.WriteRune(d)
	}
	return b.String()
}

// short is the beginning and end of a long word in hex.
func short(s string) string {
	if len(s) <= 14 {
		return s
	}
	return s[:6] + "…" + s[len(s)-4:]
}

// middle is a long reference without what is in its middle: keys are told apart by
// its end.
func middle(s string) string {
	const most, end = 44, 26
	r := []rune(s)
	if len(r) <= most {
		return s
	}
	return string(r[:most-end-1]) + "…" + string(r[len(r)-end:])
}

// keyName is how the backend calls the key of an account, with the version where
// each version is a key of its own.
type keyName struct{ Name, Version string }

// versionOf divides the name of a key, which in Azure and Google Cloud is that of
// the key and of its version.
func versionOf(a platform.Account) keyName {
	i := strings.LastIndexByte(a.Name, '/')
	if i < 0 {
		return keyName{Name: a.Name}
	}
	name, version := a.Name[:i], a.Name[i+1:]
	if strings.HasSuffix(a.KeyRef, "/keys/"+a.Name) || strings.HasSuffix(a.KeyRef, "/cryptoKeys/"+name+"/cryptoKeyVersions/"+version) {
		return keyName{name, version}
	}
	return keyName{Name: a.Name}
}

func plural(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return grouped(fmt.Sprint(n)) + " " + many
}

// badge says in a word, a sign and a colour how something is: the colour alone
// never says it.
type badge struct{ Tone, Sign, Word string }

func badgeOf(state string) badge {
	switch strings.ToLower(state) {
	case platform.Started, "enabled", "confirmed", "ok", "active", "approved", "verified", "ready", "allow", "allowed":
		return badge{"good", "●", state}
	case platform.Provisioning, "offered", "queued", "assigned", "signed", "sent", "mined", "pending", "proposed", "open":
		return badge{"busy", "◐", state}
	case platform.Failed, "down", "rejected", "displaced", "deny", "denied", "error":
		return badge{"bad", "▲", state}
	case "held", "disabled", "expired", "missing", "frozen", "superseded", "destroyed", "not yet valid", "ask":
		return badge{"warn", "◆", state}
	}
	return badge{"calm", "○", state}
}
