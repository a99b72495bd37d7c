// SPDX-License-Identifier: Apache-2.0

package wallet

import (
	"context"
	"fmt"
	"math"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hsmsigner/hsmsigner/internal/audit"
	"github.com/hsmsigner/hsmsigner/internal/key"
)

func TestRequestIDOfAFailedCallIsInTheAuditRowAndTheLog(t *testing.T) {
	v, d, log := newVault(t, 1), newDisk(t), &logbook{}
	v.sign = func(_ context.Context, ref key.Ref, _ [32]byte) (key.Signature, error) {
		return key.Signature{}, fmt.Errorf("vault: %w", &key.CallError{
			Op: "sign", Ref: ref, Kind: key.ErrDenied, Why: "the right to sign is missing", RequestID: "req-4711",
		})
	}
	w := openWallet(t, v, d, func(c *Config) { c.Logger = log.logger() })
	_, err := w.SignMessage(t.Context(), alice, v.address("key-0"), nil)
	wantKind(t, err, KindDenied)
	if strings.Contains(err.Error(), "req-4711") {
		t.Errorf("the client is told %q", err)
	}
	_, o := d.onlyOutcome(t)
	if o.RequestID != "req-4711" {
		t.Errorf("outcome %+v", o)
	}
	for _, want := range []string{"request_id=req-4711", "the right to sign is missing", "intent=" + o.Intent} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("%s is not in the log: %s", want, log)
		}
	}
	_, accepted, _ := w.SignAccepted(t.Context(), acceptedTx(alice, "intent", audit.SendTransaction, v.address("key-0"), transfer(1)))
	if accepted.RequestID != "req-4711" {
		t.Errorf("outcome of a transaction %+v", accepted)
	}
}

func TestStatusShowsHowTheBackendStands(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v, away := failing(t, dead)
		w := openWallet(t, key.Limit(v, key.NewQuota(50)), newDisk(t), nil)
		if s := w.Status(); s.Breaker != BreakerClosed || !s.LastSuccess.IsZero() || s.Quota.Rate != 50 || s.Discovery.Finished.IsZero() {
			t.Errorf("at the start: %+v", s)
		}
		for range 5 {
			if err := accepted(t, w, v, time.Minute); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(time.Second)
		if s := w.Status(); s.Latency != 20*time.Millisecond || time.Since(s.LastSuccess) != time.Second || s.LastError != nil {
			t.Errorf("after five signatures: %+v", s)
		}
		v.setOutage(key.ErrUnavailable)
		w.Health(t.Context())
		away.Store(true)
		go accepted(t, w, v, 10*time.Second)
		time.Sleep(5 * time.Second)
		s := w.Status()
		if s.Breaker == BreakerClosed || s.Waiting != 1 || s.LastError == nil || s.LastError.Kind != KindUnavailable ||
			s.CheckError == nil || s.CheckError.Kind != KindUnavailable || !s.LastFailure.After(s.LastSuccess) {
			t.Errorf("in an outage: %+v", s)
		}
		time.Sleep(10 * time.Second)
		if s := w.Status(); s.Waiting != 0 || s.InFlight != 0 {
			t.Errorf("afterwards: %+v", s)
		}
	})
}

func TestBackendWithoutAQuotaHasNone(t *testing.T) {
	w := openWallet(t, newVault(t, 1), newDisk(t), nil)
	if s := w.Status(); !math.IsInf(s.Quota.Rate, 1) || !math.IsInf(s.Quota.Share, 1) {
		t.Errorf("status %+v", s)
	}
}
