// SPDX-License-Identifier: Apache-2.0

package judge_test

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"fmt"
	"math/big"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/core/types"
	"go.uber.org/goleak"

	"github.com/hsmsigner/hsmsigner/internal/allowance"
	"github.com/hsmsigner/hsmsigner/internal/approval"
	"github.com/hsmsigner/hsmsigner/internal/audit"
	"github.com/hsmsigner/hsmsigner/internal/auth"
	"github.com/hsmsigner/hsmsigner/internal/judge"
	"github.com/hsmsigner/hsmsigner/internal/policy"
	"github.com/hsmsigner/hsmsigner/internal/store"
	"github.com/hsmsigner/hsmsigner/internal/store/pgtest"
)

var server *pgtest.Server

func TestMain(m *testing.M) {
	s, err := pgtest.Start(context.Background())
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	server = s
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		_ = s.Close()
		os.Exit(code)
	}), goleak.IgnoreAnyFunction("github.com/hsmsigner/hsmsigner/internal/store/pgtest.begin.func1"))
}

var (
	app    = auth.Principal{Name: "app:u0cred0000", Membership: "u0member00", Environment: "u0environ0"}
	owner  = policy.Owner{Consortium: "u0consort0", Environment: "u0environ0", Membership: "u0member00", Wallet: "u0service0", Service: "u0service0"}
	own    = common.HexToAddress("0x00000000000000000000000000000000000000A1")
	friend = common.HexToAddress("0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed")
)

func mac(b []byte) []byte {
	h := hmac.New(sha256.New, []byte("the key of this test's rows"))
	h.Write(b)
	return h.Sum(nil)
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// rows counts who looks.
type rows struct {
	*store.DB
	looks atomic.Int64
}

func (r *rows) Changes(ctx context.Context) (map[string]int64, error) {
	r.looks.Add(1)
	return r.DB.Changes(ctx)
}

func (r *rows) ActivePolicies(ctx context.Context) ([]store.Policy, error) {
	r.looks.Add(1)
	return r.DB.ActivePolicies(ctx)
}

// rig is one replica.
type rig struct {
	testing.TB
	db     *store.DB
	rows   *rows
	limits *allowance.Ledger
	book   *approval.Book
	judge  *judge.Judge
	serial atomic.Int64
}

func open(t testing.TB, cfg store.Config) *store.DB {
	t.Helper()
	db, err := store.OpenDB(context.Background(), cfg)
	must(t, err)
	t.Cleanup(func() { _ = db.Close() })
	return db
}

func newRig(t testing.TB, db *store.DB, declared ...judge.Declared) *rig {
	t.Helper()
	r := &rig{TB: t, db: db, rows: &rows{DB: db}, limits: allowance.New(allowance.Config{Store: db})}
	var err error
	r.book, err = approval.New(approval.Config{Store: db, MAC: mac, Deployment: "test"})
	must(t, err)
	r.judge = judge.New(judge.Config{Rows: r.rows, Declared: declared, Limits: r.limits, Approvals: r.book, MAC: mac})
	return r
}

func onSQLite(t testing.TB, declared ...judge.Declared) *rig {
	t.Helper()
	return newRig(t, open(t, store.Config{Dir: t.TempDir()}), declared...)
}

const first = "version: hsmsigner-policy-v1\n"

// set makes a text the policy of a scope, as package platform does.
func (r *rig) set(scope, text string) {
	r.Helper()
	must(r, r.db.Write(r.Context(), func(w *store.Writer) error {
		live, newest, err := w.LivePolicies(scope)
		if err != nil {
			return err
		}
		for _, p := range live {
			if p.State == store.PolicyActive {
				p.State = store.PolicyPast
				p.MAC = mac(p.Bytes())
				if err := w.DecidePolicy(p, store.PolicyActive); err != nil {
					return err
				}
			}
		}
		p := store.Policy{
			Scope: scope, Version: newest + 1, State: store.PolicyActive, Document: first + text, Author: "key:u0author00",
			Created: time.Now().Truncate(time.Microsecond),
		}
		p.MAC = mac(p.Bytes())
		return w.InsertPolicy(p)
	}))
	must(r, r.judge.Reload(r.Context()))
}

// send is a request to send wei to a friend.
func (r *rig) send(wei int64) policy.Request {
	return policy.Request{
		Principal: app, Owner: owner, ChainID: big.NewInt(1), Account: own, Action: audit.SendTransaction, ID: fmt.Sprintf("tx%p-%d", r, r.serial.Add(1)),
		Transaction: types.NewTx(&types.DynamicFeeTx{
			ChainID: big.NewInt(1), To: &friend, Value: big.NewInt(wei), Gas: 21_000, GasFeeCap: big.NewInt(30e9), GasTipCap: big.NewInt(1e9),
		}),
	}
}

func signing(q policy.Request, clearance string) policy.Request {
	q.Signing, q.Clearance = true, clearance
	return q
}

// want judges, and checks whether it is allowed, and by which rule.
func (r *rig) want(q policy.Request, allow bool, rule string) policy.Verdict {
	r.Helper()
	v, err := r.judge.Judge(r.Context(), q)
	must(r, err)
	if v.Allow != allow || v.Rule != rule || (v.Reason == "") != allow {
		r.Fatalf("%+v, want %t by %s", v, allow, rule)
	}
	return v
}

func (r *rig) used(scope string) string {
	r.Helper()
	all, err := r.judge.Usage(r.Context(), scope)
	must(r, err)
	sum := new(big.Int)
	for _, u := range all {
		sum.Add(sum, u.Used)
	}
	return sum.String()
}
