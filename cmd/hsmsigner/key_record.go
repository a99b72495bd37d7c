// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/spf13/cobra"

	"github.com/hsmsigner/hsmsigner/internal/audit"
	"github.com/hsmsigner/hsmsigner/internal/auth"
	"github.com/hsmsigner/hsmsigner/internal/key"
	"github.com/hsmsigner/hsmsigner/internal/platform"
	"github.com/hsmsigner/hsmsigner/internal/store"
)

// keyRecord is the audit trail of the deployment whose config a command reads: what
// the command does with the keys of a wallet is put there first, as what comes by
// the management API is. A nil one records nothing: the backend was described by
// flags, and is no deployment's.
type keyRecord struct {
	db     *store.DB
	wallet string
}

// keysOnRecord opens the trail, beside the daemon if one runs, and makes it if there
// is none yet. If it cannot be written, nothing is done to any key.
func (a *app) keysOnRecord(cmd *cobra.Command, s keySource) (*keyRecord, error) {
	if s.provider != "" {
		return nil, nil //nolint:nilnil // nothing to record on
	}
	c, err := a.load(cmd)
	if err != nil {
		return nil, err
	}
	w, err := wallet(c, s.wallet)
	if err != nil {
		return nil, err
	}
	db, err := recordDatabase(cmd.Context(), c, cmd.ErrOrStderr())
	if err != nil {
		return nil, unrecorded(err)
	}
	return &keyRecord{db, w.Name}, nil
}

func unrecorded(err error) error {
	return fmt.Errorf("it cannot be put on the audit trail, so nothing was done: %w", err)
}

// Close closes the trail.
func (r *keyRecord) Close() error {
	if r == nil {
		return nil
	}
	return r.db.Close()
}

// change has do change a key: the intent is on record before, and the outcome
// after. address is zero if it is not known before; subject names the key then.
func (r *keyRecord) change(ctx context.Context, action audit.Action, address common.Address, subject string, do func() (key.Key, error)) (key.Key, error) {
	if r == nil {
		return do()
	}
	intent := audit.Intent{
		ID: store.NewID(), At: time.Now(), Principal: auth.Operator.Name, Wallet: r.wallet, Address: address,
		Action: action, Subject: subject, Verdict: "allow: management",
	}
	if err := r.db.WriteIntent(ctx, intent); err != nil {
		return key.Key{}, unrecorded(err)
	}
	made, err := do()
	outcome := audit.Outcome{ID: store.NewID(), Intent: intent.ID, At: time.Now()}
	var call *key.CallError
	if errors.As(err, &call) {
		outcome.RequestID = call.RequestID
	}
	if err != nil {
		outcome.Error = err.Error()
	}
	// Whoever interrupts the command does not undo what the backend has done.
	written := r.db.Write(context.WithoutCancel(ctx), func(w *store.Writer) error {
		if err := w.AuditOutcome(outcome); err != nil || outcome.Error != "" {
			return err
		}
		return r.added(w, action, made)
	})
	switch {
	case err != nil:
		return made, err
	case written != nil:
		return made, fmt.Errorf("it is done to key %s (%s), but its outcome could not be put on the audit trail: %w", made.Address.Hex(), made.Ref, written)
	}
	return made, nil
}

// added tells of a key that is new, by its address, as the management API does.
func (r *keyRecord) added(w *store.Writer, action audit.Action, made key.Key) error {
	kind := map[audit.Action]string{audit.CreateKey: "service-create-account", audit.ImportKey: "service-import-account"}[action]
	if kind == "" {
		return nil
	}
	return w.AuditEvent(r.event(kind, struct {
		Name   string   `json:"name"`
		Fields []string `json:"fields"`
	}{r.wallet, []string{made.Address.Hex()}}))
}

// keyUse is what a command is going to have keys do: sign challenges of ours, and
// nothing that anybody has chosen.
type keyUse struct {
	Signatures int      `json:"signatures"`         // with each key, at least
	Accounts   []string `json:"accounts,omitempty"` // none: those that the backend has
	Makes      string   `json:"makes,omitempty"`    // name of a key that is made
}

func addressesOf(keys []key.Key) []string {
	all := make([]string, len(keys))
	for i, k := range keys {
		all[i] = k.Address.Hex()
	}
	return all
}

// recordUse puts it on the trail, before it is done.
func (a *app) recordUse(cmd *cobra.Command, s keySource, kind string, use keyUse) error {
	r, err := a.keysOnRecord(cmd, s)
	if err != nil || r == nil {
		return err
	}
	if err := errors.Join(r.db.WriteEvent(cmd.Context(), r.event(kind, use)), r.Close()); err != nil {
		return unrecorded(err)
	}
	return nil
}

// event is one about the wallet.
func (r *keyRecord) event(kind string, detail any) audit.Event {
	text, _ := json.Marshal(detail) // of texts and numbers, which always has a JSON
	return audit.Event{
		Principal: auth.Operator.Name, Kind: kind, Consortium: platform.DefaultConsortium, Environment: platform.DefaultEnvironment,
		Membership: platform.DefaultMembership, Wallet: r.wallet, Subject: platform.DeclaredID(r.wallet), Detail: string(text),
	}
}
