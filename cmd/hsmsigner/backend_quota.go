// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"strings"

	"github.com/hsmsigner/hsmsigner/internal/config"
	"github.com/hsmsigner/hsmsigner/internal/key"
)

// quotas are what a service documents, in calls per second; zero where it
// documents none.
type quotas struct {
	sign, read float64
	one        bool // both kinds of calls come out of sign
}

// quotaBook has one pair of quotas for each service, so that wallets which ask
// the same one share what it allows. It is not safe for concurrent use; nil has
// a pair for everybody.
type quotaBook map[string]quotaPair

// quotaPair is what limits signatures and what limits listings; nil: nothing.
type quotaPair struct{ signs, reads *key.Quota }

// limits gives the quotas of a wallet: its share of what is documented, or for
// signatures the rate that the config gives, which is the wallet's own.
func (b quotaBook) limits(d config.Details, q quotas) quotaPair {
	if d.RateLimit > 0 {
		pair := newQuotas(q, d.QuotaShare)
		pair.signs = key.NewQuota(d.RateLimit) // listings go on as before
		return pair
	}
	name := fmt.Sprint(serviceOf(d), " ", q, " ", d.QuotaShare)
	if pair, ok := b[name]; ok {
		return pair
	}
	pair := newQuotas(q, d.QuotaShare)
	if b != nil && serviceOf(d) != "" {
		b[name] = pair
	}
	return pair
}

func newQuotas(q quotas, share float64) quotaPair {
	var pair quotaPair
	if q.sign > 0 {
		pair.signs = key.NewQuota(q.sign * share)
	}
	switch {
	case q.one:
		pair.reads = pair.signs
	case q.read > 0:
		pair.reads = key.NewQuota(q.read * share)
	}
	return pair
}

// serviceOf names what a provider counts calls for; empty if that is nothing.
func serviceOf(d config.Details) string {
	switch {
	case d.Azure != nil: // a vault
		return "azure " + strings.ToLower(d.Azure.TargetAddress)
	case d.AWSKMS != nil: // an account in a region
		return fmt.Sprint("aws ", d.AWSKMS.Region, " ", d.AWSKMS.TargetAddress, " ", awsAccount(d.AWSKMS.Credential))
	case d.GCPKMS != nil: // a project in a location
		ring, _, _ := strings.Cut(d.GCPKMS.KeyRing, "/keyRings/")
		return "gcp " + ring
	case d.PKCS11 != nil && d.PKCS11.CloudHSM: // a cluster
		return "cloudhsm " + d.PKCS11.Path
	}
	return ""
}

// awsAccount is the account of a role, or else what stands for one: an access
// key does not tell its account without a call.
func awsAccount(c config.AWSCredential) string {
	if parts := strings.Split(c.RoleARN, ":"); len(parts) > 4 {
		return parts[4]
	}
	return c.AccessKeyID + c.Profile
}
