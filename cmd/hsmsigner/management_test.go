// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hsmsigner/hsmsigner/internal/seal"
)

// lateKeys is a key service that answers after a while; never, if that is zero.
type lateKeys struct {
	from  time.Time
	after time.Duration
	err   error
	asked int
}

func (k *lateKeys) Key(context.Context, string) ([]byte, error) {
	if k.asked++; k.after > 0 && time.Since(k.from) >= k.after {
		return make([]byte, 32), nil
	}
	return nil, fmt.Errorf("kms.example.org: %w", k.err)
}

func TestStartWaitsForTheServiceWithTheKeyThatSeals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		keys := &lateKeys{from: time.Now(), after: 10 * time.Second, err: seal.ErrUnavailable}
		if _, err := waitForVerifier(t.Context(), keys, slog.New(slog.NewTextHandler(&log, nil))); err != nil {
			t.Error(err)
		}
		if waited := time.Since(keys.from); waited > 15*time.Second {
			t.Errorf("waited %s", waited)
		}
		if said := strings.Count(log.String(), "does not answer"); said != keys.asked-1 || said < 3 {
			t.Errorf("asked %d times, said %d:\n%s", keys.asked, said, log.String())
		}
	})
}

func TestStartGivesUpOnTheServiceWithTheKeyThatSeals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		_, err := waitForVerifier(t.Context(), &lateKeys{err: seal.ErrUnavailable}, slog.New(slog.DiscardHandler))
		if !errors.Is(err, seal.ErrUnavailable) || !strings.Contains(err.Error(), "kms.example.org") || !strings.Contains(err.Error(), "30s") {
			t.Errorf("got %v", err)
		}
		if took := time.Since(start); took < 20*time.Second || took > 30*time.Second {
			t.Errorf("after %s", took)
		}
	})
}

func TestStartWaitsForNothingElse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start, lost := time.Now(), errors.New("no such key")
		if _, err := waitForVerifier(t.Context(), &lateKeys{err: lost}, slog.New(slog.DiscardHandler)); !errors.Is(err, lost) {
			t.Errorf("got %v", err)
		}
		stopped, stop := context.WithTimeout(t.Context(), 3*time.Second)
		defer stop()
		if _, err := waitForVerifier(stopped, &lateKeys{err: seal.ErrUnavailable}, slog.New(slog.DiscardHandler)); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("stopped: got %v", err)
		}
		if took := time.Since(start); took > 3*time.Second {
			t.Errorf("took %s", took)
		}
	})
}

func TestOriginIsWrittenAsBrowsersDo(t *testing.T) {
	for base, want := range map[string][]string{
		"":                                nil,
		"https://signer.example.org":      {"https://signer.example.org"},
		"https://Signer.Example.org:443":  {"https://signer.example.org"},
		"http://signer.example.org:80":    {"http://signer.example.org"},
		"https://signer.example.org:8443": {"https://signer.example.org:8443"},
		"http://[::1]:8080":               {"http://[::1]:8080"},
	} {
		if got := origins(base); !slices.Equal(got, want) {
			t.Errorf("%s: got %v, want %v", base, got, want)
		}
	}
}
