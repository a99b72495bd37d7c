// SPDX-License-Identifier: Apache-2.0

package txmgr

import (
	"testing"
	"time"

	"github.com/hsmsigner/hsmsigner/internal/node/nodetest"
	"github.com/hsmsigner/hsmsigner/internal/store"
)

// The stages of a transaction are in its row once it is mined, each later than the
// one before: the signature took as long as the backend, and no less.
func TestRowSaysHowLongEachStageTook(t *testing.T) {
	r := newRig(t, nodetest.Options{}, fast())
	_, err := r.send(transfer(0, 0)) // the proof of possession is behind us
	r.must(err)
	const slow = 60 * time.Millisecond
	r.hsm.set(func(h *hsm) { h.delay = func(int) time.Duration { return slow } })
	hash, err := r.send(transfer(0, 1))
	r.must(err)
	r.chain.Mine()
	r.waitFor("mined", func() bool { return r.state(hash) == store.Mined || r.state(hash) == store.Confirmed })
	at := r.row(r.txID(hash)).Timing
	if at.Asked <= 0 || at.Signed-at.Asked < slow || at.Sent < at.Signed || at.Mined < at.Sent {
		t.Errorf("stages end %+v after the acceptance", at)
	}
}

// What is signed and waits says how long that took, before a block comes.
func TestRowOfASignedTransactionSaysHowLongThatTook(t *testing.T) {
	r := newRig(t, nodetest.Options{}, fast())
	r.chain.Fail(sendRaw, &nodetest.RPCError{Code: -32000, Message: "txpool is full"}, 1_000_000)
	r.begin(transfer(0, 1), "")
	r.waitFor("signed", func() bool { return r.count(store.Signed) == 1 })
	rows, err := r.db.List(t.Context(), store.TxFilter{States: []store.TxState{store.Signed}})
	r.must(err)
	if at := rows[0].Timing; at.Asked <= 0 || at.Signed < at.Asked || at.Sent != 0 || at.Mined != 0 {
		t.Errorf("stages end %+v after the acceptance", at)
	}
}

// After a restart nobody knows when a node took what was sent before, and the row
// does not pretend to. What was known stays.
func TestARestartLeavesOutWhatNobodySaw(t *testing.T) {
	r := newRig(t, nodetest.Options{}, fast())
	hash, err := r.send(transfer(0, 1))
	r.must(err)
	id := r.txID(hash)
	r.waitFor("written that it was sent", func() bool { return r.row(id).State == store.Sent })
	was := r.row(id).Timing
	if was.Signed == 0 || was.Sent == 0 {
		t.Fatalf("stages end %+v after the acceptance", was)
	}
	// As if it had died before that.
	r.must(r.db.Write(t.Context(), func(w *store.Writer) error {
		_, err := w.UpdateTx(id, nil, store.TxUpdate{State: store.Signed, Timing: &store.Timing{Asked: was.Asked, Signed: was.Signed}})
		return err
	}))
	r.restart()
	r.waitFor("taken up, and given to the node again", func() bool { return r.chain.Calls(sendRaw) >= 2 })
	r.chain.Mine()
	r.waitFor("mined", func() bool { return r.state(hash) == store.Mined || r.state(hash) == store.Confirmed })
	is := r.row(id).Timing
	if is.Asked != was.Asked || is.Signed != was.Signed || is.Sent != 0 || is.Mined < is.Signed {
		t.Errorf("stages ended %+v after the acceptance before the restart, and %+v now", was, is)
	}
}

// A node to which the bytes are new says when it took them, after a restart too.
func TestANodeToWhichTheBytesAreNewSaysWhenItTookThem(t *testing.T) {
	r := newRig(t, nodetest.Options{}, fast())
	r.chain.Fail(sendRaw, &nodetest.RPCError{Code: -32000, Message: "txpool is full"}, 1_000_000)
	r.begin(transfer(0, 1), "")
	r.waitFor("signed", func() bool { return r.count(store.Signed) == 1 })
	rows, err := r.db.List(t.Context(), store.TxFilter{States: []store.TxState{store.Signed}})
	r.must(err)
	r.stop()
	r.chain.Fail(sendRaw, nil, 0)
	r.restart()
	r.waitFor("in the pool", func() bool { return len(r.chain.Pool(addr(0))) == 1 })
	r.chain.Mine()
	r.waitFor("mined", func() bool { s := r.row(rows[0].ID).State; return s == store.Mined || s == store.Confirmed })
	if at := r.row(rows[0].ID).Timing; at.Signed != rows[0].Timing.Signed || at.Sent < at.Signed || at.Mined < at.Sent {
		t.Errorf("stages end %+v after the acceptance", at)
	}
}
