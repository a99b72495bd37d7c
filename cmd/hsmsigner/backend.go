// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"

	"github.com/hsmsigner/hsmsigner/internal/config"
	"github.com/hsmsigner/hsmsigner/internal/fleet"
	"github.com/hsmsigner/hsmsigner/internal/key"
	"github.com/hsmsigner/hsmsigner/internal/key/keystore"
	"github.com/hsmsigner/hsmsigner/internal/key/pkcs11"
)

// openedBackend is a key backend with the quotas that it is asked within.
type openedBackend struct {
	key.Backend
	quotaPair
}

// sharing is what the backends of one process share: what their services allow,
// what is known of the PINs of tokens, and the memory in which key files are
// decrypted. Nil parts are shared with nobody.
type sharing struct {
	quotas *quotaBook
	logins *pkcs11.Logins
	gate   chan struct{} // keystore.Config.Gate
}

func newSharing() sharing {
	return sharing{newQuotaBook(), pkcs11.NewLogins(), make(chan struct{}, 1)}
}

// of is what the backends of one membership share: by naming a vault it takes
// nothing of what another's quota allows.
func (s sharing) of(membership string) sharing {
	s.quotas = s.quotas.of(membership)
	return s
}

// openBackend opens the key backend of a wallet and keeps within its quota. It
// asks nothing of the provider yet. The caller closes it.
func openBackend(ctx context.Context, d config.Details, shared sharing, log *slog.Logger) (openedBackend, error) {
	o, err := dialBackend(ctx, d, shared, nil, log)
	if err == nil && o.signs != nil {
		o.Backend = key.Limit(o.Backend, o.signs)
	}
	return o, err
}

// dialBackend opens a key backend, whose quota of signatures is not yet in force:
// the one place that knows all adapters. It is reached by dial; nil: directly.
func dialBackend(ctx context.Context, d config.Details, shared sharing, dial fleet.Dial, log *slog.Logger) (openedBackend, error) {
	var o openedBackend
	var err error
	book := shared.quotas
	if byOwnIdentity(d) {
		// The operator has granted it for addresses of his choice; and where the
		// machine itself gives it out, no tenant's connection may go.
		dial = nil
	}
	switch {
	case d.Keystore != nil:
		o.quotaPair = book.limits(d, quotas{})
		o.Backend, err = openKeystore(d.Keystore, shared.gate, log)
	case d.Azure != nil:
		o.quotaPair = book.limits(d, azureQuotas(d.Azure))
		o.Backend, err = openAzure(ctx, d.Azure, o.reads, dial, log)
	case d.AWSKMS != nil:
		o.quotaPair = book.limits(d, awsQuotas())
		o.Backend, err = openAWS(ctx, d, o.reads, dial, log)
	case d.GCPKMS != nil:
		o.quotaPair = book.limits(d, gcpQuotas())
		o.Backend, err = openGCP(ctx, d.GCPKMS, o.quotaPair, dial, log)
	case d.Hashicorp != nil:
		o.quotaPair = book.limits(d, hashicorpQuotas())
		o.Backend, err = openHashicorp(ctx, d.Hashicorp, o.reads, dial, log)
	case d.PKCS11 != nil:
		o.quotaPair = book.limits(d, pkcs11Quotas(d.PKCS11))
		o.Backend, err = openPKCS11(ctx, d.PKCS11, shared.logins, o.reads, log)
	default:
		err = fmt.Errorf("provider %s is not built in this version", d.Provider)
	}
	if err != nil {
		return openedBackend{}, err
	}
	return o, nil
}

// byOwnIdentity reports whether a backend is asked as the daemon itself.
func byOwnIdentity(d config.Details) bool {
	switch {
	case d.Azure != nil:
		return d.Azure.Credential.Identity != ""
	case d.AWSKMS != nil:
		return d.AWSKMS.Credential.Ambient
	case d.GCPKMS != nil:
		return d.GCPKMS.Credential.Identity == config.GCPDefault
	}
	return false
}

func openKeystore(k *config.Keystore, gate chan struct{}, log *slog.Logger) (key.Backend, error) {
	c := keystore.Config{Path: k.Path, Gate: gate, Logger: log}
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
