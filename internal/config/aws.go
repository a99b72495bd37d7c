// SPDX-License-Identifier: Apache-2.0

package config

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"
)

// AWSKMS is AWS KMS in one region of one account.
type AWSKMS struct {
	Region        string // target_region
	TargetAddress string // target_address: endpoint in place of the region's own
	TagAddress    string // tagging_address: endpoint of the tagging API in place of the region's own
	FIPS          bool   // fips: AWS's FIPS endpoints, in place of addresses
	CACert        Secret // ca_cert: PEM; trusted beside the system's
	Discovery     AWSDiscovery
	Credential    AWSCredential
	Admin         *AWSCredential // admin
}

// AWSDiscovery says how keys are found. The ways by alias and by tag ask for
// fewer calls in accounts that hold many other keys.
type AWSDiscovery struct {
	AliasPrefix string // alias:PREFIX
	TagKey      string // tag:KEY=VALUE, or tag:KEY
	TagValue    string
}

// AWSCredential is an identity of AWS.
type AWSCredential struct {
	AccessKeyID string // user_id
	SecretKey   Secret // user_secret: the secret access key, or id:secret, or id:secret:token
	Ambient     bool   // identity: ambient: environment, shared files, web identity, container or instance, in the SDK's order
	Profile     string // profile: of the shared files, with identity: ambient
	RoleARN     string // role_arn: assumed by the identity above
	ExternalID  string // external_id: for RoleARN
	STSAddress  string // sts_address: endpoint of STS in place of the region's own
}

var (
	awsRegion   = regexp.MustCompile(`^[a-z]{2,8}(-[a-z]{2,12}){1,3}-[0-9]{1,2}$`)
	awsKeyID    = regexp.MustCompile(`^[A-Za-z0-9_]{16,128}$`)
	awsRole     = regexp.MustCompile(`^arn:aws[a-z-]*:iam::[0-9]{12}:role/[\w+=,.@/-]+$`)
	awsExternal = regexp.MustCompile(`^[\w+=,.@:/-]{2,}$`)
	awsProfile  = regexp.MustCompile(`^[\w.@-]{1,128}$`)
	awsAlias    = regexp.MustCompile(`^[a-zA-Z0-9/_-]{1,250}$`)
)

// The longest that AWS takes, in characters. They are not counted in the patterns: a
// count as long as this costs memory at every start.
const (
	maxTagKey, maxTagValue = 128, 256
	maxExternalID          = 1224
	maxARN                 = 2048
)

// isTag reports whether s may be KEY or KEY=VALUE. That is no pattern: a counted class
// of all letters costs megabytes.
func isTag(s string) bool {
	name, value, _ := strings.Cut(s, "=")
	fits := func(s, signs string, most int) bool {
		return utf8.RuneCountInString(s) <= most && !strings.ContainsFunc(s, func(r rune) bool {
			return !unicode.In(r, unicode.L, unicode.Z, unicode.N) && !strings.ContainsRune(signs, r)
		})
	}
	return name != "" && fits(name, "_.:/+@-", maxTagKey) && fits(value, "_.:/+@-=", maxTagValue)
}

func readAWSKMS(o *object) *AWSKMS {
	a := &AWSKMS{}
	need(o, "target_region", &a.Region, matching(awsRegion, "a region like eu-central-1"))
	field(o, "target_address", &a.TargetAddress, targetURL)
	field(o, "discovery", &a.Discovery, readAWSDiscovery)
	field(o, "tagging_address", &a.TagAddress, targetURL)
	field(o, "fips", &a.FIPS, boolean)
	field(o, "ca_cert", &a.CACert, certificates)
	var granted []*GrantedAWS
	read := func(o *object) AWSCredential { return readAWSIdentity(o, &granted) }
	a.Credential = read(o)
	a.Admin = readAdminCredential(o, read)
	o.checkGrantedAWS(a, granted)
	if a.FIPS {
		for _, key := range o.present("target_address", "tagging_address", "sts_address") {
			o.at(key).fail("is given beside fips, which chooses AWS's own addresses: want one of them")
		}
	}
	return a
}

func readAWSDiscovery(v value) (d AWSDiscovery, err error) {
	const want = "list, alias:PREFIX, tag:KEY or tag:KEY=VALUE"
	s, err := text(v)
	if err != nil {
		return d, fmt.Errorf("%w: want %s", err, want)
	}
	way, what, _ := strings.Cut(s, ":")
	switch {
	case s == "list":
		return d, nil
	case way == "alias" && awsAlias.MatchString(what):
		d.AliasPrefix = what
		return d, nil
	case way == "alias":
		return d, errors.New("alias: want the first letters of an alias after it, without alias/, like alias:treasury-")
	case way == "tag" && isTag(what):
		d.TagKey, d.TagValue, _ = strings.Cut(what, "=")
		return d, nil
	}
	return d, fmt.Errorf("%q is not allowed: want %s", s, want)
}

// readAWSIdentity is readAWSCredential for who may name an identity that was
// granted. Those that are go to granted.
func readAWSIdentity(o *object, granted *[]*GrantedAWS) AWSCredential {
	if o == nil || o.r.scope != tenant {
		return readAWSCredential(o)
	}
	if o.notForTenants("profile", whyProfile) {
		return AWSCredential{}
	}
	if _, named := o.given("identity"); !named {
		return readAWSCredential(o)
	}
	o.standsFor("user_id", "user_secret", "role_arn", "external_id")
	o.ownAddress("sts_address")
	g := grantedIdentity(o, func(g GrantedIdentity) *GrantedAWS { return g.AWSKMS })
	if g == nil {
		return AWSCredential{}
	}
	*granted = append(*granted, g)
	return g.Credential
}

func readAWSCredential(o *object) AWSCredential {
	var c AWSCredential
	o.exactlyOne("user_id", "identity")
	identity := ""
	field(o, "identity", &identity, oneOf("ambient"))
	c.Ambient = identity != ""
	if _, ok := o.given("user_id"); ok {
		need(o, "user_id", &c.AccessKeyID, matching(awsKeyID, "an access key id, like AKIAIOSFODNN7EXAMPLE"))
		need(o, "user_secret", &c.SecretKey, secret)
	}
	field(o, "profile", &c.Profile, matching(awsProfile, "the name of a profile"))
	o.only("user_id", "user_secret")
	o.only("identity", "profile")
	field(o, "role_arn", &c.RoleARN, atMost(maxARN, matching(awsRole, "arn:aws:iam::ACCOUNT:role/NAME")))
	field(o, "external_id", &c.ExternalID, atMost(maxExternalID, matching(awsExternal, "2 to 1224 letters, digits and + = , . @ : / -")))
	field(o, "sts_address", &c.STSAddress, targetURL)
	o.only("role_arn", "external_id", "sts_address")
	return c
}
