// SPDX-License-Identifier: Apache-2.0

package main

import (
	"crypto/rand"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/ethereum/go-ethereum/common"
	"github.com/spf13/cobra"

	"github.com/hsmsigner/hsmsigner/internal/audit"
	"github.com/hsmsigner/hsmsigner/internal/config"
	"github.com/hsmsigner/hsmsigner/internal/key"
	"github.com/hsmsigner/hsmsigner/internal/key/keystore"
)

func (a *app) accountNewCommand() *cobra.Command {
	var target keyTarget
	cmd := &cobra.Command{
		Use:   "new",
		Short: "Make a new account in a keystore wallet",
		Long: `Makes a random key and stores it in the wallet's keystore folder, encrypted with
the wallet's password; where the config gives none, with a random password in
a .password file beside the key. A running daemon notices the new file.`,
		Example: `  hsmsigner account new
  hsmsigner account new --wallet treasury --output json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.addAccount(cmd, target, newAccount{action: audit.CreateKey}, keystore.Create)
		},
	}
	a.targetFlags(cmd, &target)
	return cmd
}

// keyTarget is where a key goes, and how dear its encryption is.
type keyTarget struct {
	wallet string
	light  bool
}

func (a *app) targetFlags(cmd *cobra.Command, target *keyTarget) {
	a.walletFlag(cmd, &target.wallet, "the wallet; not needed if there is only one")
	cmd.Flags().BoolVar(&target.light, "light-kdf", false, "encrypt with little memory and time, for keys that guard nothing")
}

// createdAccount is what account new and account import say.
type createdAccount struct {
	Wallet  string `json:"wallet"`
	Address string `json:"address"`
	File    string `json:"file"`
}

// newAccount is what an account is to become: made, with an address that is not
// known before, or imported.
type newAccount struct {
	action  audit.Action
	address common.Address
}

// addKey stores one key in dir and says where.
type addKey func(dir string, password []byte, cost keystore.ScryptParams) (string, common.Address, error)

// addAccount adds a key to the keystore of a wallet.
func (a *app) addAccount(cmd *cobra.Command, target keyTarget, n newAccount, add addKey) error {
	c, err := a.load(cmd)
	if err != nil {
		return err
	}
	w, err := wallet(c, target.wallet)
	if err != nil {
		return err
	}
	if w.Details.Keystore == nil {
		return fmt.Errorf("wallet %s has the provider %s: make its keys with hsmsigner key create or key import", w.Name, w.Details.Provider)
	}
	cost := keystore.StandardScrypt
	if target.light {
		cost = keystore.LightScrypt
	}
	trail, err := a.keysOnRecord(cmd, keySource{wallet: w.Name})
	if err != nil {
		return err
	}
	defer trail.Close()
	made, err := trail.change(cmd.Context(), n.action, n.address, "", func() (key.Key, error) {
		path, address, err := addToKeystore(w.Details.Keystore, cost, add)
		return key.Key{Ref: key.Ref(path), Address: address}, err
	})
	if err != nil {
		return err
	}
	address, path := made.Address, string(made.Ref)
	return a.print(cmd, createdAccount{w.Name, address.Hex(), path}, func(out io.Writer) {
		fmt.Fprintf(out, "%s\nkey file: %s\nKeep a copy of the file and of its password: nobody can make this key again.\n", address.Hex(), path)
	})
}

// addToKeystore adds a key under the common password, or else under a random
// one that is put beside the key file.
func addToKeystore(k *config.Keystore, cost keystore.ScryptParams, add addKey) (string, common.Address, error) {
	password, err := k.Password.Reveal()
	if err != nil {
		return "", common.Address{}, fmt.Errorf("details.user_secret: %w", err)
	}
	own := password == ""
	if own {
		password = rand.Text()
	}
	path, address, err := add(k.Path, []byte(password), cost)
	if err != nil || !own {
		return path, address, err
	}
	if err := writePrivate(path+".password", password+"\n"); err != nil {
		// Without its password the key is lost, so it must not look usable.
		_ = os.Remove(path)
		return "", address, fmt.Errorf("write the password file: %w", err)
	}
	return path, address, nil
}

// writePrivate writes a new file that only its owner may read, and sees to it
// that it survives a crash.
func writePrivate(path, content string) error {
	f, err := os.OpenFile(filepath.Clean(path), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	if _, err = f.WriteString(content); err == nil {
		err = f.Sync()
	}
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	return err
}
