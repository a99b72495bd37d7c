// SPDX-License-Identifier: Apache-2.0

package awskms_test

import (
	"strings"
	"testing"

	"github.com/hsmsigner/hsmsigner/internal/key/awskms"
)

func TestBadConfigurationSaysWhatIsWrong(t *testing.T) {
	good := awskms.Config{Region: "eu-central-1", AccessKeyID: fakeID, Secret: func() (string, error) { return fakeSecret, nil }}
	for _, test := range []struct {
		change func(*awskms.Config)
		want   string // empty: it is good
	}{
		{func(*awskms.Config) {}, ""},
		{func(c *awskms.Config) { c.Region = "us-gov-west-1"; c.FIPS = true }, ""},
		{func(c *awskms.Config) { c.Region = "" }, `region ""`},
		{func(c *awskms.Config) { c.Region = "eu-central-1.evil.example/" }, "region"},
		{func(c *awskms.Config) { c.AccessKeyID, c.Secret = "", nil }, "no credential"},
		{func(c *awskms.Config) { c.AccessKeyID = "" }, "access key id is missing"},
		{func(c *awskms.Config) { c.Secret = nil }, "secret access key is missing"},
		{func(c *awskms.Config) { c.AccessKeyID = "short" }, "access key id"},
		{func(c *awskms.Config) { c.Ambient = &awskms.Ambient{} }, "exclude each other"},
		{func(c *awskms.Config) { c.RoleARN = "signer" }, "ARN of a role"},
		{func(c *awskms.Config) { c.ExternalID = "x1" }, "no role is given"},
		{func(c *awskms.Config) { c.RoleARN, c.ExternalID = role, "a b" }, "external id"},
		{func(c *awskms.Config) { c.Endpoint = "kms.example" }, "endpoint: want a URL"},
		{func(c *awskms.Config) { c.Endpoint = "https://user:pw@kms.example" }, "endpoint: want a URL"},
		{func(c *awskms.Config) { c.Endpoint = "file:///etc/passwd" }, "endpoint: want a URL"},
		{func(c *awskms.Config) { c.Endpoint, c.FIPS = "https://kms.example", true }, "FIPS exclude"},
		{func(c *awskms.Config) { c.Discovery = awskms.Discovery{AliasPrefix: "a", TagKey: "b"} }, "exclude each other"},
		{func(c *awskms.Config) { c.Discovery.TagValue = "x" }, "key of the tag is missing"},
		{func(c *awskms.Config) { c.Discovery.AliasPrefix = "a b" }, "prefix"},
		{func(c *awskms.Config) { c.Concurrency = -1 }, "concurrency"},
	} {
		config := good
		test.change(&config)
		_, err := awskms.Open(t.Context(), config)
		if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
			t.Errorf("got %v, want %q in it", err, test.want)
		}
	}
	_, err := awskms.Open(t.Context(), awskms.Config{Region: "x", ExternalID: "y"})
	if err == nil || strings.Count(err.Error(), "\n") < 2 {
		t.Errorf("faults are not all reported at once: %v", err)
	}
}
