// SPDX-License-Identifier: Apache-2.0

package keystore

import (
	"context"
	"errors"
	"fmt"

	"github.com/ethereum/go-ethereum/crypto"

	"github.com/hsmsigner/hsmsigner/internal/key"
	"github.com/hsmsigner/hsmsigner/internal/secp"
)

// warmLimit is how many files, from the first by name, are decrypted before
// anybody asks for them.
const warmLimit = 64

// unlock returns once the entry is decrypted. Callers that come together share
// one decryption, which goes on when they give up. A password that was wrong
// is not tried again until another one is there (see scan).
func (ks *Keystore) unlock(ctx context.Context, e *entry) error {
	for {
		ks.mu.Lock()
		switch {
		case ks.closed:
			ks.mu.Unlock()
			return errClosed
		case e.priv != nil:
			ks.mu.Unlock()
			return nil
		case !e.locked():
			defer ks.mu.Unlock()
			return e.refusal()
		}
		if e.flight == nil {
			e.flight = make(chan struct{})
			ks.wg.Go(func() { ks.decrypt(e) })
		}
		done := e.flight
		ks.mu.Unlock()
		select {
		case <-done:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// refusal says why an entry cannot be decrypted.
func (e *entry) refusal() error {
	if e.gone {
		return fmt.Errorf("%w: its file went or changed", key.ErrNotFound)
	}
	return fmt.Errorf("%w: %s", key.ErrDisabled, e.problem+e.failed)
}

// decrypt does the work of unlock and ends its flight.
func (ks *Keystore) decrypt(e *entry) {
	select {
	case ks.gate <- struct{}{}:
		defer func() { <-ks.gate }()
	case <-ks.ctx.Done():
	}
	var out entry // what will become of e
	ks.mu.RLock()
	stop := e.gone || ks.closed // while it waited
	ks.mu.RUnlock()
	if !stop {
		ks.attempt(e, &out)
	}

	ks.mu.Lock()
	defer ks.mu.Unlock()
	close(e.flight)
	e.flight = nil
	if e.gone || ks.closed {
		out.discard()
		return
	}
	visible := out.problem != "" || out.failed != "" || !e.known
	e.problem, e.failed, e.triedWith = out.problem, out.failed, out.triedWith
	e.priv, e.public = out.priv, out.public
	if e.priv != nil && !e.known {
		e.address, e.known = e.public.Address(), true
	}
	if reason := e.problem + e.failed; reason != "" {
		ks.log.Warn("key file cannot be unlocked", "file", e.name, "reason", reason)
	}
	if visible {
		ks.notify()
	}
}

// attempt decrypts the file of e into out.priv, or sets out.problem for what
// only another file will mend, or out.failed for what another password may.
func (ks *Keystore) attempt(e, out *entry) {
	password, err := ks.password(e.name)
	if err != nil {
		if hidden, ok := errors.AsType[*commonPasswordError](err); ok {
			ks.log.Error("common password of the keystore cannot be had", "err", hidden.err)
		}
		out.failed = err.Error()
		return
	}
	defer wipe(password)
	secret, err := e.v3.decrypt(password)
	if err != nil {
		out.failed, out.triedWith = err.Error(), ks.fingerprint(password)
		return
	}
	defer wipe(secret)
	priv, err := toKey(secret)
	if err != nil {
		out.problem = err.Error()
		return
	}
	public := secp.PublicKey(crypto.FromECDSAPub(&priv.PublicKey)[1:])
	if actual := public.Address(); e.v3.hasAddress && actual != e.v3.address {
		wipeKey(priv)
		out.problem = e.v3.mismatch(actual).Error()
		return
	}
	out.priv, out.public = priv, public
}

// warmUp decrypts what is worth it in the background, one after the other,
// until Close.
func (ks *Keystore) warmUp() {
	for {
		select {
		case <-ks.ctx.Done():
			return
		case <-ks.cold:
		}
		for e := ks.nextCold(); e != nil; e = ks.nextCold() {
			// The outcome is in the entry, and logged.
			_ = ks.unlock(ks.ctx, e)
			if ks.ctx.Err() != nil {
				return
			}
		}
	}
}

// nextCold returns the next file for the warm-up: first all those whose
// address only the key can tell, then the first of the directory.
func (ks *Keystore) nextCold() *entry {
	ks.mu.RLock()
	defer ks.mu.RUnlock()
	for _, name := range ks.names {
		if e := ks.entries[name]; e.locked() && !e.known {
			return e
		}
	}
	for _, name := range ks.names[:min(len(ks.names), warmLimit)] {
		if e := ks.entries[name]; e.locked() {
			return e
		}
	}
	return nil
}
