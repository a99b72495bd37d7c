// SPDX-License-Identifier: Apache-2.0

package platform

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"

	"github.com/hsmsigner/hsmsigner/internal/auth"
	"github.com/hsmsigner/hsmsigner/internal/key"
	"github.com/hsmsigner/hsmsigner/internal/key/byok"
	"github.com/hsmsigner/hsmsigner/internal/seal"
	"github.com/hsmsigner/hsmsigner/internal/store"
)

const (
	importKeyBits = 3072
	importWrap    = "RSA_AES_KEY_WRAP_SHA_256"
)

// importKeyOf is the name of a service's key among the store's sealed keys.
// Each service has its own: what was wrapped for one tenant, and may have been
// seen by another, is worth nothing to him.
func importKeyOf(service string) string { return "import/" + service }

// ImportKey is the public key under which private keys are wrapped on their way
// to ImportAccount. It is the service's, and stays the same for as long as that is
// there.
func (p *Platform) ImportKey(ctx context.Context, who auth.Access, at Path) (ImportKey, error) {
	r, err := p.service(ctx, who, auth.Admin, at)
	if err != nil {
		return ImportKey{}, err
	}
	if err := changing(r); err != nil {
		return ImportKey{}, err
	}
	private, err := p.importKey(ctx, r.ID)
	if err != nil {
		return ImportKey{}, err
	}
	der, err := x509.MarshalPKIXPublicKey(&private.PublicKey)
	if err != nil {
		return ImportKey{}, fmt.Errorf("platform: import key: %w", err)
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	return ImportKey{PublicKey: string(text), Algorithm: importWrap}, nil
}

// ImportAccount takes a wrapped private key into the backend of a service, which
// needs an admin credential for it.
func (p *Platform) ImportAccount(ctx context.Context, who auth.Access, at Path, n ImportedAccount) (Account, error) {
	add := func(ctx context.Context, who auth.Principal, wallet, name string, tags map[string]string) (key.Key, error) {
		private, err := p.unwrap(ctx, at.ID, n.Wrapped)
		if err != nil {
			return key.Key{}, err
		}
		defer clear(private)
		return p.cfg.Runtime.Import(ctx, who, wallet, name, private, tags)
	}
	return p.addAccount(ctx, who, at, "import account", NewAccount{Name: n.Name, Tags: n.Tags, Label: n.Label}, add)
}

// unwrap opens a wrapped key. The caller wipes it.
func (p *Platform) unwrap(ctx context.Context, service string, wrapped []byte) ([]byte, error) {
	if len(wrapped) == 0 {
		return nil, invalid("wrapped_key", "is missing: want the private key as PKCS#8, wrapped by %s under the import key", importWrap)
	}
	with, err := p.importKey(ctx, service)
	if err != nil {
		return nil, err
	}
	der, err := byok.Unwrap(with, crypto.SHA256, wrapped)
	if err != nil {
		return nil, invalid("wrapped_key", "does not open: want what %s makes of PKCS#8 under the import key", importWrap)
	}
	defer clear(der)
	private, err := byok.ParsePKCS8(der)
	if err != nil {
		return nil, invalid("wrapped_key", "opens, but holds no private key of secp256k1 as PKCS#8")
	}
	return private, nil
}

// importKey reads a service's key for imports, which it makes if there is
// none yet.
func (p *Platform) importKey(ctx context.Context, service string) (*rsa.PrivateKey, error) {
	name := importKeyOf(service)
	sealed, err := p.cfg.Store.SealedKey(ctx, name, nil)
	if errors.Is(err, store.ErrNotFound) {
		if sealed, err = p.freshImportKey(ctx, name); err == nil {
			sealed, err = p.cfg.Store.SealedKey(ctx, name, sealed) // or what another replica stored
		}
	}
	if err != nil {
		return nil, fmt.Errorf("platform: import key: %w", err)
	}
	der, err := p.cfg.Sealer.Open(ctx, seal.OfKey(name), sealed)
	if err != nil {
		return nil, fmt.Errorf("platform: import key: %w", err)
	}
	defer clear(der)
	private, err := x509.ParsePKCS1PrivateKey(der)
	if err != nil {
		return nil, errors.New("platform: import key: is not what was sealed")
	}
	return private, nil
}

func (p *Platform) freshImportKey(ctx context.Context, name string) ([]byte, error) {
	private, err := rsa.GenerateKey(rand.Reader, importKeyBits)
	if err != nil {
		return nil, err
	}
	der := x509.MarshalPKCS1PrivateKey(private)
	defer clear(der)
	return p.cfg.Sealer.Seal(ctx, seal.OfKey(name), der)
}
