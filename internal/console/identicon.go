// SPDX-License-Identifier: Apache-2.0

package console

import (
	"crypto/sha256"
	"fmt"
	"html/template"
	"strings"
)

// identicon is a small picture of an address, by which people tell addresses
// apart at a glance: five by five fields, the same at the left and at the right.
// It is no proof of anything: the address stands beside it.
func identicon(address string) template.HTML {
	sum := sha256.Sum256([]byte(strings.ToLower(address)))
	hue := (int(sum[0])<<8 | int(sum[1])) % 360
	var b strings.Builder
	fmt.Fprintf(&b, `<svg class="identicon" viewBox="0 0 5 5" width="20" height="20" aria-hidden="true" focusable="false"><rect width="5" height="5" fill="hsl(%d 45%% 88%%)"/><g fill="hsl(%d 60%% 38%%)">`, hue, hue)
	for x := range 3 {
		for y := range 5 {
			if sum[2+x*5+y]&1 == 0 {
				continue
			}
			fmt.Fprintf(&b, `<rect x="%d" y="%d" width="1" height="1"/>`, x, y)
			if x < 2 {
				fmt.Fprintf(&b, `<rect x="%d" y="%d" width="1" height="1"/>`, 4-x, y)
			}
		}
	}
	b.WriteString(`</g></svg>`)
	return template.HTML(b.String()) //nolint:gosec // G203: made of numbers alone
}
