// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"

	"github.com/hsmsigner/hsmsigner/internal/config"
	"github.com/hsmsigner/hsmsigner/internal/key"
	"github.com/hsmsigner/hsmsigner/internal/key/keystore"
	"github.com/hsmsigner/hsmsigner/internal/key/pkcs11"
)

// openedBackend is a key backend with the quotas that it is asked within.
type openedBackend struct {
	key.Backend // keeps within signs
	quotaPair
}

// share leaves this process one part in n of the quotas.
func (b openedBackend) share(n int) {
	b.signs.Share(n)
	b.reads.Share(n)
}

// sharing is what the backends of one process share: what their services allow,
// and what is known of the PINs of tokens. Nil parts are shared with nobody.
type sharing struct {
	quotas quotaBook
	logins *pkcs11.Logins
}

// openBackend opens the key backend of a wallet: the one place that knows all
// adapters. It asks nothing of the provider yet. The caller closes it.
func openBackend(ctx context.Context, d config.Details, shared sharing, log *slog.Logger) (openedBackend, error) {
	var o openedBackend
	var err error
	book := shared.quotas
	switch {
	case d.Keystore != nil:
		o.quotaPair = book.limits(d, quotas{})
		o.Backend, err = openKeystore(d.Keystore, log)
	case d.Azure != nil:
		o.quotaPair = book.limits(d, azureQuotas(d.Azure))
		o.Backend, err = openAzure(ctx, d.Azure, o.reads, log)
	case d.AWSKMS != nil:
		o.quotaPair = book.limits(d, awsQuotas())
		o.Backend, err = openAWS(ctx, d, o.reads, log)
	case d.GCPKMS != nil:
		o.quotaPair = book.limits(d, gcpQuotas())
		o.Backend, err = openGCP(ctx, d.GCPKMS, o.signs, o.reads, log)
	case d.Hashicorp != nil:
		o.quotaPair = book.limits(d, hashicorpQuotas())
		o.Backend, err = openHashicorp(ctx, d.Hashicorp, o.reads, log)
	case d.PKCS11 != nil:
		o.quotaPair = book.limits(d, pkcs11Quotas(d.PKCS11))
		o.Backend, err = openPKCS11(ctx, d.PKCS11, shared.logins, o.reads, log)
	default:
		err = fmt.Errorf("provider %s is not built in this version", d.Provider)
	}
	if err != nil {
		return openedBackend{}, err
	}
	if o.signs != nil {
		o.Backend = key.Limit(o.Backend, o.signs)
	}
	return o, nil
}

func openKeystore(k *config.Keystore, log *slog.Logger) (key.Backend, error) {
	c := keystore.Config{Path: k.Path, Logger: log}
	if k.Password.Set() {
		c.Password = func() ([]byte, error) {
			password, err := k.Password.Reveal()
			return []byte(password), err
		}
	}
	return keystore.Open(c)
}

// revealer is a secret as adapters take it: read anew whenever it is needed.
// Nil if it is not set.
func revealer(s config.Secret) func() (string, error) {
	if !s.Set() {
		return nil
	}
	return s.Reveal
}

// moreRoots is the system's certificate authorities and those of pem; nil, which
// means the system's, if there are none.
func moreRoots(pem config.Secret) (*x509.CertPool, error) {
	text, err := pem.Reveal()
	if err != nil || text == "" {
		return nil, err
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool() // a machine without any: what is given has to do
	}
	if !pool.AppendCertsFromPEM([]byte(text)) {
		return nil, errors.New("ca_cert: no certificate in it")
	}
	return pool, nil
}

// errNoAdmin is a wallet whose config allows no command that changes keys.
var errNoAdmin = errors.New("no admin credential: give one in details.admin, or name the backend by --provider and --set")
