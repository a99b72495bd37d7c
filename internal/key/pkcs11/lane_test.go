// SPDX-License-Identifier: Apache-2.0

//go:build cgo && unix

package pkcs11_test

import (
	"context"
	"errors"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hsmsigner/hsmsigner/internal/key"
	"github.com/hsmsigner/hsmsigner/internal/key/pkcs11"
	"github.com/hsmsigner/hsmsigner/internal/key/pkcs11/wire"
	"github.com/hsmsigner/hsmsigner/internal/secp"
)

// The signatures that find no lane go through the pipe, at the same time.
func TestMoreSignaturesAtOnceThanLanes(t *testing.T) {
	token := newToken(t)
	s := newShim(t, token)
	c := s.config(token)
	c.Sessions = 64
	b := open(t, c)
	k := create(t, b, "a")
	mustSign(t, b, k)
	pid := b.Process()
	s.tell(t, "C_Sign slow 20")
	errs := make([]error, 3*c.Sessions)
	var wg sync.WaitGroup
	for i := range errs {
		wg.Go(func() { errs[i] = sign(t.Context(), b, k, i) })
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Error(err)
	}
	if b.Process() != pid {
		t.Error("it took a new child")
	}
}

// What comes for a caller who has gone is nobody else's signature.
func TestSignatureGivenUpIsNotTheNextOnes(t *testing.T) {
	token := newToken(t)
	s := newShim(t, token)
	c := s.config(token)
	c.Sessions = 1
	b := open(t, c)
	k := create(t, b, "a")
	mustSign(t, b, k)
	pid := b.Process()
	for n := range 5 {
		s.tell(t, "C_Sign once-slow 100")
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		if err := sign(ctx, b, k, n); err != nil && !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("given up: %v", err)
		}
		cancel()
		if err := sign(t.Context(), b, k, 100+n); err != nil {
			t.Errorf("the next: %v", err)
		}
	}
	if b.Process() != pid {
		t.Error("it took a new child")
	}
}

// Package wallet asks again when a signature is not by the key. A handle that has
// come to mean another key is found again then, before it gives a second one.
func TestWhoAsksAgainGetsAnotherHandle(t *testing.T) {
	token := newToken(t)
	s := newShim(t, token)
	b := open(t, s.config(token))
	k := create(t, b, "a")
	mustSign(t, b, k)
	s.tell(t, "C_Sign flip", "C_FindObjectsInit once-slow 0") // wrong until it is found again
	digest := [32]byte{1}
	sig, err := b.SignDigest(t.Context(), k.Ref, digest)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := secp.Finish(k.Address, digest, sig.R, sig.S); !errors.Is(err, secp.ErrWrongKey) {
		t.Fatalf("the shim did nothing: %v", err)
	}
	if sig, err = b.SignDigest(t.Context(), k.Ref, digest); err != nil {
		t.Fatal(err)
	}
	if _, err := secp.Finish(k.Address, digest, sig.R, sig.S); err != nil {
		t.Errorf("asked again: %v", err)
	}
}

// babble is the first argument of a child that holds no module. The second says
// what it does when it is asked for a signature along its lane: it answers a
// request that nobody made, or closes the lane. Then it lives on.
const babble = "babble"

func runBabbler() int {
	start, err := wire.Read(os.Stdin)
	if err != nil {
		return 1
	}
	say := func(f *os.File, m wire.Message) {
		frame, _ := wire.Append(nil, m)
		_, _ = f.Write(frame)
	}
	say(os.Stdout, wire.Hello{Sessions: 1, Label: "babble"}.Message(start.ID))
	lane := os.NewFile(3, "lane")
	m, err := wire.Read(lane)
	if err != nil {
		return 1
	}
	if os.Args[2] == "close" {
		_ = lane.Close()
	} else {
		say(lane, wire.Message{ID: m.ID + 1, Op: wire.Done, Fields: [][]byte{make([]byte, 32), make([]byte, 32)}})
	}
	_, _ = wire.Read(os.Stdin)
	return 0
}

func TestChildThatSpoilsItsLaneIsEnded(t *testing.T) {
	for how, want := range map[string]string{"answer": "what is no reply", "close": "closed a lane"} {
		b := open(t, pkcs11.Config{
			Module: "/none", TokenLabel: "babble", Sessions: 1, PIN: func() (string, error) { return "1234", nil },
			Executable: os.Args[0], Args: []string{babble, how}, Env: []string{"GORACE=atexit_sleep_ms=20"},
		})
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		_, err := b.SignDigest(ctx, "00ff.0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798", [32]byte{1})
		if !errors.Is(err, key.ErrUnavailable) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v", how, err)
		}
		cancel()
	}
}
