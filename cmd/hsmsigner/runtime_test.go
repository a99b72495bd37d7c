// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hsmsigner/hsmsigner/internal/auth"
	"github.com/hsmsigner/hsmsigner/internal/config"
	"github.com/hsmsigner/hsmsigner/internal/fleet"
	"github.com/hsmsigner/hsmsigner/internal/key"
	"github.com/hsmsigner/hsmsigner/internal/platform"
)

func TestTenantsReachWhatTheOperatorAllowsOnly(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	dial, err := tenantsDial(config.Egress{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := dial(t.Context(), "tcp", listener.Addr().String()); err == nil {
		t.Error("a tenant has reached this machine")
	}
	if dial, err = tenantsDial(config.Egress{Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}); err != nil {
		t.Fatal(err)
	}
	conn, err := dial(t.Context(), "tcp", listener.Addr().String())
	if err != nil {
		t.Fatalf("what is allowed is not reached: %v", err)
	}
	_ = conn.Close()
	if _, err := tenantsDial(config.Egress{Proxy: config.EgressProxy{URL: "http://proxy:8080", CACert: config.NewSecret("no PEM")}}); err == nil {
		t.Error("a certificate that is none was taken")
	}
}

// refusing is a way out on which nothing is reached.
func refusing(asked *atomic.Int32) fleet.Dial {
	return func(context.Context, string, string) (net.Conn, error) {
		asked.Add(1)
		return nil, errors.New("refused")
	}
}

func TestBackendsOfTenantsAreReachedByTheirDial(t *testing.T) {
	secret := config.NewSecret("secret")
	for name, d := range map[string]config.Details{
		"azure": {Provider: config.ProviderAzure, Azure: &config.Azure{
			TargetAddress: "https://127.0.0.1:9", RelaxedHosts: []string{"127.0.0.1:9"},
			Credential: config.AzureCredential{Tenant: "t", Client: "00000000-0000-0000-0000-000000000001", Secret: secret},
		}},
		"aws_kms": {Provider: config.ProviderAWSKMS, AWSKMS: &config.AWSKMS{
			Region: "eu-central-1", TargetAddress: "http://127.0.0.1:9", Credential: config.AWSCredential{AccessKeyID: "AKIAIOSFODNN7EXAMPLE", SecretKey: secret},
		}},
		"hashicorp": {Provider: config.ProviderHashicorp, Hashicorp: &config.Hashicorp{
			TargetAddress: "http://127.0.0.1:9", Credential: config.VaultCredential{Token: secret},
		}},
		"gcp_kms": {Provider: config.ProviderGCPKMS, GCPKMS: &config.GCPKMS{
			KeyRing: "projects/p-1234567/locations/global/keyRings/r", TargetAddress: "http://127.0.0.1:9",
		}},
	} {
		t.Run(name, func(t *testing.T) {
			var asked atomic.Int32
			d.QuotaShare = 1
			b, err := opener()(t.Context(), fleet.Opening{Details: d, Membership: "m", Dial: refusing(&asked), Logger: slog.New(slog.DiscardHandler)})
			if err != nil {
				t.Fatal(err)
			}
			defer b.Close()
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			go func() { // it tries again until its time is up
				for asked.Load() == 0 && ctx.Err() == nil {
					time.Sleep(10 * time.Millisecond)
				}
				time.Sleep(time.Second)
				cancel()
			}()
			if _, err := b.Keys(ctx, ""); err == nil || strings.Contains(err.Error(), "connection refused") {
				t.Errorf("it went its own way: %v", err)
			}
			if asked.Load() == 0 {
				t.Error("it did not use the dial that it was given")
			}
		})
	}
}

func TestMembershipsShareNoQuota(t *testing.T) {
	shared := newSharing()
	of := func(membership string) quotaPair {
		d := vault("one")
		return shared.of(membership).quotas.limits(d, azureQuotas(d.Azure))
	}
	a, b, other := of("m1"), of("m1"), of("m2")
	if a != b {
		t.Error("two configurations of a membership have a quota each for one vault")
	}
	if a.signs == other.signs {
		t.Error("by naming another's vault a membership takes of its quota")
	}
	runtime.KeepAlive(a)
}

func TestQuotaThatNobodyHasIsForgotten(t *testing.T) {
	book := newQuotaBook()
	func() {
		d := vault("one")
		book.limits(d, azureQuotas(d.Azure))
	}()
	for end := time.Now().Add(time.Minute); ; {
		runtime.GC()
		book.mu.Lock()
		n := len(book.pairs)
		book.mu.Unlock()
		if n == 0 {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%d quotas are kept", n)
		}
		time.Sleep(time.Millisecond)
	}
}

func TestPlatformHearsThatAServiceDoesNotRun(t *testing.T) {
	s := services{fleet: fleet.New(fleet.Config{})}
	if _, err := s.Accounts(t.Context(), "u0none0000"); !errors.Is(err, platform.ErrNotRunning) {
		t.Errorf("got %v", err)
	}
	if err := s.Close(t.Context(), "u0none0000"); !errors.Is(err, platform.ErrNotRunning) {
		t.Errorf("got %v", err)
	}
	if _, err := s.Create(t.Context(), auth.Operator, "u0none0000", "k", nil); !errors.Is(err, platform.ErrNotRunning) || errors.Is(err, key.ErrUnsupported) {
		t.Errorf("got %v", err)
	}
	if _, ok := s.Status("u0none0000"); ok {
		t.Error("it has a status")
	}
}
