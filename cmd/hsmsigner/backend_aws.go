// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"log/slog"
	"slices"
	"strings"

	"github.com/hsmsigner/hsmsigner/internal/config"
	"github.com/hsmsigner/hsmsigner/internal/fleet"
	"github.com/hsmsigner/hsmsigner/internal/key"
	"github.com/hsmsigner/hsmsigner/internal/key/awskms"
)

func awsQuotas() quotas {
	return quotas{sign: awskms.SignPerSecond, read: awskms.ReadPerSecond, one: awskms.OneBucket}
}

func openAWS(ctx context.Context, d config.Details, reads *key.Quota, dial fleet.Dial, log *slog.Logger) (key.Backend, error) {
	a := d.AWSKMS
	roots, err := moreRoots(a.CACert)
	if err != nil {
		return nil, err
	}
	c := awskms.Config{
		Region: a.Region, AccessKeyID: a.Credential.AccessKeyID, Secret: revealer(a.Credential.SecretKey),
		RoleARN: a.Credential.RoleARN, ExternalID: a.Credential.ExternalID,
		Endpoint: a.TargetAddress, STSEndpoint: a.Credential.STSAddress, TaggingEndpoint: a.TagAddress, FIPS: a.FIPS, RootCAs: roots,
		Discovery: awskms.Discovery{AliasPrefix: a.Discovery.AliasPrefix, TagKey: a.Discovery.TagKey, TagValue: a.Discovery.TagValue},
		Tags:      filtersByTag(d),
		Reads:     reads, DialContext: dial, Logger: log,
	}
	if a.Credential.Ambient {
		c.Ambient = &awskms.Ambient{Profile: a.Credential.Profile}
	}
	return awskms.Open(ctx, c)
}

// filtersByTag reports whether the wallet's filters look at tags, which cost a
// call for each key at some providers.
func filtersByTag(d config.Details) bool {
	return slices.ContainsFunc(slices.Concat(d.Include, d.Exclude), func(pattern string) bool {
		return strings.Contains(pattern, "=")
	})
}
