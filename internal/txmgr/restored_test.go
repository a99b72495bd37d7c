// SPDX-License-Identifier: Apache-2.0

package txmgr

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/common"

	"github.com/hsmsigner/hsmsigner/internal/node/nodetest"
	"github.com/hsmsigner/hsmsigner/internal/store"
)

// replaceFile makes another file with the content of from at to.
func replaceFile(t *testing.T, from, to string) {
	t.Helper()
	in, err := os.Open(from)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	out, err := os.Create(to + ".copy")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(out, in); err != nil {
		t.Fatal(err)
	}
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(to+".copy", to); err != nil {
		t.Fatal(err)
	}
}

// No. 24: a restored backup sends nothing until an operator has compared it
// with the chain, and never signs again what may have been sent since.
func TestRestoredBackupStartsFrozenAndPaysNothingTwice(t *testing.T) {
	t.Run("what is mined is known", func(t *testing.T) { restoredBackup(t, false) })
	t.Run("what is mined is not known yet", func(t *testing.T) { restoredBackup(t, true) })
}

// restoredBackup restores one. If late, the node shows which of ours are mined only
// after its count was adopted: nothing is given a nonce below it meanwhile.
func restoredBackup(t *testing.T, late bool) {
	r := newRig(t, nodetest.Options{}, fast())
	first, err := r.send(transfer(0, 1))
	r.must(err)
	// Two transactions are in the backup as assigned and unsigned …
	gate := make(chan struct{})
	r.hsm.set(func(h *hsm) { h.gate = gate })
	r.begin(transfer(0, 2), "k2")
	r.begin(transfer(0, 3), "k3")
	r.waitFor("assigned", func() bool { return r.count(store.Assigned) == 2 })
	r.stop()
	database := filepath.Join(r.dir, "hsmsigner.db")
	backup := filepath.Join(t.TempDir(), "backup.db")
	replaceFile(t, database, backup)
	// … and are sent and mined after it was made.
	r.hsm.set(func(h *hsm) { h.gate = nil })
	close(gate)
	r.start()
	r.waitFor("sent", func() bool { return len(r.chain.Pool(addr(0))) == 3 })
	r.chain.Mine()
	r.stop()

	replaceFile(t, backup, database)
	if late {
		for _, method := range []string{"eth_getTransactionReceipt", "eth_getBlockReceipts"} {
			r.chain.Fail(method, &nodetest.RPCError{Code: -32000, Message: "later"}, nodetest.Forever)
		}
	}
	r.start()
	_, err = r.send(transfer(0, 4))
	wantRefused(t, err, store.RestoredReason)
	r.chain.Mine()
	time.Sleep(100 * time.Millisecond)
	if n := len(r.chain.Mined(addr(0))); n != 3 {
		t.Fatalf("%d mined while frozen", n)
	}
	senders, err := r.db.Senders(context.Background())
	r.must(err)
	report, err := r.mgr.Operate(context.Background(), senders[0].ID, Operation{Action: Adopt})
	r.must(err)
	if report.NeedsHelp || report.NextFree != 3 {
		t.Errorf("after adopt: %+v", report)
	}
	failed, err := r.db.List(context.Background(), store.TxFilter{States: []store.TxState{store.Failed}})
	r.must(err)
	if len(failed) != 2 {
		t.Errorf("%d of the two unsigned transactions failed", len(failed))
	}
	for _, row := range failed {
		if !strings.HasPrefix(row.Clearance, store.SpentMark) {
			t.Errorf("limits may give back what %s had reserved, which is mined: %q", row.ID, row.Clearance)
		}
	}
	r.chain.ClearFaults()
	r.chain.Mine() // with the next head it is asked again which of ours are mined
	next, err := r.send(transfer(0, 5))
	r.must(err)
	r.chain.Mine()
	r.checkChain(0, 4, []common.Hash{first, next})
}
