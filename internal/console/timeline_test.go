// SPDX-License-Identifier: Apache-2.0

package console

import (
	"strings"
	"testing"
	"time"

	"github.com/hsmsigner/hsmsigner/internal/platform"
)

func TestTimelineSaysHowLongEachStageTook(t *testing.T) {
	us := func(n int64) *int64 { return &n }
	created := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for name, c := range map[string]struct {
		tx     platform.Transaction
		want   string // of the steps, in order
		unseen bool
	}{
		"all is known": {
			platform.Transaction{State: "confirmed", Created: created, Updated: created.Add(30 * time.Second), Durations: &platform.Durations{
				Queued: us(412), Signed: us(48_200), Sent: us(1_500), Mined: us(12_345_678),
			}}, "|queued for less than 1 ms|signed in 48ms|sent in 2ms|mined in 12s|final 30s after it was accepted", false,
		},
		"the daemon died after the signature": {
			platform.Transaction{State: "mined", Durations: &platform.Durations{Queued: us(5_000), Signed: us(2_000)}},
			"|queued for 5ms|signed in 2ms|time not known||", true,
		},
		"it is on its way": {
			platform.Transaction{State: "signed", Durations: &platform.Durations{Queued: us(5_000), Signed: us(2_000)}},
			"|queued for 5ms|signed in 2ms|||", false,
		},
		"it came signed": {
			platform.Transaction{State: "mined", Kind: "raw", Durations: &platform.Durations{Sent: us(7_000), Mined: us(2_000_000)}},
			"|signed by its sender|signed by its sender|sent in 7ms|mined in 2s|", false,
		},
		"nothing is known": {platform.Transaction{State: "sent"}, "|time not known|time not known|||", true},
		"it failed":        {platform.Transaction{State: "failed", Error: "why", Durations: &platform.Durations{Queued: us(5_000)}}, "|queued for 5ms||||", false},
	} {
		p := life(c.tx)
		var took []string
		for _, s := range p.Steps {
			took = append(took, s.Took)
		}
		if got := strings.Join(took, "|"); got != c.want || (p.Unseen != "") != c.unseen {
			t.Errorf("%s: %q, want %q; %q", name, got, c.want, p.Unseen)
		}
	}
}
