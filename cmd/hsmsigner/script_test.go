// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"log/slog"
	"math/big"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/core/types"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/hsmsigner/hsmsigner/internal/audit"
	"github.com/hsmsigner/hsmsigner/internal/control"
	"github.com/hsmsigner/hsmsigner/internal/freeport"
	"github.com/hsmsigner/hsmsigner/internal/store"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"hsmsigner": main})
}

// TestCommandLine runs every script in testdata/script: what a user types,
// what is printed, and the exit code.
func TestCommandLine(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"exits":    exits,
			"seed":     seed,
			"desk":     desk,
			"waitfile": waitfile,
			"rsakey":   rsakey,
			"unwrap":   unwrap,
			"address":  address,
			"answers":  answers,
			"fill":     fill,
		},
	})
}

// exits runs a program and wants exactly this exit code: exits 3 hsmsigner …
func exits(ts *testscript.TestScript, _ bool, args []string) {
	err := ts.Exec(args[1], args[2:]...)
	got := "0"
	if err != nil {
		got = strings.TrimPrefix(err.Error(), "exit status ")
	}
	if got != args[0] {
		ts.Fatalf("exit code %s, want %s", got, args[0])
	}
}

// waitfile waits until a file is there.
func waitfile(ts *testscript.TestScript, _ bool, args []string) {
	path := ts.MkAbs(args[0])
	for end := time.Now().Add(2 * time.Minute); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if _, err := os.Stat(path); err == nil {
			return
		}
	}
	ts.Fatalf("there is no %s after two minutes", args[0])
}

// address sets a variable to a loopback address on which nobody listens: address ADMIN.
func address(ts *testscript.TestScript, _ bool, args []string) {
	free, err := freeport.Address(context.Background())
	ts.Check(err)
	ts.Setenv(args[0], free)
}

// fill writes the values of variables into files, in the place of $NAME.
func fill(ts *testscript.TestScript, _ bool, args []string) {
	for _, name := range args {
		text := os.Expand(ts.ReadFile(name), ts.Getenv)
		ts.Check(os.WriteFile(ts.MkAbs(name), []byte(text), 0o600))
	}
}

// answers waits until something answers at a URL: answers http://…
func answers(ts *testscript.TestScript, _ bool, args []string) {
	for end := time.Now().Add(2 * time.Minute); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if r, err := http.Get(args[0]); err == nil {
			ts.Check(r.Body.Close())
			return
		}
	}
	ts.Fatalf("nothing answers at %s after two minutes", args[0])
}

const seededSender = "1337-aabbccdd-0x00000000000000000000000000000000000000aa"

// seed makes a store in a folder, with two transactions of one sender.
func seed(ts *testscript.TestScript, _ bool, args []string) {
	ctx := context.Background()
	db, err := store.OpenSQLite(ctx, store.Config{Dir: ts.MkAbs(args[0])})
	ts.Check(err)
	from, to := common.HexToAddress("0xaa"), common.HexToAddress("0xbb")
	created := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	row := func(id string, nonce uint64, state store.TxState) store.Tx {
		payload, err := types.NewTx(&types.DynamicFeeTx{
			ChainID: big.NewInt(1337), Gas: 21_000, To: &to, Value: big.NewInt(1_500_000_000_000_000_000),
			GasTipCap: big.NewInt(1), GasFeeCap: big.NewInt(2),
		}).MarshalBinary()
		ts.Check(err)
		return store.Tx{
			ID: id, Wallet: "treasury", Credential: "app:shop", Intent: id, Sender: seededSender, Nonce: &nonce,
			Kind: store.UserTx, Payload: payload, State: state, FeeCeiling: big.NewInt(6),
			Hash: common.Hash{1, byte(nonce)}, Created: created, Updated: created, Expires: created.Add(time.Hour),
		}
	}
	ts.Check(db.Write(ctx, func(w *store.Writer) error {
		sender := store.Sender{ID: seededSender, ChainID: 1337, Address: from, Membership: "default", Parked: "the chain was reset"}
		if err := w.PutSender(sender); err != nil {
			return err
		}
		for _, t := range []store.Tx{row("tx-1", 7, store.Confirmed), row("tx-2", 8, store.Failed)} {
			if err := w.AuditIntent(audit.Intent{ID: t.Intent, At: created, Principal: t.Credential, Wallet: t.Wallet, Address: from, Action: audit.SendTransaction, Subject: t.ID, Verdict: "allow: default"}); err != nil {
				return err
			}
			if err := w.InsertTx(t); err != nil {
				return err
			}
		}
		attempt := store.Attempt{ID: "try-1", Tx: "tx-1", Sender: seededSender, Nonce: 7, Kind: store.FirstAttempt, Epoch: 1, Outcome: store.Open, Created: created, Raw: []byte{1}, Hash: common.Hash{1, 7}}
		if err := w.InsertAttempt(attempt); err != nil {
			return err
		}
		return nil
	}))
	ts.Check(db.Close())
}

// desk answers on the control socket of a folder, as a daemon would that has
// one parked sender.
func desk(ts *testscript.TestScript, _ bool, args []string) {
	dir := ts.MkAbs(args[0])
	ts.Check(os.MkdirAll(dir, 0o700))
	server, err := control.Serve(context.Background(), dir, parkedSender{}, slog.New(slog.DiscardHandler))
	ts.Check(err)
	ts.Defer(func() { _ = server.Close(context.Background()) })
}

type parkedSender struct{}

func (parkedSender) Repair(_ context.Context, sender string, order control.RepairAction) (control.Report, error) {
	if sender != seededSender {
		return control.Report{}, fmt.Errorf("sender %s: %w", sender, control.ErrNotFound)
	}
	report := control.Report{
		Sender: sender, Parked: "the chain was reset", Latest: 3, Next: 9, InFlight: 1,
		Findings: []string{"the chain counts 3 transactions, the rows 8"},
		Advice:   []string{"adopt: go on with nonce 3"},
	}
	if order.Action.OfTx() {
		report.Done = strings.TrimSpace(fmt.Sprint(order.Action, " ", order.Tx, " ", order.Fee, " ", order.Tip))
	}
	if order.Action == control.Adopt {
		report.Parked, report.Advice, report.Done = "", nil, "goes on with nonce 3"
	}
	return report, nil
}

func (parkedSender) Refresh(context.Context, string) error { return nil }
