// SPDX-License-Identifier: Apache-2.0

//go:build faultpoints

package faultpoint

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"
)

func opened(t *testing.T, rules string) (*schedule, string) {
	t.Helper()
	hits := filepath.Join(t.TempDir(), "hits")
	s, err := open(rules, filepath.Join(filepath.Dir(hits), "control"), hits)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.hits.Close() })
	return s, hits
}

func TestErrorComesAtTheHitThatItIsFor(t *testing.T) {
	s, hits := opened(t, "sign:error=unavailable,n=2")
	var got []bool
	for range 3 {
		err := s.hit(Sign)
		var injected *InjectedError
		if errors.As(err, &injected) && injected.Kind != "unavailable" {
			t.Errorf("kind %q", injected.Kind)
		}
		got = append(got, err != nil)
	}
	if got[0] || !got[1] || got[2] {
		t.Errorf("errors at hits %v, want the second alone", got)
	}
	if text, err := os.ReadFile(hits); err != nil || string(text) != "sign\nsign\nsign error\nsign\n" {
		t.Errorf("hits %q %v", text, err)
	}
}

func TestProbabilityIsRepeatableAndTimesBoundsIt(t *testing.T) {
	count := func(rules string) (n int) {
		s, _ := opened(t, rules)
		for range 1000 {
			if s.hit(Sign) != nil {
				n++
			}
		}
		return n
	}
	a, b := count("sign:error,p=0.2,seed=5"), count("sign:error,p=0.2,seed=5")
	if a != b || a < 120 || a > 280 {
		t.Errorf("%d and %d of 1000 at p=0.2", a, b)
	}
	if n := count("sign:error,p=0.5,times=3"); n != 3 {
		t.Errorf("%d errors, want 3", n)
	}
}

func TestLimitedDelayServesSoManyAtATime(t *testing.T) {
	s, _ := opened(t, "sign:delay=30ms,limit=4")
	start := time.Now()
	var all sync.WaitGroup
	for range 12 {
		all.Go(func() { _ = s.hit(Sign) })
	}
	all.Wait()
	if took := time.Since(start); took < 90*time.Millisecond {
		t.Errorf("12 calls of 30 ms, 4 at a time, took %s", took)
	}
}

func TestControlFileTakesEffectAndEnds(t *testing.T) {
	s, hits := opened(t, "")
	if err := os.WriteFile(filepath.Join(filepath.Dir(hits), "control"), []byte("sign:error"), 0o600); err != nil {
		t.Fatal(err)
	}
	await := func(want bool) {
		t.Helper()
		for end := time.Now().Add(5 * time.Second); (s.hit(Sign) != nil) != want; time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("an error: want %v", want)
			}
		}
	}
	await(true)
	if err := os.Remove(filepath.Join(filepath.Dir(hits), "control")); err != nil {
		t.Fatal(err)
	}
	await(false)
}

// The test binary runs itself, since what is tested ends a process.
func TestKillIsSIGKILLAndTheHitIsOnRecord(t *testing.T) {
	if os.Getenv(EnvRules) != "" {
		At(Send)
		At(Send)
		os.Exit(0)
	}
	hits := filepath.Join(t.TempDir(), "hits")
	cmd := exec.Command(os.Args[0], "-test.run=^TestKillIsSIGKILLAndTheHitIsOnRecord$")
	cmd.Env = append(os.Environ(), EnvRules+"=send:kill,n=2", EnvHits+"="+hits)
	out, _ := cmd.CombinedOutput()
	if status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); !ok || status.Signal() != syscall.SIGKILL {
		t.Errorf("ended with %v, want SIGKILL\n%s", cmd.ProcessState, out)
	}
	if text, _ := os.ReadFile(hits); string(text) != "send\nsend\nsend kill\n" {
		t.Errorf("hits %q, want two and the kill", text)
	}
}
