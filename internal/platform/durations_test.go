// SPDX-License-Identifier: Apache-2.0

package platform

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/hsmsigner/hsmsigner/internal/store"
)

// A stage is told of if both its ends are known, and of nothing else.
func TestStagesAreToldAsFarAsTheyAreKnown(t *testing.T) {
	created := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	whole := store.Timing{Asked: 1000, Signed: 5000, Sent: 9000, Mined: 2_000_000}
	us := func(t store.Timing) store.Timing {
		return store.Timing{Asked: t.Asked * time.Microsecond, Signed: t.Signed * time.Microsecond, Sent: t.Sent * time.Microsecond, Mined: t.Mined * time.Microsecond}
	}
	tries := []store.Attempt{{Kind: store.FirstAttempt, Created: created.Add(3 * time.Millisecond)}, {Kind: store.BumpAttempt, Created: created.Add(time.Hour)}}
	for name, c := range map[string]struct {
		row   store.Tx
		tries []store.Attempt
		want  string
	}{
		"the whole way":                {store.Tx{State: store.Confirmed, Timing: us(whole)}, tries, `{"queued_us":1000,"signed_us":4000,"sent_us":4000,"mined_us":1991000}`},
		"on its way":                   {store.Tx{State: store.Sent, Timing: us(store.Timing{Asked: 1000, Signed: 5000})}, nil, `{"queued_us":1000,"signed_us":4000}`},
		"asked for, by its attempt":    {store.Tx{State: store.Sent}, tries, `{"queued_us":3000}`},
		"nobody saw it sent":           {store.Tx{State: store.Mined, Timing: us(store.Timing{Asked: 1000, Signed: 5000, Mined: 9000})}, nil, `{"queued_us":1000,"signed_us":4000}`},
		"nobody saw it signed":         {store.Tx{State: store.Mined, Timing: us(store.Timing{Mined: 9000})}, nil, `null`},
		"its nonce was taken back":     {store.Tx{State: store.Queued, Timing: us(whole)}, tries, `null`},
		"its signature is asked anew":  {store.Tx{State: store.Assigned, Timing: us(whole)}, tries, `{"queued_us":3000}`},
		"it came with its signature":   {store.Tx{State: store.Mined, Kind: store.RawTx, Timing: us(store.Timing{Sent: 2000, Mined: 9000})}, tries, `{"sent_us":2000,"mined_us":7000}`},
		"the machine's clock was late": {store.Tx{State: store.Sent, Timing: us(store.Timing{Asked: 5000, Signed: 1000})}, nil, `{"queued_us":5000,"signed_us":0}`},
	} {
		c.row.Created = created
		got, err := json.Marshal(durationsOf(c.row, c.tries))
		if err != nil || string(got) != c.want {
			t.Errorf("%s: %s, %v, want %s", name, got, err, c.want)
		}
	}
}
