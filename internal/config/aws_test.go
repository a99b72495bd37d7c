// SPDX-License-Identifier: Apache-2.0

package config

import (
	"strings"
	"testing"
)

// The limits are those of AWS's tags: 128 characters in a key, 256 in a value, letters
// and digits of any script, spaces, and a few signs.
func TestTagIsOneThatAWSTakes(t *testing.T) {
	for tag, want := range map[string]bool{
		"app": true, "app=": true, "app=hsm signer": true, "Größe/β=١٢٣": true, "a=b=c": true,
		strings.Repeat("ü", 128) + "=" + strings.Repeat("ü", 256): true,
		"": false, "=x": false, "app=a*": false, "a,b": false, "a\x00": false, "a\xff": false,
		strings.Repeat("u", 129): false, "u=" + strings.Repeat("u", 257): false,
	} {
		if isTag(tag) != want {
			t.Errorf("%.40q: %t, want %t", tag, !want, want)
		}
	}
}
