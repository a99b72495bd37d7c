// SPDX-License-Identifier: Apache-2.0

package azure

import (
	"context"
	"errors"
	"strings"
	"sync"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azkeys"
)

const (
	rotationChecks = 100       // of one listing, so that a large vault's is not held up
	rotationAge    = time.Hour // before a policy is looked at again
	// rotationPatience is for one policy: no listing is to hang for a warning.
	rotationPatience = 5 * time.Second
)

// rotationWatch warns of keys whose rotation policy will make a new version,
// and so a new address that nobody has put money on. Reading the policy needs
// a right that signing does not; without it nothing is said and nothing is
// asked again.
type rotationWatch struct {
	mu      sync.Mutex
	denied  bool
	left    int // checks of the listing under way
	checked map[string]time.Time
	warned  map[string]bool
}

func (w *rotationWatch) init() {
	w.checked, w.warned = map[string]time.Time{}, map[string]bool{}
}

func (w *rotationWatch) begin() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.left = rotationChecks
}

// due reports whether the key's policy should be looked at now.
func (w *rotationWatch) due(name string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.denied || w.left <= 0 || time.Since(w.checked[name]) < rotationAge {
		return false
	}
	w.left--
	w.checked[name] = time.Now()
	return true
}

// found reports whether to warn: once for as long as the policy rotates.
func (w *rotationWatch) found(name string, rotates bool) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	first := rotates && !w.warned[name]
	w.warned[name] = rotates
	return first
}

// watchRotation looks at the policy of one key. Its failures are nobody's.
func (b *Backend) watchRotation(ctx context.Context, name string) {
	if !b.watch.due(name) || b.cfg.Reads.Wait(ctx) != nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, rotationPatience)
	defer cancel()
	answer, err := call(ctx, b, func(ctx context.Context) (azkeys.GetKeyRotationPolicyResponse, error) {
		return b.client.GetKeyRotationPolicy(ctx, name, nil)
	})
	if err != nil {
		b.cfg.Reads.Answered(b.failure(ctx, "rotation policy", "", err))
		refused, answered := errors.AsType[*azcore.ResponseError](err)
		b.watch.mu.Lock()
		defer b.watch.mu.Unlock()
		if !answered {
			b.watch.left = 0 // whatever keeps this one away keeps the next away too
		} else if refused.StatusCode < 500 && refused.StatusCode != 404 && refused.StatusCode != 429 {
			b.watch.denied = true
		}
		return
	}
	b.cfg.Reads.Succeeded()
	if b.watch.found(name, rotates(answer.KeyRotationPolicy)) {
		b.log.WarnContext(ctx, "the key has a rotation policy: the vault will make a new version of it, which is another account with another address, while the present account stays as it is; remove the policy",
			"vault", b.vault.host, "key", name)
	}
}

// rotates reports whether the vault will make a version by itself
// (learn.microsoft.com/azure/key-vault/keys/how-to-configure-key-rotation).
func rotates(p azkeys.KeyRotationPolicy) bool {
	for _, action := range p.LifetimeActions {
		if action == nil || action.Action == nil || action.Action.Type == nil || action.Trigger == nil {
			continue
		}
		timed := deref(action.Trigger.TimeAfterCreate) != "" || deref(action.Trigger.TimeBeforeExpiry) != ""
		if timed && strings.EqualFold(string(*action.Action.Type), string(azkeys.KeyRotationPolicyActionRotate)) {
			return true
		}
	}
	return false
}
