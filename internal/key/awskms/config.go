// SPDX-License-Identifier: Apache-2.0

package awskms

import (
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"strings"
)

// aliasPrefix begins the name of every alias in the API.
const aliasPrefix = "alias/"

// check reports every fault of the configuration at once.
func (c *Config) check() error {
	var errs []error
	fault := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }

	if !matches(`^[a-z]{2,8}(-[a-z]{2,12}){1,3}-[0-9]{1,2}$`, c.Region) {
		fault("region %q: want the name of a region, as in eu-central-1", c.Region)
	}
	switch {
	case c.Ambient != nil && (c.AccessKeyID != "" || c.Secret != nil):
		fault("an access key and the ambient identity exclude each other: give one of them")
	case c.Ambient == nil && c.AccessKeyID == "" && c.Secret == nil:
		fault("no credential: give an access key id and its secret")
	case c.Ambient == nil && c.AccessKeyID == "":
		fault("the access key id is missing")
	case c.Ambient == nil && c.Secret == nil:
		fault("the secret access key is missing")
	case c.Ambient == nil && !matches(`^[A-Za-z0-9_]{16,128}$`, c.AccessKeyID):
		fault("access key id: want 16 to 128 letters and digits, as in AKIAIOSFODNN7EXAMPLE")
	}
	if c.RoleARN != "" && !matches(`^arn:aws[a-z-]*:iam::[0-9]{12}:role/[\w+=,.@/-]{1,576}$`, c.RoleARN) {
		fault("role %q: want the ARN of a role, as in arn:aws:iam::111122223333:role/signer", c.RoleARN)
	}
	if c.ExternalID != "" && c.RoleARN == "" {
		fault("an external id is for assuming a role, and no role is given")
	}
	if n := len(c.ExternalID); n > 0 && (n < 2 || n > 1224 || !matches(`^[\w+=,.@:/-]+$`, c.ExternalID)) {
		fault("external id: want 2 to 1224 letters, digits and any of + = , . @ : / _ -")
	}
	for _, e := range []struct{ name, value string }{
		{"endpoint", c.Endpoint}, {"STS endpoint", c.STSEndpoint}, {"tagging endpoint", c.TaggingEndpoint},
	} {
		if e.value == "" {
			continue
		}
		if c.FIPS {
			fault("the %s and FIPS exclude each other: FIPS chooses AWS's own endpoints", e.name)
		}
		u, err := url.Parse(e.value)
		if err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" || (u.Scheme != "https" && u.Scheme != "http") {
			fault("%s: want a URL, as in https://vpce-0123-abcd.kms.eu-central-1.vpce.amazonaws.com", e.name)
		}
	}
	errs = append(errs, c.Discovery.check())
	if c.Concurrency < 0 || c.Concurrency > 1000 {
		fault("concurrency %d: want 1 to 1000", c.Concurrency)
	}
	return errors.Join(errs...)
}

func (d *Discovery) check() error {
	switch {
	case d.AliasPrefix != "" && d.TagKey != "":
		return errors.New("discovery by alias and by tag exclude each other: give one of them")
	case d.TagKey == "" && d.TagValue != "":
		return errors.New("discovery by tag: the key of the tag is missing")
	case len(d.TagKey) > 128 || len(d.TagValue) > 256:
		return errors.New("discovery by tag: a key has at most 128 characters, a value 256")
	case d.AliasPrefix != "" && !aliasCharacters(d.AliasPrefix):
		return fmt.Errorf("discovery by alias: prefix %q: want up to 250 of A-Z a-z 0-9 / _ -", d.AliasPrefix)
	}
	d.AliasPrefix = strings.TrimPrefix(d.AliasPrefix, aliasPrefix)
	return nil
}

// aliasCharacters judges a name with or without "alias/", as CreateAlias does.
func aliasCharacters(name string) bool {
	return matches(`^[a-zA-Z0-9/_-]{1,250}$`, strings.TrimPrefix(name, aliasPrefix))
}

func matches(pattern, s string) bool { return regexp.MustCompile(pattern).MatchString(s) }
