// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/spf13/cobra"

	"github.com/hsmsigner/hsmsigner/internal/config"
	"github.com/hsmsigner/hsmsigner/internal/key"
	"github.com/hsmsigner/hsmsigner/internal/key/pkcs11"
)

// keySource says which backend a key command works on: that of a wallet of the
// config, or one that the flags describe.
type keySource struct {
	wallet   string
	provider string
	settings []string
}

func (a *app) sourceFlags(cmd *cobra.Command, s *keySource) {
	a.walletFlag(cmd, &s.wallet, "the wallet of the config; not needed if there is only one")
	cmd.Flags().StringVar(&s.provider, "provider", "", "in place of a wallet: the `kind` of backend, as details.provider in the config")
	cmd.Flags().StringArrayVar(&s.settings, "set", nil, "with --provider: `FIELD=VALUE` of details; a secret as FIELD.file=PATH, or FIELD=- for standard input")
	providers := make([]cobra.Completion, 0, len(config.Providers()))
	for _, p := range config.Providers() {
		providers = append(providers, string(p))
	}
	_ = cmd.RegisterFlagCompletionFunc("provider", cobra.FixedCompletions(providers, cobra.ShellCompDirectiveNoFileComp))
}

// details is the backend that the command is about, and what to call it. stdin
// is nil where the command reads something else from there.
func (a *app) details(cmd *cobra.Command, s keySource, stdin io.Reader) (config.Details, string, error) {
	switch {
	case s.provider != "" && s.wallet != "":
		return config.Details{}, "", &usageError{errors.New("--provider and --wallet name two backends: want one of them"), cmd.CommandPath()}
	case s.provider == "" && len(s.settings) > 0:
		return config.Details{}, "", &usageError{errors.New("--set belongs to --provider"), cmd.CommandPath()}
	case s.provider != "":
		d, err := config.ParseFlags(s.provider, s.settings, stdin)
		if err != nil {
			return d, "", &configError{err}
		}
		return d, s.provider, nil
	}
	c, err := a.load(cmd)
	if err != nil {
		return config.Details{}, "", err
	}
	w, err := wallet(c, s.wallet)
	return w.Details, "wallet " + w.Name, err
}

// openKeys opens the backend of a key command with the credential that signs.
func (a *app) openKeys(cmd *cobra.Command, s keySource, stdin io.Reader) (openedBackend, config.Details, error) {
	d, name, err := a.details(cmd, s, stdin)
	if err != nil {
		return openedBackend{}, d, err
	}
	backend, err := openBackend(cmd.Context(), d, sharing{}, commandLogger(cmd))
	if err != nil {
		return backend, d, fmt.Errorf("%s: %w", name, err)
	}
	return backend, d, nil
}

// keyMaster is a backend opened with the credential that may change keys, beside
// the same one opened with the credential that signs: neither need be able to do
// what the other can.
type keyMaster struct {
	admin  openedBackend
	signer openedBackend
}

// Close closes both.
func (m keyMaster) Close() error { return errors.Join(m.admin.Close(), m.signer.Close()) }

// openAdmin opens the backend of a command that changes keys. Flags name only one
// credential, which is both.
func (a *app) openAdmin(cmd *cobra.Command, s keySource, stdin io.Reader) (keyMaster, config.Details, error) {
	d, name, err := a.details(cmd, s, stdin)
	if err != nil {
		return keyMaster{}, d, err
	}
	master, err := openKeyMaster(cmd, s, d, sharing{logins: pkcs11.NewLogins()})
	if err != nil {
		return master, d, fmt.Errorf("%s: %w", name, err)
	}
	return master, d, nil
}

func openKeyMaster(cmd *cobra.Command, s keySource, d config.Details, shared sharing) (keyMaster, error) {
	admin := d
	if s.provider == "" {
		var ok bool
		if admin, ok = d.ForAdmin(); !ok {
			return keyMaster{}, errNoAdmin
		}
	}
	log := commandLogger(cmd)
	var m keyMaster
	var err error
	if m.admin, err = openBackend(cmd.Context(), admin, shared, log); err != nil {
		return m, err
	}
	if m.signer, err = openBackend(cmd.Context(), d, shared, log); err != nil {
		return m, errors.Join(err, m.admin.Close())
	}
	return m, nil
}

// commandLogger shows warnings of adapters on stderr.
func commandLogger(cmd *cobra.Command) *slog.Logger {
	return slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), &slog.HandlerOptions{
		Level: slog.LevelWarn,
		ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return a
		},
	}))
}

// listKeys reads every page of a backend. Where that takes long, it says on
// progress how far it is.
func listKeys(ctx context.Context, backend key.Backend, progress io.Writer) (keys []key.Key, problems []key.Problem, err error) {
	const (
		maxPages = 100_000 // a cursor that goes in circles must not hang us
		patience = 3 * time.Second
	)
	said := time.Now()
	for cursor, pages := "", 0; pages < maxPages; pages++ {
		page, err := backend.Keys(ctx, cursor)
		if err != nil {
			return nil, nil, err
		}
		keys = append(keys, page.Keys...)
		problems = append(problems, page.Problems...)
		if cursor = page.Next; cursor == "" {
			return keys, problems, nil
		}
		if time.Since(said) > patience {
			said = time.Now()
			fmt.Fprintf(progress, "%s so far\n", count(len(keys), "key"))
		}
	}
	return nil, nil, fmt.Errorf("list keys: more than %d pages: %w", maxPages, key.ErrBadResponse)
}

// findKey finds the one key that has an address, a reference or a name.
func findKey(cmd *cobra.Command, backend key.Backend, what string) (key.Key, error) {
	keys, _, err := listKeys(cmd.Context(), backend, cmd.ErrOrStderr())
	if err != nil {
		return key.Key{}, err
	}
	var found []key.Key
	for _, k := range keys {
		if isKey(k, what) {
			found = append(found, k)
		}
	}
	switch len(found) {
	case 0:
		return key.Key{}, notFound("no key has the address, name or reference %q: hsmsigner key list shows what there is", what)
	case 1:
		return found[0], nil
	}
	refs := make([]string, len(found))
	for i, k := range found {
		refs[i] = string(k.Ref)
	}
	return key.Key{}, fmt.Errorf("%d keys fit %q: name one by its reference: %s", len(found), what, strings.Join(refs, ", "))
}

// findHidden is findKey for commands that a key may need which the listing does
// not show: some providers keep back the public key of a key that is switched
// off, and so its address. It then has to be named by its reference, which the
// adapter judges.
func findHidden(cmd *cobra.Command, backend key.Backend, what string) (key.Key, error) {
	k, err := findKey(cmd, backend, what)
	if !errors.Is(err, errNotFound) || common.IsHexAddress(what) {
		return k, err
	}
	return key.Key{Ref: key.Ref(what)}, nil
}

func isKey(k key.Key, what string) bool {
	if common.IsHexAddress(what) {
		return k.Address == common.HexToAddress(what)
	}
	return what != "" && (k.Name == what || string(k.Ref) == what)
}

// keyView is a key as the command line shows it.
type keyView struct {
	Address    string            `json:"address,omitempty"` // unknown where the provider keeps it back
	Name       string            `json:"name,omitempty"`
	Ref        string            `json:"ref"`
	State      string            `json:"state"`
	Reason     string            `json:"reason,omitempty"`
	Protection string            `json:"protection"`
	Tags       map[string]string `json:"tags,omitempty"`
	PublicKey  string            `json:"public_key,omitempty"`
}

func viewOf(k key.Key) keyView {
	address := ""
	if k.Address != (common.Address{}) {
		address = k.Address.Hex()
	}
	return keyView{
		Address: address, Name: k.Name, Ref: string(k.Ref), State: string(k.State),
		Reason: k.Reason, Protection: string(k.Protection), Tags: k.Tags,
	}
}

// state is the state with the reason for it.
func (v keyView) state() string {
	if v.Reason == "" {
		return v.State
	}
	return v.State + " (" + v.Reason + ")"
}
