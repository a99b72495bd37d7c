// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"log/slog"

	"github.com/hsmsigner/hsmsigner/internal/config"
	"github.com/hsmsigner/hsmsigner/internal/fleet"
	"github.com/hsmsigner/hsmsigner/internal/key"
	"github.com/hsmsigner/hsmsigner/internal/key/hashicorp"
)

func hashicorpQuotas() quotas {
	return quotas{sign: hashicorp.SignPerSecond, read: hashicorp.ReadPerSecond, one: hashicorp.SharedQuota}
}

func openHashicorp(ctx context.Context, h *config.Hashicorp, reads *key.Quota, dial fleet.Dial, log *slog.Logger) (key.Backend, error) {
	ca, err := h.CACert.Reveal()
	if err != nil {
		return nil, err
	}
	return hashicorp.Open(ctx, hashicorp.Config{
		Address: h.TargetAddress, Mount: h.Mount, Namespace: h.Namespace, Engine: hashicorp.Engine(h.Engine),
		Token: revealer(h.Credential.Token), RoleID: h.Credential.RoleID, Secret: revealer(h.Credential.SecretID),
		Kubernetes: vaultLogin(h.Credential.Kubernetes), JWT: vaultLogin(h.Credential.JWT), AuthMount: h.Credential.AuthMount,
		CACert: []byte(ca), ClientCert: revealer(h.ClientCert), ClientKey: revealer(h.ClientKey),
		DialContext: dial, Reads: reads, Logger: log,
	})
}

func vaultLogin(l *config.VaultLogin) *hashicorp.Login {
	if l == nil {
		return nil
	}
	return &hashicorp.Login{Role: l.Role, File: l.TokenFile}
}
