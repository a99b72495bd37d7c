// SPDX-License-Identifier: Apache-2.0

package main

import (
	"math"
	"testing"

	"github.com/hsmsigner/hsmsigner/internal/config"
	"github.com/hsmsigner/hsmsigner/internal/key"
	"github.com/hsmsigner/hsmsigner/internal/key/awskms"
	"github.com/hsmsigner/hsmsigner/internal/key/azure"
)

func vault(name string) config.Details {
	return config.Details{
		Provider: config.ProviderAzure, QuotaShare: config.DefaultQuotaShare,
		Azure: &config.Azure{TargetAddress: "https://" + name + ".vault.azure.net"},
	}
}

func TestShareOfTheConfigIsThatOfTheLimiter(t *testing.T) {
	if config.DefaultQuotaShare != key.DefaultShare {
		t.Errorf("config has %g, key %g", config.DefaultQuotaShare, key.DefaultShare)
	}
}

func TestWalletsOnOneServiceShareItsQuota(t *testing.T) {
	book := newQuotaBook()
	of := func(d config.Details) quotaPair { return book.limits(d, azureQuotas(d.Azure)) }
	a, b, other := of(vault("one")), of(vault("One")), of(vault("two"))
	if a.signs == nil || a != b {
		t.Error("two wallets on one vault have a quota each")
	}
	if a.signs == other.signs {
		t.Error("two vaults share a quota")
	}
	if a.reads != a.signs {
		t.Error("a vault counts reading and signing together, the quotas do not")
	}
	if got, want := a.signs.State().Share, azure.SignPerSecond*config.DefaultQuotaShare; math.Abs(got-want) > 1e-9 {
		t.Errorf("%g calls a second, want %g", got, want)
	}
	limited := vault("one")
	limited.RateLimit = 5
	if own := of(limited); own.signs == a.signs || own.signs.State().Share != 5 {
		t.Error("rate_limit is not the wallet's own")
	}
	if managed := of(config.Details{QuotaShare: 1, Azure: &config.Azure{TargetAddress: "https://x.managedhsm.azure.net"}}); managed.reads == managed.signs ||
		managed.signs.State().Share != azure.ManagedHSMSignPerSecond {
		t.Errorf("a Managed HSM has %+v", managed.signs.State())
	}
}

func TestQuotasOfAWSAreThoseOfAnAccountInARegion(t *testing.T) {
	book := newQuotaBook()
	of := func(region, role string) quotaPair {
		return book.limits(config.Details{QuotaShare: 1, AWSKMS: &config.AWSKMS{Region: region, Credential: config.AWSCredential{RoleARN: role}}}, awsQuotas())
	}
	a := of("eu-central-1", "arn:aws:iam::111122223333:role/a")
	if b := of("eu-central-1", "arn:aws:iam::111122223333:role/b"); a != b || a.signs.State().Share != awskms.SignPerSecond {
		t.Error("two roles of one account have a quota each")
	}
	if a == of("eu-west-1", "arn:aws:iam::111122223333:role/a") || a == of("eu-central-1", "arn:aws:iam::444455556666:role/a") {
		t.Error("other regions or accounts share a quota")
	}
}

func TestKeystoreHasNoQuotaUnlessItIsGivenOne(t *testing.T) {
	d := config.Details{QuotaShare: 1, Keystore: &config.Keystore{}}
	if pair := newQuotaBook().limits(d, quotas{}); pair != (quotaPair{}) {
		t.Errorf("got %+v", pair)
	}
	d.RateLimit = 2
	if pair := (*quotaBook)(nil).limits(d, quotas{}); pair.signs.State().Share != 2 || pair.reads != nil {
		t.Errorf("got %+v", pair)
	}
}
