// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"regexp"
	"regexp/syntax"
)

// RE2 needs no more than steps of the pattern times bytes of the text. That is
// still too much where both are large, and tenants bring both: so the size of the
// patterns is bounded, and so is the text that they are asked about. A longer text
// is one of which it is not known whether it matches.
const (
	maxPattern  = 1024    // bytes of one pattern
	maxProgram  = 1000    // steps that one pattern compiles to
	maxPrograms = 4000    // steps of all patterns of a policy together
	maxMatched  = 4 << 10 // bytes of text that one condition looks at
)

// pattern reads a regular expression.
func (n node) pattern(compile func(string) (*regexp.Regexp, error)) *regexp.Regexp {
	p, ok := parsed(n, "a regular expression", compile)
	if !ok {
		return nil
	}
	steps, err := programSize(p.String())
	switch {
	case err != nil:
		n.fail("%s", err)
	case steps > maxProgram:
		n.fail("is too large: it compiles to %d steps, want at most %d; are there repetitions like {400}?", steps, maxProgram)
	default:
		before := n.r.steps
		if n.r.steps += steps; before <= maxPrograms && n.r.steps > maxPrograms {
			n.fail("the regular expressions up to here compile to %d steps: want at most %d in a policy", n.r.steps, maxPrograms)
		}
	}
	return p
}

// programSize is how many steps a pattern compiles to.
func programSize(s string) (int, error) {
	parsed, err := syntax.Parse(s, syntax.Perl)
	if err != nil {
		return 0, err
	}
	program, err := syntax.Compile(parsed.Simplify())
	if err != nil {
		return 0, err
	}
	return len(program.Inst), nil
}

// wholeText compiles a pattern that must match all of a text.
func wholeText(s string) (*regexp.Regexp, error) {
	if _, err := partOfText(s); err != nil { // by itself, so that no bracket reaches around
		return nil, err
	}
	p, err := regexp.Compile(`\A(?:` + s + `)\z`)
	if err != nil {
		return nil, fmt.Errorf("%q is not a whole regular expression: is \\E missing after \\Q?", s)
	}
	return p, nil
}

func partOfText(s string) (*regexp.Regexp, error) {
	if len(s) > maxPattern {
		return nil, fmt.Errorf("has more than %d characters", maxPattern)
	}
	p, err := regexp.Compile(s)
	if err != nil {
		return nil, fmt.Errorf("%q is not a regular expression (RE2): %w", s, err)
	}
	return p, nil
}
