// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/ethereum/go-ethereum/crypto"
	"github.com/spf13/cobra"

	"github.com/hsmsigner/hsmsigner/internal/key"
	"github.com/hsmsigner/hsmsigner/internal/secp"
)

// trialTimeout is that of one signature, as in the daemon.
const trialTimeout = 10 * time.Second

func (a *app) keyTestCommand() *cobra.Command {
	var source keySource
	var signatures int
	cmd := &cobra.Command{
		Use:   "test [ADDRESS|NAME|REFERENCE]…",
		Short: "Sign and verify a throw-away challenge with keys, and measure how long it takes",
		Long: `Has each key, or each enabled one of the backend, sign random challenges, checks
that every signature recovers to the key's address, and shows how long they took,
waiting for the quota included. The first one opens the connection. What is
signed is the hash of a text that begins with "hsmsigner key test": it can never
be a transaction or a message. The provider may charge for each signature.`,
		Example: `  hsmsigner key test --wallet treasury
  hsmsigner key test 0x7E5F4552091A69125d5DfCb7b8C2659029395Bdf -n 100 --output json`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if signatures < 1 || signatures > 100_000 {
				return &usageError{errors.New("--signatures: want 1 to 100000"), cmd.CommandPath()}
			}
			return a.keyTest(cmd, source, args, signatures)
		},
	}
	a.sourceFlags(cmd, &source)
	cmd.Flags().IntVarP(&signatures, "signatures", "n", 10, "with each key")
	return cmd
}

// keyTrial is what came of the signatures of one key. Times are in
// milliseconds.
type keyTrial struct {
	Address string  `json:"address"`
	Name    string  `json:"name"`
	Signed  int     `json:"signed"`
	Failed  int     `json:"failed"`
	Error   string  `json:"error,omitempty"` // of the first that failed
	First   float64 `json:"first_ms"`
	P50     float64 `json:"p50_ms"`
	P99     float64 `json:"p99_ms"`
	Max     float64 `json:"max_ms"`
}

func (a *app) keyTest(cmd *cobra.Command, source keySource, names []string, signatures int) error {
	ctx := cmd.Context()
	backend, _, err := a.openKeys(cmd, source, cmd.InOrStdin())
	if err != nil {
		return err
	}
	defer backend.Close()
	keys, err := keysToTest(cmd, backend, names)
	if err != nil {
		return err
	}
	if err := a.recordUse(cmd, source, "key-test", keyUse{Signatures: signatures, Accounts: addressesOf(keys)}); err != nil {
		return err
	}
	trials, bad := []keyTrial{}, 0
	for _, k := range keys {
		trial := tryKey(ctx, backend, k, signatures)
		trials = append(trials, trial)
		if trial.Failed > 0 {
			bad++
		}
	}
	if err := a.print(cmd, trials, func(w io.Writer) { printTrials(w, trials) }); err != nil {
		return err
	}
	if bad > 0 {
		return fmt.Errorf("%d of %s failed", bad, count(len(trials), "key"))
	}
	return nil
}

func printTrials(w io.Writer, trials []keyTrial) {
	lines := [][]string{{"ADDRESS", "SIGNED", "FAILED", "FIRST", "P50", "P99", "MAX", "NAME"}}
	ms := func(f float64) string { return fmt.Sprintf("%.1f ms", f) }
	for _, t := range trials {
		lines = append(lines, []string{
			t.Address, fmt.Sprint(t.Signed), fmt.Sprint(t.Failed), ms(t.First), ms(t.P50), ms(t.P99), ms(t.Max), t.Name,
		})
	}
	table(w, lines)
	for _, t := range trials {
		if t.Error != "" {
			fmt.Fprintf(w, "%s: %s\n", t.Address, t.Error)
		}
	}
}

// keysToTest is the named keys, or all that are enabled.
func keysToTest(cmd *cobra.Command, backend key.Backend, names []string) ([]key.Key, error) {
	all, problems, err := listKeys(cmd.Context(), backend, cmd.ErrOrStderr())
	if err != nil {
		return nil, err
	}
	if len(names) == 0 {
		all = slices.DeleteFunc(all, func(k key.Key) bool { return k.State != key.Enabled })
		if len(all) == 0 {
			return nil, notFound("the backend has no enabled secp256k1 key, and %s", count(len(problems), "that cannot be used"))
		}
		return all, nil
	}
	var keys []key.Key
	for _, name := range names {
		i := slices.IndexFunc(all, func(k key.Key) bool { return isKey(k, name) })
		if i < 0 {
			return nil, notFound("no key has the address, name or reference %q", name)
		}
		keys = append(keys, all[i])
	}
	return keys, nil
}

// tryKey signs one after the other.
func tryKey(ctx context.Context, backend openedBackend, k key.Key, signatures int) keyTrial {
	trial := keyTrial{Address: k.Address.Hex(), Name: k.Name}
	var took []time.Duration
	for range signatures {
		begin := time.Now()
		err := signChallenge(ctx, backend, k)
		took = append(took, time.Since(begin))
		if err == nil {
			trial.Signed++
			continue
		}
		trial.Failed++
		if trial.Error == "" {
			trial.Error = err.Error()
		}
		if ctx.Err() != nil || !key.Transient(err) {
			break // the others would fare no better
		}
	}
	trial.First = milliseconds(took[0])
	slices.Sort(took)
	trial.P50, trial.P99, trial.Max = milliseconds(quantile(took, 50)), milliseconds(quantile(took, 99)), milliseconds(took[len(took)-1])
	return trial
}

// quantile is the least of the sorted values that so many per cent do not pass.
func quantile(sorted []time.Duration, percent int) time.Duration {
	return sorted[(len(sorted)*percent+99)/100-1]
}

func milliseconds(d time.Duration) float64 {
	return float64(d.Round(10*time.Microsecond).Microseconds()) / 1000
}

// signChallenge has a key sign something that nobody chose, and judges it as
// package wallet does.
func signChallenge(ctx context.Context, backend openedBackend, k key.Key) error {
	ctx, cancel := context.WithTimeout(ctx, trialTimeout)
	defer cancel()
	if signer, ok := key.Capability[key.TransactionSigner](backend.Backend); ok {
		return signProof(ctx, signer, k)
	}
	var challenge [32]byte
	_, _ = rand.Read(challenge[:]) // never fails (crypto/rand)
	digest := [32]byte(crypto.Keccak256([]byte("hsmsigner key test\n"), challenge[:]))
	raw, err := backend.SignDigest(ctx, k.Ref, digest)
	if err != nil {
		return err
	}
	sig, err := secp.FinishHinted(k.Address, digest, raw.R, raw.S, raw.Hint)
	if err != nil {
		return err
	}
	return secp.Check(k.Address, digest, sig)
}
