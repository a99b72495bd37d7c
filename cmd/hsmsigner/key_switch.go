// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/spf13/cobra"

	"github.com/hsmsigner/hsmsigner/internal/audit"
	"github.com/hsmsigner/hsmsigner/internal/key"
)

func (a *app) keySwitchCommand(enable bool) *cobra.Command {
	var source keySource
	action := audit.DisableKey
	use, short, long := "disable", "Switch a key off", `Switches a key off at the provider, so that nobody can sign with it. Nothing is
lost: key enable switches it on again. The daemon notices at its next refresh,
or when the next signature is refused.`
	if enable {
		action = audit.EnableKey
		use, short, long = "enable", "Switch a key on again", `Switches a key on at the provider that was switched off there. AWS and Google do
not tell the address of a key that is off: name it by the reference that key
disable has printed.`
	}
	cmd := &cobra.Command{
		Use:     use + " ADDRESS|NAME|REFERENCE",
		Short:   short,
		Long:    long,
		Example: "  hsmsigner key " + use + " 0x7E5F4552091A69125d5DfCb7b8C2659029395Bdf --wallet treasury",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			backend, d, err := a.openAdmin(cmd, source, cmd.InOrStdin())
			if err != nil {
				return err
			}
			defer backend.Close()
			enabler, ok := key.Capability[key.Enabler](backend.admin.Backend)
			if !ok {
				return unsupported(d, "switch keys on and off")
			}
			k, err := findHidden(cmd, backend.signer, args[0])
			if err != nil {
				return err
			}
			trail, err := a.keysOnRecord(cmd, source)
			if err != nil {
				return err
			}
			defer trail.Close()
			if _, err := trail.change(cmd.Context(), action, k.Address, string(k.Ref), func() (key.Key, error) {
				return k, enabler.SetEnabled(cmd.Context(), k.Ref, enable)
			}); err != nil {
				return err
			}
			k.State, k.Reason = key.Disabled, "switched off"
			if enable {
				k.State, k.Reason = key.Enabled, ""
			}
			return a.printKey(cmd, k, "")
		},
	}
	a.sourceFlags(cmd, &source)
	return cmd
}

func (a *app) keyDeleteCommand() *cobra.Command {
	var source keySource
	var yes bool
	cmd := &cobra.Command{
		Use:   "delete ADDRESS|NAME|REFERENCE",
		Short: "Delete a key, and with it whatever only it can move",
		Long: `Deletes a key at the provider. What its address owns is lost with it, for ever,
once the provider lets it go: how long that takes, and how it is brought back
until then, the page of the backend in docs/backends says.

Asks for the address to be typed again, unless --yes is given. key disable can
be undone, and is what you want if you are not sure.`,
		Example: `  hsmsigner key delete 0x7E5F4552091A69125d5DfCb7b8C2659029395Bdf --wallet treasury`,
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.keyDelete(cmd, source, args[0], yes)
		},
	}
	a.sourceFlags(cmd, &source)
	cmd.Flags().BoolVar(&yes, "yes", false, "do not ask")
	return cmd
}

// deletedKey is what key delete says as JSON.
type deletedKey struct {
	Address string     `json:"address"`
	Ref     string     `json:"ref"`
	Gone    *time.Time `json:"gone,omitempty"` // until then it can be brought back; left out if it is gone now
}

func (a *app) keyDelete(cmd *cobra.Command, source keySource, what string, yes bool) error {
	stdin := cmd.InOrStdin()
	if !yes {
		stdin = nil // the answer comes from there
	}
	backend, d, err := a.openAdmin(cmd, source, stdin)
	if err != nil {
		return err
	}
	defer backend.Close()
	deleter, ok := key.Capability[key.Deleter](backend.admin.Backend)
	if !ok {
		return unsupported(d, "delete keys")
	}
	k, err := findKey(cmd, backend.signer, what)
	if err != nil {
		return err
	}
	if !yes {
		if err := confirmed(cmd, k); err != nil {
			return err
		}
	}
	trail, err := a.keysOnRecord(cmd, source)
	if err != nil {
		return err
	}
	defer trail.Close()
	var gone time.Time
	if _, err = trail.change(cmd.Context(), audit.DeleteKey, k.Address, string(k.Ref), func() (_ key.Key, err error) {
		gone, err = deleter.Delete(cmd.Context(), k.Ref)
		return k, err
	}); err != nil {
		return err
	}
	out := deletedKey{Address: k.Address.Hex(), Ref: string(k.Ref)}
	if !gone.IsZero() {
		out.Gone = &gone
	}
	return a.print(cmd, out, func(w io.Writer) {
		if out.Gone == nil {
			fmt.Fprintf(w, "%s is deleted and cannot be brought back\n", out.Address)
			return
		}
		fmt.Fprintf(w, "%s is deleted; until %s the provider can bring it back\n", out.Address, gone.UTC().Format(time.RFC3339))
	})
}

// confirmed asks for the address. It takes any case, but not a part.
func confirmed(cmd *cobra.Command, k key.Key) error {
	fmt.Fprintf(cmd.ErrOrStderr(), "%s, %s\nDeleting it loses whatever %s owns. Type the address to go on: ", k.Name, k.Ref, k.Address.Hex())
	line, err := bufio.NewReader(io.LimitReader(cmd.InOrStdin(), 1024)).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("standard input: %w", err)
	}
	line = strings.TrimSpace(line)
	if !common.IsHexAddress(line) || common.HexToAddress(line) != k.Address {
		return errors.New("that is not the address: nothing was deleted")
	}
	return nil
}
