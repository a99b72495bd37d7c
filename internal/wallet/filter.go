// SPDX-License-Identifier: Apache-2.0

package wallet

import (
	"strings"

	"github.com/ethereum/go-ethereum/common"
)

// selected reports whether the include and exclude patterns let a key
// through. An exclusion always wins.
func (c *Config) selected(name string, addr common.Address, tags map[string]string) bool {
	if len(c.Include) > 0 && !matchesAny(c.Include, name, addr, tags) {
		return false
	}
	return !matchesAny(c.Exclude, name, addr, tags)
}

func matchesAny(patterns []string, name string, addr common.Address, tags map[string]string) bool {
	address := strings.ToLower(addr.Hex())
	for _, pattern := range patterns {
		if match(pattern, name) || match(strings.ToLower(pattern), address) {
			return true
		}
		for k, v := range tags {
			if match(pattern, k+"="+v) {
				return true
			}
		}
	}
	return false
}

// match reports whether all of s fits pattern, in which * stands for any run
// of bytes and ? for one. Unlike path.Match, * crosses a slash: names of keys
// are not paths, and exclude: ["*"] has to mean everything.
func match(pattern, s string) bool {
	// When a later part does not fit, only the last star needs to be tried
	// again, so this is linear in practice and never exponential.
	star, retry := -1, 0
	p, i := 0, 0
	for i < len(s) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, retry = p, i
			p++
		case p < len(pattern) && (pattern[p] == '?' || pattern[p] == s[i]):
			p++
			i++
		case star >= 0:
			retry++
			p, i = star+1, retry
		default:
			return false
		}
	}
	for p < len(pattern) && pattern[p] == '*' {
		p++
	}
	return p == len(pattern)
}
