// SPDX-License-Identifier: Apache-2.0

// Command vault-plugin-hsmsigner is the secrets engine of package vaultengine
// as an external plugin of HashiCorp Vault, which starts it; it does nothing by
// itself. Register it by its SHA-256, see docs/backends/hashicorp.md.
package main

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/hashicorp/vault/api"
	"github.com/hashicorp/vault/sdk/plugin"

	"github.com/hsmsigner/hsmsigner/internal/vaultengine"
)

func main() { os.Exit(run(os.Args[1:], os.Stderr)) }

func run(args []string, stderr io.Writer) int {
	if err := serve(args); err != nil {
		fmt.Fprintln(stderr, "vault-plugin-hsmsigner:", err)
		return 1
	}
	return 0
}

func serve(args []string) error {
	if !constantTime {
		return errors.New("built without cgo, and then signing does not take constant time: build it with CGO_ENABLED=1 and a C compiler")
	}
	meta := &api.PluginAPIClientMeta{}
	if err := meta.FlagSet().Parse(args); err != nil {
		return err
	}
	return plugin.ServeMultiplex(&plugin.ServeOpts{
		BackendFactoryFunc: vaultengine.Factory,
		// Only Vault before 1.12 needs it; newer ones secure the connection themselves.
		TLSProviderFunc: api.VaultPluginTLSProvider(meta.GetTLSConfig()),
	})
}
