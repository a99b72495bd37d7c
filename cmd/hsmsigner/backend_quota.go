// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"runtime"
	"strings"
	"sync"
	"weak"

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
// the same one share what it allows. A pair is forgotten when nobody has it any
// more. It is safe for concurrent use; nil has a pair for everybody.
type quotaBook struct {
	membership string
	*quotaPairs
}

type quotaPairs struct {
	mu    sync.Mutex
	pairs map[string]weakPair
}

// weakPair is a quotaPair that does not keep its quotas alive.
type weakPair struct{ signs, reads weak.Pointer[key.Quota] }

func newQuotaBook() *quotaBook {
	return &quotaBook{quotaPairs: &quotaPairs{pairs: map[string]weakPair{}}}
}

// of is the part of the book that a membership shares.
func (b *quotaBook) of(membership string) *quotaBook {
	if b == nil {
		return nil
	}
	return &quotaBook{membership, b.quotaPairs}
}

// quotaPair is what limits signatures and what limits listings; nil: nothing.
type quotaPair struct{ signs, reads *key.Quota }

// limits gives the quotas of a wallet: its share of what is documented, or for
// signatures the rate that the config gives, which is the wallet's own.
func (b *quotaBook) limits(d config.Details, q quotas) quotaPair {
	if d.RateLimit > 0 {
		pair := newQuotas(q, d.QuotaShare)
		pair.signs = key.NewQuota(d.RateLimit) // listings go on as before
		return pair
	}
	service := serviceOf(d)
	if b == nil || service == "" {
		return newQuotas(q, d.QuotaShare)
	}
	return b.pair(fmt.Sprintf("%s %s %v %g", b.membership, service, q, d.QuotaShare), q, d.QuotaShare)
}

// pair finds the quotas of a service, or makes them.
func (p *quotaPairs) pair(name string, q quotas, share float64) quotaPair {
	p.mu.Lock()
	defer p.mu.Unlock()
	if was, ok := p.pairs[name]; ok {
		is := quotaPair{was.signs.Value(), was.reads.Value()}
		if (is.signs != nil || q.sign == 0) && (is.reads != nil || q.read == 0) {
			return is
		}
	}
	made := newQuotas(q, share)
	kept := weakPair{weak.Make(made.signs), weak.Make(made.reads)}
	p.pairs[name] = kept
	if made.signs != nil {
		runtime.AddCleanup(made.signs, func(kept weakPair) {
			p.mu.Lock()
			defer p.mu.Unlock()
			if p.pairs[name] == kept {
				delete(p.pairs, name)
			}
		}, kept)
	}
	return made
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
