// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"time"

	"github.com/hsmsigner/hsmsigner/internal/config"
	"github.com/hsmsigner/hsmsigner/internal/key"
	"github.com/hsmsigner/hsmsigner/internal/key/pkcs11"
)

// pkcs11Quotas are those of CloudHSM; other tokens document none.
func pkcs11Quotas(p *config.PKCS11) quotas {
	if p.CloudHSM {
		return quotas{sign: pkcs11.CloudHSMSignPerSecond}
	}
	return quotas{}
}

func openPKCS11(ctx context.Context, p *config.PKCS11, logins *pkcs11.Logins, reads *key.Quota, log *slog.Logger) (key.Backend, error) {
	if p.Path == "" {
		return nil, errors.New("the module has no path")
	}
	var env []string
	for _, name := range slices.Sorted(maps.Keys(p.Env)) {
		env = append(env, name+"="+p.Env[name])
	}
	return pkcs11.Open(ctx, pkcs11.Config{
		Module: p.Path, TokenLabel: p.TokenLabel, TokenSerial: p.TokenSerial, PIN: pin(p.Credential),
		Sessions: p.Sessions, CloudHSM: p.CloudHSM, WrappingKey: p.WrappingKey, Protection: key.Protection(p.Protection), Env: env,
		CallTimeout: p.CallTimeout, KeepAlive: keepAlive(p), Logins: logins, Reads: reads, Logger: log,
	})
}

// keepAlive is the setting as the adapter takes it, where zero is the default.
func keepAlive(p *config.PKCS11) time.Duration {
	if p.KeepAlive == 0 {
		return -1
	}
	return p.KeepAlive
}

// pin is the PIN as the module takes it: CloudHSM's names the user too.
func pin(c config.PKCS11Credential) func() (string, error) {
	if c.User == "" {
		return revealer(c.PIN)
	}
	return func() (string, error) {
		password, err := c.PIN.Reveal()
		return c.User + ":" + password, err
	}
}
