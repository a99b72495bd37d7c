// SPDX-License-Identifier: Apache-2.0

package platform_test

import (
	"strings"
	"testing"

	"github.com/hsmsigner/hsmsigner/internal/platform"
)

// TestPublishedRequestsAreTaken sends what Kaleido's own pages tell their users to
// send, with ids and credentials put in.
func TestPublishedRequestsAreTaken(t *testing.T) {
	r := newRig(t)
	must[*platform.Node](r, platform.Nodes, home(), nodeBody(""))
	for _, c := range []struct{ configuration, service string }{
		{`{
  "type": "cloudhsm",
  "name": "azure-key-vault",
  "membership_id": "<id>",
  "details": {
    "provider": "azure",
    "user_id": "00000000-0000-4000-8000-000000000001",
    "user_secret": "<clientSecret>",
    "subscription_id": "00000000-0000-4000-8000-000000000002",
    "tenant_id": "00000000-0000-4000-8000-000000000003",
    "vault_name": "name-of-vault"
  }
}`, `{"name": "cloudhsm-azure", "membership_id": "<id>", "service": "cloudhsm", "details": {"cloudhsm_id": "<cloudhsm_configuration_id>"}}`},
		{`{
  "type": "cloudhsm",
  "name": "aws-kms",
  "membership_id": "<id>",
  "details": {
    "provider": "aws_kms",
    "user_id": "AKIAIOSFODNN7EXAMPLE",
    "user_secret": "<clientSecret>",
    "target_region": "eu-central-1"
  }
}`, `{"name": "cloudhsm-aws-kms", "membership_id": "<id>", "service": "cloudhsm", "details": {"cloudhsm_id": "<cloudhsm_configuration_id>"}}`},
	} {
		id := strings.NewReplacer("<id>", platform.DefaultMembership)
		made := must[*platform.Configuration](r, platform.Configurations, home(), id.Replace(c.configuration))
		if _, shown := made.Details["user_secret"]; shown || made.Details["user_id"] == nil || made.State != platform.Started {
			t.Error(text(made))
		}
		s := must[*platform.Service](r, platform.Services, home(), strings.ReplaceAll(id.Replace(c.service), "<cloudhsm_configuration_id>", made.ID))
		if s.State != platform.Provisioning || s.ServiceType != "member" || s.Service != "cloudhsm" {
			t.Error(text(s))
		}
	}
}
