// SPDX-License-Identifier: Apache-2.0

//go:build cgo

package pkcs11_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/crypto"
	raw "github.com/miekg/pkcs11"
	"go.uber.org/goleak"

	"github.com/hsmsigner/hsmsigner/internal/key"
	"github.com/hsmsigner/hsmsigner/internal/key/keytest"
	"github.com/hsmsigner/hsmsigner/internal/key/pkcs11"
	"github.com/hsmsigner/hsmsigner/internal/key/pkcs11/softhsm"
	"github.com/hsmsigner/hsmsigner/internal/secp"
)

// TestMain is the child, too: the tests start this program again, as the daemon
// starts itself.
func TestMain(m *testing.M) {
	if len(os.Args) == 2 && os.Args[1] == pkcs11.ChildArgument {
		os.Exit(pkcs11.Child(os.Stdin, os.Stdout))
	}
	if len(os.Args) == 2 && os.Args[1] == orphan {
		os.Exit(runOrphan())
	}
	if len(os.Args) == 3 && os.Args[1] == babble {
		os.Exit(runBabbler())
	}
	goleak.VerifyTestMain(m)
}

func newToken(t *testing.T) *softhsm.Token {
	t.Helper()
	token, err := softhsm.New(t.Context(), "signer")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := token.Close(); err != nil {
			t.Error(err)
		}
	})
	return token
}

func configOf(token *softhsm.Token) pkcs11.Config {
	return pkcs11.Config{
		Module: token.Module, TokenLabel: token.Label,
		// The race detector would have each child wait for a second when it ends.
		Env: append(token.Env(), "GORACE=atexit_sleep_ms=20"),
		PIN: func() (string, error) { return token.PIN, nil },
	}
}

// open opens a backend that is closed, with its child, at the end of the test.
func open(t *testing.T, c pkcs11.Config) *pkcs11.Backend {
	t.Helper()
	b, err := pkcs11.Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		pid := b.Process()
		if err := b.Close(); err != nil {
			t.Error(err)
		}
		if pid != 0 {
			if _, err := os.Stat(fmt.Sprintf("/proc/%d", pid)); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("child %d is left behind: %v", pid, err)
			}
		}
	})
	return b
}

func create(t *testing.T, b *pkcs11.Backend, name string) key.Key {
	t.Helper()
	k, err := b.Create(t.Context(), name, nil)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func list(t *testing.T, b *pkcs11.Backend) (keys []key.Key, problems []key.Problem) {
	t.Helper()
	for cursor := ""; ; {
		page, err := b.Keys(t.Context(), cursor)
		if err != nil {
			t.Fatal(err)
		}
		keys, problems = append(keys, page.Keys...), append(problems, page.Problems...)
		if cursor = page.Next; cursor == "" {
			return keys, problems
		}
	}
}

// sign signs as package wallet does, without its retries.
func sign(ctx context.Context, b *pkcs11.Backend, k key.Key, n int) error {
	digest := [32]byte(crypto.Keccak256(fmt.Append(nil, k.Ref, n)))
	sig, err := b.SignDigest(ctx, k.Ref, digest)
	if err != nil {
		return err
	}
	_, err = secp.Finish(k.Address, digest, sig.R, sig.S)
	return err
}

func mustSign(t *testing.T, b *pkcs11.Backend, k key.Key) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := sign(ctx, b, k, 0); err != nil {
		t.Fatal(err)
	}
}

func TestContract(t *testing.T) {
	keytest.Run(t, func(t *testing.T) keytest.Fixture {
		token := newToken(t)
		c := configOf(token)
		c.PageSize = 2
		c.Protection = key.HSM
		other := open(t, c) // another process on the same token
		f := keytest.Fixture{MinKeys: 5, MinPages: 3, CreateName: "made by suite"}
		for i := range 5 {
			f.Addresses = append(f.Addresses, create(t, other, fmt.Sprintf("key %d", i)).Address)
		}
		inside(t, token, func(o objects) {
			off := newKey(t)
			o.private(off, "off", "off", attr(raw.CKA_SIGN, false))
			o.public(off, "off", "off")
			o.private(newKey(t), "alone", "alone")
		})
		keys, _ := list(t, other)
		f.Disabled, f.Problems = []key.Ref{byName(keys)["off"].Ref}, []string{"alone"}
		f.Unknown = "00ff.0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798"
		refs := map[common.Address]key.Ref{}
		f.Add = func(t *testing.T) common.Address {
			k := create(t, other, "added")
			refs[k.Address] = k.Ref
			return k.Address
		}
		f.Remove = func(t *testing.T, address common.Address) {
			if _, err := other.Delete(t.Context(), refs[address]); err != nil {
				t.Fatal(err)
			}
		}
		b, err := pkcs11.Open(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		f.Backend = b
		return f
	})
}
