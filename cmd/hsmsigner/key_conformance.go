// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/hsmsigner/hsmsigner/internal/config"
	"github.com/hsmsigner/hsmsigner/internal/key"
	"github.com/hsmsigner/hsmsigner/internal/key/keycheck"
	"github.com/hsmsigner/hsmsigner/internal/key/pkcs11"
)

func (a *app) keyConformanceCommand() *cobra.Command {
	var source keySource
	var f keycheck.Fixture
	var unknown string
	cmd := &cobra.Command{
		Use:   "conformance",
		Short: "Run the contract that every backend passes against a live one",
		Long: `Runs the suite that the project's own tests run on emulators and test servers
against a live HSM, vault or KMS: the listing is complete and stable, addresses
are those of the public keys, signatures of odd and random digests recover, also
64 at a time, unknown and disabled keys are refused in the right words, calls end
promptly, a closed backend refuses.

It signs a few hundred digests, which the provider may charge for, and changes
nothing unless --create names a key to make (which stays, and needs details.admin).
It says what was not tested. Exits with 1 if anything fails.`,
		Example: `  hsmsigner key conformance --wallet treasury
  hsmsigner key conformance --provider pkcs11 --set module=/usr/lib/softhsm/libsofthsm2.so \
    --set token_label=signer --set user_secret.file=pin --create probe-1`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if f.Signatures < 1 || f.Concurrency < 1 {
				return &usageError{errors.New("--signatures and --concurrency: want 1 or more"), cmd.CommandPath()}
			}
			f.Unknown = key.Ref(unknown)
			return a.conformance(cmd, source, f)
		},
	}
	a.sourceFlags(cmd, &source)
	cmd.Flags().IntVarP(&f.Signatures, "signatures", "n", 200, "one after the other")
	cmd.Flags().IntVar(&f.Concurrency, "concurrency", 64, "signatures at the same time")
	cmd.Flags().DurationVar(&f.Timeout, "timeout", 30*time.Second, "of one call")
	cmd.Flags().StringVar(&f.CreateName, "create", "", "`name` of a key to make, which stays in the backend")
	cmd.Flags().StringVar(&unknown, "unknown", "", "a well-formed `reference` to a key that does not exist")
	return cmd
}

// conformed is what key conformance says as JSON.
type conformed struct {
	OK        bool          `json:"ok"`
	Provider  string        `json:"provider"`
	Checks    []checkResult `json:"checks"`
	NotTested []string      `json:"not_tested"`
}

func (a *app) conformance(cmd *cobra.Command, source keySource, f keycheck.Fixture) error {
	var d config.Details
	var name string
	var err error
	if d, name, err = a.details(cmd, source, cmd.InOrStdin()); err != nil {
		return err
	}
	progress := io.Discard
	if a.output == textOutput {
		progress = cmd.OutOrStdout()
	}
	shared := sharing{logins: pkcs11.NewLogins()} // the suite opens several backends: a wrong PIN is tried once
	open := func(t keycheck.T) key.Backend {
		backend, err := conformanceBackend(cmd, source, d, f.CreateName != "", shared)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		return backend
	}
	if err := suits(cmd, source, d, f.CreateName != "", shared); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	if err := a.recordUse(cmd, source, "key-conformance", keyUse{Signatures: f.Signatures, Makes: f.CreateName}); err != nil {
		return err
	}
	report := runChecks(cmd.Context(), progress, func(t keycheck.T) {
		keycheck.Run(t, func(t keycheck.T) keycheck.Fixture {
			f := f
			f.Backend = open(t)
			f.Disabled = someDisabled(t, f.Backend)
			return f
		})
	})
	out := conformed{OK: report.failed == 0, Provider: string(d.Provider), Checks: report.checks, NotTested: report.notTested}
	if err := a.print(cmd, out, func(w io.Writer) {
		for _, what := range out.NotTested {
			fmt.Fprintf(w, "not tested: %s\n", what)
		}
		fmt.Fprintf(w, "%d passed, %d failed, %d not tested\n", report.passed, report.failed, len(out.Checks)-report.passed-report.failed)
	}); err != nil {
		return err
	}
	if !out.OK {
		return fmt.Errorf("%s does not conform: %s failed", name, count(report.failed, "check"))
	}
	return nil
}

// suits says why the suite cannot be run, before it is half done.
func suits(cmd *cobra.Command, source keySource, d config.Details, create bool, shared sharing) error {
	backend, err := conformanceBackend(cmd, source, d, create, shared)
	if err != nil {
		return err
	}
	defer backend.Close()
	if _, ok := key.Capability[key.TransactionSigner](backend); ok {
		return errors.New("signs whole transactions only, and the suite is about digests: use hsmsigner key test")
	}
	return nil
}

// conformanceBackend opens the backend with the credential that signs, and to
// make a key beside it with the other.
func conformanceBackend(cmd *cobra.Command, source keySource, d config.Details, create bool, shared sharing) (key.Backend, error) {
	if !create {
		return openBackend(cmd.Context(), d, shared, commandLogger(cmd))
	}
	m, err := openKeyMaster(cmd, source, d, shared)
	if err != nil {
		return nil, err
	}
	creator, ok := key.Capability[key.Creator](m.admin.Backend)
	if !ok {
		return nil, errors.Join(unsupported(d, "make keys"), m.Close())
	}
	return makingKeys{m.signer, creator, m.Close}, nil
}

// makingKeys signs with one credential and makes keys with another.
type makingKeys struct {
	key.Backend
	key.Creator
	close func() error
}

// Close closes both.
func (m makingKeys) Close() error { return m.close() }

// someDisabled is up to three disabled keys, which must refuse to sign.
func someDisabled(t keycheck.T, backend key.Backend) []key.Ref {
	keys, _, err := listKeys(t.Context(), backend, io.Discard)
	if err != nil {
		t.Fatalf("%v", err)
	}
	var refs []key.Ref
	for _, k := range keys {
		if k.State == key.Disabled && len(refs) < 3 {
			refs = append(refs, k.Ref)
		}
	}
	return refs
}
