// SPDX-License-Identifier: Apache-2.0

package config

import (
	"strings"
	"testing"
	"time"
)

func TestApprovalsAreReadAndHaveDefaults(t *testing.T) {
	parse := func(text string) (*Config, error) {
		c, _, err := Parse("config.yaml", []byte(minimal+text))
		return c, err
	}
	c, err := parse("")
	if err != nil || c.Approvals != DefaultApprovals() || c.Approvals.Wait != 0 || c.Approvals.MaxPending != 100 {
		t.Fatalf("%+v, %v", c, err)
	}
	c, err = parse("approvals: {wait: 30s, expires: 4h, max_pending: 7, keep: 240h}")
	if err != nil || c.Approvals != (Approvals{30 * time.Second, 4 * time.Hour, 7, 10 * day}) {
		t.Fatalf("%+v, %v", c, err)
	}
	for _, wrong := range []string{"{wait: 11m}", "{wait: -1s}", "{expires: 1s}", "{max_pending: 0}", "{keep: 1h}", "{waits: 1s}", "[]"} {
		if _, err := parse("approvals: " + wrong); err == nil || !strings.Contains(err.Error(), "approvals") {
			t.Errorf("%s: %v", wrong, err)
		}
	}
}
