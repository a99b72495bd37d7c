// SPDX-License-Identifier: Apache-2.0

package wallet

import (
	"bytes"
	"context"
	"log/slog"
	"math/big"
	"sync"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"go.uber.org/goleak"

	"github.com/hsmsigner/hsmsigner/internal/audit"
	"github.com/hsmsigner/hsmsigner/internal/auth"
	"github.com/hsmsigner/hsmsigner/internal/key"
	"github.com/hsmsigner/hsmsigner/internal/policy"
	"github.com/hsmsigner/hsmsigner/internal/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	testChain = big.NewInt(1337)
	alice     = auth.Principal{Name: "app:alice"}
)

// disk is a real store that can be made to fail.
type disk struct {
	*store.DB
	mu  sync.Mutex
	ids []string // of the intents that were committed

	intentFault, outcomeFault, saveFault error
}

func newDisk(t *testing.T) *disk {
	t.Helper()
	db, err := store.OpenSQLite(t.Context(), store.Config{Dir: t.TempDir(), Exclusive: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return &disk{DB: db}
}

func failingDisk(t *testing.T, fail func(*disk)) *disk {
	t.Helper()
	d := newDisk(t)
	fail(d)
	return d
}

func (d *disk) WriteIntent(ctx context.Context, i audit.Intent) error {
	if d.intentFault != nil {
		return d.intentFault
	}
	if err := d.DB.WriteIntent(ctx, i); err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.ids = append(d.ids, i.ID)
	return nil
}

func (d *disk) WriteOutcome(ctx context.Context, o audit.Outcome) error {
	if d.outcomeFault != nil {
		return d.outcomeFault
	}
	return d.DB.WriteOutcome(ctx, o)
}

func (d *disk) SaveAccounts(ctx context.Context, wallet string, accounts []store.Account) error {
	if d.saveFault != nil {
		return d.saveFault
	}
	return d.Write(ctx, func(w *store.Writer) error { return w.PutAccounts(wallet, accounts) })
}

// rows reads what is committed.
func (d *disk) rows(t *testing.T) (intents []audit.Intent, outcomes []audit.Outcome) {
	t.Helper()
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, id := range d.ids {
		intent, of, err := d.AuditOf(context.Background(), id)
		if err != nil {
			t.Fatal(err)
		}
		intents, outcomes = append(intents, intent), append(outcomes, of...)
	}
	return intents, outcomes
}

// onlyOutcome returns the one outcome that was written, with its intent.
func (d *disk) onlyOutcome(t *testing.T) (audit.Intent, audit.Outcome) {
	t.Helper()
	intents, outcomes := d.rows(t)
	if len(intents) != 1 || len(outcomes) != 1 {
		t.Fatalf("%d intents and %d outcomes, want one of each", len(intents), len(outcomes))
	}
	if outcomes[0].Intent != intents[0].ID || outcomes[0].ID == "" {
		t.Fatalf("outcome %+v does not belong to intent %q", outcomes[0], intents[0].ID)
	}
	return intents[0], outcomes[0]
}

// logbook collects what is logged.
type logbook struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logbook) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *logbook) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

func (l *logbook) logger() *slog.Logger { return slog.New(slog.NewTextHandler(l, nil)) }

type verdictFunc func(policy.Request) (policy.Verdict, error)

func (f verdictFunc) Judge(_ context.Context, r policy.Request) (policy.Verdict, error) { return f(r) }

func denyAll(policy.Request) (policy.Verdict, error) {
	return policy.Verdict{Rule: "nobody", Reason: "closed on Sundays"}, nil
}

// openWallet opens a wallet whose first discovery is done.
func openWallet(t *testing.T, v key.Backend, d *disk, change func(*Config)) *Wallet {
	t.Helper()
	w := openUnrefreshed(t, v, d, change)
	if _, err := w.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	return w
}

func openUnrefreshed(t *testing.T, v key.Backend, d *disk, change func(*Config)) *Wallet {
	t.Helper()
	cfg := Config{
		Name: "treasury", ChainID: testChain, Backend: v, Policy: policy.AllowAll{},
		Log: d, Snapshots: d, RefreshInterval: time.Hour,
	}
	if change != nil {
		change(&cfg)
	}
	w, err := Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	})
	return w
}

func TestConfigThatLacksAPartIsRefused(t *testing.T) {
	d, v := newDisk(t), newVault(t, 0)
	whole := Config{Name: "w", ChainID: testChain, Backend: v, Policy: policy.AllowAll{}, Log: d, Snapshots: d}
	for name, lack := range map[string]func(*Config){
		"name":     func(c *Config) { c.Name = "" },
		"chain id": func(c *Config) { c.ChainID = new(big.Int) },
		"backend":  func(c *Config) { c.Backend = nil },
		"policy":   func(c *Config) { c.Policy = nil },
		"log":      func(c *Config) { c.Log = nil },
		"store":    func(c *Config) { c.Snapshots = nil },
	} {
		cfg := whole
		lack(&cfg)
		if w, err := Open(t.Context(), cfg); err == nil {
			w.Close()
			t.Errorf("opened without a %s", name)
		}
	}
}

func TestAddressThatIsNotOursIsUnknown(t *testing.T) {
	w := openWallet(t, newVault(t, 1), newDisk(t), nil)
	stranger := common.HexToAddress("0x00000000000000000000000000000000000000AA")
	_, err := w.SignMessage(t.Context(), alice, stranger, []byte("hello"))
	unknown, ok := err.(*UnknownAccountError)
	if !ok || unknown.Address != stranger {
		t.Fatalf("got %v, want an UnknownAccountError", err)
	}
}

func TestRequireHSMRefusesSoftwareKeys(t *testing.T) {
	v := newVault(t, 2)
	v.alter("key-1", func(k *key.Key) { k.Protection = key.Software })
	w := openWallet(t, v, newDisk(t), func(c *Config) { c.RequireHSM = true })
	if err := w.Usable(v.address("key-0")); err != nil {
		t.Error(err)
	}
	if _, ok := w.Usable(v.address("key-1")).(*UnusableError); !ok {
		t.Error("a software key is usable although require_hsm is set")
	}
	if _, err := w.SignMessage(t.Context(), alice, v.address("key-1"), nil); err == nil {
		t.Error("a software key signed although require_hsm is set")
	}
}

func TestDisabledKeyIsRefusedWithItsReason(t *testing.T) {
	v := newVault(t, 1)
	v.alter("key-0", func(k *key.Key) { k.State, k.Reason = key.Disabled, "wrong password" })
	w := openWallet(t, v, newDisk(t), nil)
	want := "account " + v.address("key-0").Hex() + " cannot sign: its key is disabled: wrong password"
	if err := w.Usable(v.address("key-0")); err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

func (verdictFunc) Settle(string, string, policy.Use) {}
