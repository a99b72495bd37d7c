// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/crypto"
	"github.com/spf13/cobra"

	"github.com/hsmsigner/hsmsigner/internal/audit"
	"github.com/hsmsigner/hsmsigner/internal/config"
	"github.com/hsmsigner/hsmsigner/internal/key"
	"github.com/hsmsigner/hsmsigner/internal/key/keystore"
)

// newKey is what key create and key import are told about the key.
type newKey struct {
	source keySource
	name   string
	tags   []string
}

func (a *app) newKeyFlags(cmd *cobra.Command, n *newKey) {
	a.sourceFlags(cmd, &n.source)
	cmd.Flags().StringVar(&n.name, "name", "", "what the backend is to call the key")
	cmd.Flags().StringArrayVar(&n.tags, "tag", nil, "`KEY=VALUE` to put on the key; may be repeated")
}

func (n newKey) tagMap(cmd *cobra.Command) (map[string]string, error) {
	tags := make(map[string]string, len(n.tags))
	for _, tag := range n.tags {
		name, value, ok := strings.Cut(tag, "=")
		if !ok || name == "" {
			return nil, &usageError{fmt.Errorf("--tag: want KEY=VALUE, not %q", tag), cmd.CommandPath()}
		}
		tags[name] = value
	}
	if len(tags) == 0 {
		return nil, nil
	}
	return tags, nil
}

func (a *app) keyCreateCommand() *cobra.Command {
	var n newKey
	cmd := &cobra.Command{
		Use:   "create",
		Short: "Make a new key inside a backend",
		Long: `Has the backend make a secp256k1 key that can sign, and nothing else, and that
cannot be exported where the backend knows the difference. The key never leaves
it. A wallet needs details.admin for that: the credential that signs should not
be able to make keys.

The daemon finds the new key at its next refresh.`,
		Example: `  hsmsigner key create --wallet treasury --name treasury-7
  hsmsigner key create --wallet treasury --name ops-1 --tag team=ops --output json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.keyCreate(cmd, n) },
	}
	a.newKeyFlags(cmd, &n)
	return cmd
}

func (a *app) keyCreate(cmd *cobra.Command, n newKey) error {
	tags, err := n.tagMap(cmd)
	if err != nil {
		return err
	}
	backend, d, err := a.openAdmin(cmd, n.source, cmd.InOrStdin())
	if err != nil {
		return err
	}
	defer backend.Close()
	creator, ok := key.Capability[key.Creator](backend.admin.Backend)
	if !ok {
		return unsupported(d, "make keys")
	}
	trail, err := a.keysOnRecord(cmd, n.source)
	if err != nil {
		return err
	}
	defer trail.Close()
	made, err := trail.change(cmd.Context(), audit.CreateKey, common.Address{}, n.name, func() (key.Key, error) {
		return creator.Create(cmd.Context(), n.name, tags)
	})
	if err != nil {
		return err
	}
	return a.printKey(cmd, made, "")
}

func (a *app) keyImportCommand() *cobra.Command {
	var n newKey
	var passwordFile string
	cmd := &cobra.Command{
		Use:   "import [FILE]",
		Short: "Take a private key into a backend",
		Long: `Takes a private key into the backend, wrapped under a key of the provider
wherever the provider can unwrap. The key is read as account import reads it:
FILE is a Web3 Secret Storage v3 file, and --password-file holds its password;
without FILE, standard input holds 64 hex digits. It is never an argument, is
written nowhere, and is wiped from memory afterwards.

A key that was ever outside of an HSM may have copies. Where you can, make a new
one with key create and move the funds.`,
		Example: `  hsmsigner key import --wallet treasury --name old-1 UTC--2026-… --password-file old-password
  hsmsigner key import --wallet treasury --name old-1 < key.hex`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return a.keyImport(cmd, n, args, passwordFile) },
	}
	a.newKeyFlags(cmd, &n)
	cmd.Flags().StringVar(&passwordFile, "password-file", "", "`file` with the password of FILE")
	return cmd
}

func (a *app) keyImport(cmd *cobra.Command, n newKey, args []string, passwordFile string) error {
	tags, err := n.tagMap(cmd)
	if err != nil {
		return err
	}
	stdin := cmd.InOrStdin()
	if len(args) == 0 {
		stdin = nil // the key comes from there
	}
	backend, d, err := a.openAdmin(cmd, n.source, stdin)
	if err != nil {
		return err
	}
	defer backend.Close()
	importer, ok := key.Capability[key.Importer](backend.admin.Backend)
	if !ok && d.Keystore == nil {
		return unsupported(d, "take keys in")
	}
	secret, err := readSecretKey(cmd, args, passwordFile)
	if err != nil {
		return err
	}
	defer clear(secret)
	want, err := addressOfKey(secret)
	if err != nil {
		return err
	}
	trail, err := a.keysOnRecord(cmd, n.source)
	if err != nil {
		return err
	}
	defer trail.Close()
	got, err := trail.change(cmd.Context(), audit.ImportKey, want, n.name, func() (got key.Key, err error) {
		if d.Keystore != nil {
			got, err = importToKeystore(d.Keystore, n, secret)
		} else {
			got, err = importer.Import(cmd.Context(), n.name, secret, tags)
		}
		if err == nil && got.Address != want {
			err = fmt.Errorf("the backend says that the key which it took in has the address %s, and it has %s: do not use it", got.Address, want)
		}
		return got, err
	})
	if err != nil {
		return err
	}
	return a.printKey(cmd, got, "")
}

// importToKeystore is account import, for those who think of it as a key.
func importToKeystore(k *config.Keystore, n newKey, secret []byte) (key.Key, error) {
	if n.name != "" || len(n.tags) > 0 {
		return key.Key{}, errors.New("a key file has its name from its address, and no place for tags: leave out --name and --tag")
	}
	path, address, err := addToKeystore(k, keystore.StandardScrypt, func(dir string, password []byte, cost keystore.ScryptParams) (string, common.Address, error) {
		return keystore.Import(dir, secret, password, cost)
	})
	return key.Key{Ref: key.Ref(path), Name: path, Address: address, Protection: key.Software, State: key.Enabled}, err
}

// addressOfKey is the address of a private key, which is not kept.
func addressOfKey(secret []byte) (common.Address, error) {
	private, err := crypto.ToECDSA(secret)
	if err != nil {
		return common.Address{}, errors.New("the key is not one: want a number from 1 to n-1")
	}
	//lint:ignore SA1019 The words of D are the secret, and nothing else reaches them.
	defer clear(private.D.Bits()) //nolint:staticcheck // as above
	return crypto.PubkeyToAddress(private.PublicKey), nil
}

func unsupported(d config.Details, what string) error {
	return fmt.Errorf("provider %s: the signer cannot %s there: use the provider's own tools", d.Provider, what)
}
