// SPDX-License-Identifier: Apache-2.0

package console

import (
	"cmp"
	"slices"

	"github.com/hsmsigner/hsmsigner/internal/platform"
)

// windowRead is how many of an account's transactions are read to draw its nonces,
// and windowShown how many nonces are drawn.
const (
	windowRead  = 200
	windowShown = 48
)

// nonceWindow is the last nonces of an account, and what stands at each.
type nonceWindow struct {
	Cells   []nonceCell
	Waiting int // transactions that have no nonce yet
	Legend  []badge
}

// nonceCell is one nonce.
type nonceCell struct {
	Nonce uint64
	Word  string // mined, in flight, signed, waiting, repaired, being repaired, taken by another, free
	Tone  string
	Sign  string
	ID    string // of the transaction; empty if there is none
}

// windowOf draws the nonces of the last transactions of an account, the lowest
// first; the last cell is the next one that is free.
func windowOf(all []platform.Transaction, next *uint64) nonceWindow {
	var w nonceWindow
	at := map[uint64]platform.Transaction{}
	for _, t := range all {
		switch {
		case t.Nonce == nil && !slices.Contains([]string{"failed", "replaced", "displaced"}, t.State):
			w.Waiting++
		case t.Nonce == nil, t.State == "replaced", t.State == "superseded", t.State == "failed":
			// Another one stands at the nonce, or none.
		default:
			at[*t.Nonce] = t
		}
	}
	for n, t := range at {
		c := cellOf(t)
		c.Nonce = n
		w.Cells = append(w.Cells, c)
	}
	if next != nil {
		if _, taken := at[*next]; !taken {
			w.Cells = append(w.Cells, nonceCell{Nonce: *next, Word: "free", Tone: "calm", Sign: "·"})
		}
	}
	slices.SortFunc(w.Cells, func(a, b nonceCell) int { return cmp.Compare(a.Nonce, b.Nonce) })
	if over := len(w.Cells) - windowShown; over > 0 {
		w.Cells = w.Cells[over:]
	}
	for _, c := range w.Cells {
		if !slices.ContainsFunc(w.Legend, func(b badge) bool { return b.Word == c.Word }) {
			w.Legend = append(w.Legend, badge{c.Tone, c.Sign, c.Word})
		}
	}
	return w
}

func cellOf(t platform.Transaction) nonceCell {
	c := nonceCell{ID: t.ID}
	switch {
	case t.Kind == "fill" && t.State != "confirmed" && t.State != "mined":
		c.Word, c.Tone, c.Sign = "being repaired", "warn", "◇"
	case t.Kind == "fill":
		c.Word, c.Tone, c.Sign = "repaired", "warn", "◆"
	case t.State == "confirmed", t.State == "mined":
		c.Word, c.Tone, c.Sign = "mined", "good", "●"
	case t.State == "displaced":
		c.Word, c.Tone, c.Sign = "taken by another", "bad", "▲"
	case t.State == "sent":
		c.Word, c.Tone, c.Sign = "in flight", "busy", "◐"
	case t.State == "signed":
		c.Word, c.Tone, c.Sign = "signed", "busy", "◔"
	default: // assigned, held
		c.Word, c.Tone, c.Sign = "waiting", "calm", "○"
	}
	return c
}
