// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/ethereum/go-ethereum/common"
	"github.com/spf13/cobra"

	"github.com/hsmsigner/hsmsigner/internal/audit"
	"github.com/hsmsigner/hsmsigner/internal/config"
	"github.com/hsmsigner/hsmsigner/internal/key/keystore"
)

// maxKeyFile bounds what is read as a key.
const maxKeyFile = 64 << 10

func (a *app) accountImportCommand() *cobra.Command {
	var target keyTarget
	var passwordFile string
	cmd := &cobra.Command{
		Use:   "import [FILE]",
		Short: "Import a key into a keystore wallet",
		Long: `Imports a private key into the wallet's keystore folder, encrypted anew as
account new does.

With FILE, that is a Web3 Secret Storage v3 file, and --password-file holds its
password. Without FILE, the key is read from standard input as 64 hex digits.
A key is never taken as an argument: arguments show in the list of processes
and in the history of the shell.`,
		Example: `  hsmsigner account import --wallet treasury UTC--2026-… --password-file old-password
  hsmsigner account import --wallet treasury < key.hex`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			secret, err := readSecretKey(cmd, args, passwordFile)
			if err != nil {
				return err
			}
			defer clear(secret)
			address, err := addressOfKey(secret)
			if err != nil {
				return err
			}
			return a.addAccount(cmd, target, newAccount{audit.ImportKey, address}, func(dir string, password []byte, cost keystore.ScryptParams) (string, common.Address, error) {
				return keystore.Import(dir, secret, password, cost)
			})
		},
	}
	a.targetFlags(cmd, &target)
	cmd.Flags().StringVar(&passwordFile, "password-file", "", "`file` with the password of FILE")
	return cmd
}

func readSecretKey(cmd *cobra.Command, args []string, passwordFile string) ([]byte, error) {
	switch {
	case len(args) == 0 && passwordFile != "":
		return nil, &usageError{errors.New("--password-file belongs to a key FILE, and none is given"), cmd.CommandPath()}
	case len(args) == 0:
		return hexKey(cmd.InOrStdin())
	case looksLikeKey(args[0]):
		return nil, &usageError{errors.New("a key must not stand on the command line, where others can read it: give it on standard input, and hold this one for disclosed"), cmd.CommandPath()}
	case passwordFile == "":
		return nil, &usageError{errors.New("want --password-file with the password of " + args[0]), cmd.CommandPath()}
	}
	data, err := os.ReadFile(args[0])
	if err != nil {
		return nil, fmt.Errorf("key file: %w", err)
	}
	password, err := config.SecretFile(passwordFile).Reveal()
	if err != nil {
		return nil, fmt.Errorf("--password-file: %w", err)
	}
	secret, err := keystore.Decrypt(data, []byte(password))
	if err != nil {
		return nil, fmt.Errorf("key file %s: %w", args[0], err)
	}
	return secret, nil
}

// hexKey reads 64 hex digits, with or without 0x. No error of it repeats what
// was read.
func hexKey(in io.Reader) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(in, maxKeyFile))
	if err != nil {
		return nil, fmt.Errorf("standard input: %w", err)
	}
	defer clear(data)
	text := strings.TrimSpace(string(data))
	if strings.HasPrefix(text, "{") {
		return nil, errors.New("standard input holds JSON: give a v3 key file as FILE, with --password-file")
	}
	secret, err := hex.DecodeString(strings.TrimPrefix(text, "0x"))
	if err != nil || len(secret) != 32 {
		return nil, errors.New("standard input: want one private key of 64 hex digits")
	}
	return secret, nil
}

func looksLikeKey(s string) bool {
	b, err := hex.DecodeString(strings.TrimPrefix(s, "0x"))
	return err == nil && len(b) == 32
}
