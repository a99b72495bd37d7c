// SPDX-License-Identifier: Apache-2.0

//go:build cgo

package main

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	module "github.com/miekg/pkcs11"

	"github.com/hsmsigner/hsmsigner/e2e/harness"
	"github.com/hsmsigner/hsmsigner/internal/key"
	"github.com/hsmsigner/hsmsigner/internal/key/pkcs11"
	"github.com/hsmsigner/hsmsigner/internal/key/pkcs11/softhsm"
)

// pkcs11Token compares a child process that holds SoftHSM with SoftHSM in this
// process. No service counts here: a module does that stands before SoftHSM, in
// the child of a second backend.
func (b *bench) pkcs11Token(ctx context.Context) (*provider, error) {
	token, err := softhsm.New(ctx, "signer")
	if err != nil {
		return nil, err
	}
	b.h.Cleanup(func() {
		if err := token.Close(); err != nil {
			b.h.Logf("bench: %v", err)
		}
	})
	config := pkcs11.Config{
		Module: token.Module, TokenLabel: token.Label, Env: token.Env(), PIN: func() (string, error) { return token.PIN, nil },
	}
	backend, err := pkcs11.Open(ctx, config)
	if err != nil {
		return nil, err
	}
	b.closes(backend)
	k, err := backend.Create(ctx, "signer", nil)
	if err != nil {
		return nil, err
	}
	sign, err := b.bareToken(token, k.Ref)
	if err != nil {
		return nil, err
	}
	log, err := b.countModule(ctx, &config)
	if err != nil {
		return nil, err
	}
	counted, err := pkcs11.Open(ctx, config)
	if err != nil {
		return nil, err
	}
	b.closes(counted)
	count := func(function string) func() (int, error) {
		return func() (n int, err error) {
			text, err := os.ReadFile(log)
			for line := range strings.Lines(string(text)) {
				if strings.TrimSpace(line) == function {
					n++
				}
			}
			return n, err
		}
	}
	return &provider{
		name: "pkcs11", call: "SignInit and Sign, no process between", local: true, bare: sign,
		backend: backend, ref: k.Ref, address: k.Address,
		counted: counted, calls: count("C_Sign"), links: count("C_OpenSession"), countedCall: "calls of C_Sign", countedLink: "new sessions",
	}, nil
}

// bareToken opens the token in this process, and finds the key there.
func (b *bench) bareToken(token *softhsm.Token, ref key.Ref) (func(context.Context, [32]byte) error, error) {
	for _, e := range token.Env() {
		name, value, _ := strings.Cut(e, "=")
		if err := os.Setenv(name, value); err != nil {
			return nil, err
		}
		b.h.Cleanup(func() { _ = os.Unsetenv(name) })
	}
	m := module.New(token.Module)
	if m == nil {
		return nil, fmt.Errorf("the module %s cannot be loaded", token.Module)
	}
	b.h.Cleanup(m.Destroy)
	if err := m.Initialize(); err != nil {
		return nil, err
	}
	b.h.Cleanup(func() { _ = m.Finalize() })
	slots, err := m.GetSlotList(true)
	if err != nil || len(slots) == 0 {
		return nil, fmt.Errorf("%d slots: %w", len(slots), err)
	}
	session, err := m.OpenSession(slots[0], module.CKF_SERIAL_SESSION)
	if err == nil {
		err = m.Login(session, module.CKU_USER, token.PIN)
	}
	if err != nil {
		return nil, err
	}
	text, _, _ := strings.Cut(string(ref), ".") // CKA_ID and public key
	id, err := hex.DecodeString(text)
	if err == nil {
		err = m.FindObjectsInit(session, []*module.Attribute{
			module.NewAttribute(module.CKA_CLASS, uint(module.CKO_PRIVATE_KEY)), module.NewAttribute(module.CKA_ID, id),
		})
	}
	if err != nil {
		return nil, err
	}
	found, _, err := m.FindObjects(session, 2)
	if err := errors.Join(err, m.FindObjectsFinal(session)); err != nil || len(found) != 1 {
		return nil, fmt.Errorf("%d private keys in the token: %w", len(found), err)
	}
	return func(_ context.Context, digest [32]byte) error {
		if err := m.SignInit(session, []*module.Mechanism{module.NewMechanism(module.CKM_ECDSA, nil)}, found[0]); err != nil {
			return err
		}
		_, err := m.Sign(session, digest[:])
		return err
	}, nil
}

// countModule builds the module of the adapter's tests that passes all calls on,
// puts it into the configuration, and returns the file into which it writes them.
func (b *bench) countModule(ctx context.Context, c *pkcs11.Config) (log string, err error) {
	root, err := harness.Root()
	if err != nil {
		return "", err
	}
	dir := b.h.TempDir()
	built := filepath.Join(dir, "shim.so")
	cmd := exec.CommandContext(ctx, "gcc", "-shared", "-fPIC", "-O1", "-o", built, filepath.Join(root, "internal/key/pkcs11/testdata/shim.c"), "-ldl", "-lpthread")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build the module that counts (it needs gcc): %w\n%s", err, out)
	}
	log = filepath.Join(dir, "log")
	c.Env = append(c.Env, "SHIM_MODULE="+c.Module, "SHIM_CONTROL="+filepath.Join(dir, "control"), "SHIM_LOG="+log)
	c.Module = built
	return log, nil
}
