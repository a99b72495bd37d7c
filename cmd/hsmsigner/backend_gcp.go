// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"log/slog"
	"net/url"

	"github.com/hsmsigner/hsmsigner/internal/config"
	"github.com/hsmsigner/hsmsigner/internal/fleet"
	"github.com/hsmsigner/hsmsigner/internal/key"
	"github.com/hsmsigner/hsmsigner/internal/key/gcpkms"
)

func gcpQuotas() quotas {
	return quotas{sign: gcpkms.SignPerSecond, read: gcpkms.ReadPerSecond, one: gcpkms.SharedQuota}
}

func openGCP(ctx context.Context, g *config.GCPKMS, quota quotaPair, dial fleet.Dial, log *slog.Logger) (key.Backend, error) {
	c := gcpkms.Config{
		KeyRing: g.KeyRing, Credentials: revealer(g.Credential.ServiceAccount), Ambient: g.Credential.Identity == config.GCPDefault,
		Reads: quota.reads, Crypto: quota.signs, DialContext: dial, Logger: log,
	}
	if g.TargetAddress != "" {
		u, err := url.Parse(g.TargetAddress) // config has judged it: http on loopback only
		if err != nil {
			return nil, err
		}
		c.Endpoint, c.Insecure = u.Host, u.Scheme == "http"
		if u.Port() == "" {
			c.Endpoint += map[bool]string{true: ":80", false: ":443"}[c.Insecure]
		}
	}
	return gcpkms.Open(ctx, c)
}
