// SPDX-License-Identifier: Apache-2.0

package console

import (
	"fmt"
	"strings"
	"testing"

	"github.com/hsmsigner/hsmsigner/internal/platform"
)

func TestNonceWindowShowsWhatStandsAtEachNonce(t *testing.T) {
	tx := func(nonce int, state, kind string) platform.Transaction {
		out := platform.Transaction{ID: fmt.Sprint(nonce, state), State: state, Kind: kind}
		if nonce >= 0 {
			n := uint64(nonce)
			out.Nonce = &n
		}
		return out
	}
	next := uint64(9)
	w := windowOf([]platform.Transaction{
		tx(-1, "queued", "user"), tx(-1, "failed", "user"), tx(8, "held", "user"), tx(7, "assigned", "user"), tx(6, "signed", "user"), tx(5, "sent", "user"),
		tx(4, "sent", "user"), tx(4, "superseded", "user"), tx(3, "displaced", "user"), tx(2, "confirmed", "fill"), tx(1, "mined", "user"), tx(1, "failed", "user"), tx(0, "confirmed", "user"),
	}, &next)
	var got []string
	for _, c := range w.Cells {
		got = append(got, fmt.Sprint(c.Nonce, " ", c.Word))
	}
	want := "0 mined, 1 mined, 2 repaired, 3 taken by another, 4 in flight, 5 in flight, 6 signed, 7 waiting, 8 waiting, 9 free"
	if strings.Join(got, ", ") != want || w.Waiting != 1 || len(w.Legend) != 7 {
		t.Errorf("%s; %d waiting; legend %v", strings.Join(got, ", "), w.Waiting, w.Legend)
	}
	if c := cellOf(tx(3, "sent", "fill")); c.Word != "being repaired" {
		t.Errorf("a fill that is not mined is shown as %s", c.Word)
	}
	var many []platform.Transaction
	for i := range 300 {
		many = append(many, tx(i, "confirmed", "user"))
	}
	if w := windowOf(many, nil); len(w.Cells) != windowShown || w.Cells[0].Nonce != 300-windowShown {
		t.Errorf("%d cells from %d", len(w.Cells), w.Cells[0].Nonce)
	}
}
