// SPDX-License-Identifier: Apache-2.0

package main

import "github.com/spf13/cobra"

func (a *app) serveCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "serve",
		Short: "Run the daemon",
		Long: `Runs the daemon until it gets SIGINT or SIGTERM. It then takes nothing new,
answers or durably stores everything that it has accepted, and ends within
30 seconds. The log goes to stderr.

The smallest config file:

  data: ./data
  rpc: {listen: 127.0.0.1:8545, auth: none}
  default_wallet: treasury
  wallets:
    - name: treasury
      node: {url: http://127.0.0.1:8546, chain_id: 1337}
      details: {provider: keystore, path: ./keys}

packaging/config.example.yaml shows every key.`,
		Example: "  hsmsigner serve --config /etc/hsmsigner/config.yaml",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.load(cmd)
			if err != nil {
				return err
			}
			return serve(cmd.Context(), c, newLogger(c.Log, cmd.ErrOrStderr()))
		},
	}
}
