// SPDX-License-Identifier: Apache-2.0

package api

import (
	"github.com/hsmsigner/hsmsigner/internal/api/schema"
	"github.com/hsmsigner/hsmsigner/internal/auth"
	"github.com/hsmsigner/hsmsigner/internal/config"
)

// The bodies of requests. Only their shapes are here; package platform says what
// may be in them. Properties that are not named are let through: clients of
// Kaleido's API send some that mean nothing here, like zone_id, or that they were
// sent before, like _id.

func textOf(doc string, most int) *schema.Schema {
	return &schema.Schema{Type: schema.String, Description: doc, MaxLength: most}
}

func nameOf(doc string) *schema.Schema {
	return &schema.Schema{Type: schema.String, Description: doc, MinLength: 1, MaxLength: 64, Pattern: `^[^<>]*$`}
}

// ownerOf is the membership of something new, which need not be said by a caller
// who sees one only.
func ownerOf(doc string) *schema.Schema {
	return &schema.Schema{Type: schema.String, Pattern: `^([0-9a-z]{10})?$`, Description: doc + " Not needed by a caller who sees one membership only."}
}

func idOf(doc string) *schema.Schema {
	return &schema.Schema{Type: schema.String, Description: doc, Pattern: idPattern}
}

const idPattern = `^[0-9a-z]{10}$`

func wholeOf(doc string, least, most int64) *schema.Schema {
	return &schema.Schema{Type: schema.Integer, Description: doc, Minimum: &least, Maximum: &most}
}

// chainOf takes a chain id also as text, as some clients of Kaleido's API write
// it.
func chainOf(doc string, least int64) *schema.Schema {
	s := wholeOf(doc, least, int64(config.MaxChainID))
	s.Or, s.Pattern = []string{schema.String}, `^[0-9]{1,16}$`
	return s
}

func object(name string, properties map[string]*schema.Schema, required ...string) *schema.Schema {
	return &schema.Schema{Name: name, Type: schema.Object, Properties: properties, Required: required}
}

// change is the same object for PATCH: nothing is required.
func change(name string, s *schema.Schema, without ...string) *schema.Schema {
	c := s.Partial(name, "Only what is given is changed.")
	c.Properties = map[string]*schema.Schema{
		"_revision": {Type: schema.String, Pattern: `^[0-9]*$`, Description: "If it is given and not that of the resource any more, nothing is changed (409)."},
	}
	for property, p := range s.Properties {
		if p.Type == schema.Object {
			whole := *p
			whole.Required = nil
			p = &whole
		}
		c.Properties[property] = p
	}
	for _, property := range without {
		delete(c.Properties, property)
	}
	return c
}

func newConsortium() *schema.Schema {
	return object("NewConsortium", map[string]*schema.Schema{
		"name":             nameOf("For people."),
		"description":      textOf("For people.", 1024),
		"policy_approvals": wholeOf("How many admins beside its author a new version of a policy in here needs. Only an admin of the deployment can lower it.", 0, 1),
	}, "name")
}

func newMembership() *schema.Schema {
	return object("NewMembership", map[string]*schema.Schema{"org_name": nameOf("The organization.")}, "org_name")
}

func newEnvironment() *schema.Schema {
	return object("NewEnvironment", map[string]*schema.Schema{
		"name":           nameOf("For people."),
		"description":    textOf("For people.", 1024),
		"provider":       textOf("Kept as it is given.", 128),
		"consensus_type": textOf("Kept as it is given.", 128),
		"chain_id":       chainOf("If given, and not 0, all nodes in the environment must be of this chain (EIP-155).", 0),
		"require_hsm":    {Type: schema.Boolean, Description: "Configurations in the environment must have hardware keys."},
	}, "name")
}

func newNode() *schema.Schema {
	return object("NewNode", map[string]*schema.Schema{
		"name":          nameOf("For people."),
		"membership_id": ownerOf("Whose it is."),
		"chain_id":      chainOf("The chain (EIP-155) that the node must be on. It cannot be changed.", 1),
		"urls": {
			Type: schema.Object, Required: []string{"rpc"}, Description: "Where the node is: rpc (http or https) and, for subscriptions, wss (ws or wss). User and password, and keys in the path, are kept secret.",
			Properties: map[string]*schema.Schema{"rpc": textOf("http or https.", 2048), "wss": textOf("ws or wss.", 2048)},
			Examples:   []any{map[string]string{"rpc": "https://node.example.com:8545"}},
		},
	}, "name", "chain_id", "urls")
}

func newConfiguration() *schema.Schema {
	return object("NewConfiguration", map[string]*schema.Schema{
		"name":          nameOf("For people."),
		"membership_id": ownerOf("Whose it is. Only services of the same membership in the same environment can use it."),
		"type":          {Type: schema.String, Enum: []string{"cloudhsm"}, Description: "Of what it is a configuration."},
		"details": {
			Type: schema.Object, Required: []string{"provider"}, Description: "The provider and its fields: see the pages about the backends. Unknown keys are kept and given back.",
			Properties: map[string]*schema.Schema{
				"provider": {Type: schema.String, Enum: []string{"azure", "aws_kms", "aws_cloudhsm", "hashicorp", "gcp_kms", "pkcs11", "keystore"}, Description: "The kind of key backend."},
			},
			Examples: []any{map[string]string{"provider": "aws_kms", "user_id": "AKIA…", "user_secret": "…", "target_region": "eu-central-1"}},
		},
	}, "name", "type", "details")
}

func newService() *schema.Schema {
	return object("NewService", map[string]*schema.Schema{
		"name":          nameOf("For people."),
		"membership_id": ownerOf("Whose it is."),
		"service":       {Type: schema.String, Enum: []string{"cloudhsm"}, Description: "The kind of service."},
		"details": {
			Type: schema.Object, Description: "What the service is made of. Unknown keys are kept and given back.",
			Required: []string{"cloudhsm_id"},
			Properties: map[string]*schema.Schema{
				"cloudhsm_id": idOf("The configuration. It must be of the same membership and environment."),
				"node_id":     idOf("The node. Not needed if the membership has one only."),
			},
		},
	}, "name", "service", "details")
}

func newAppCred() *schema.Schema {
	return object("NewAppCred", map[string]*schema.Schema{
		"membership_id": ownerOf("Whose it is. It opens all services of the membership in this environment, and nothing else."),
		"name":          nameOf("For people; the id, if it is left out."),
		"auth_type":     {Type: schema.String, Enum: []string{"basic_auth", "mtls"}, Description: "basic_auth if it is left out: the answer has a password. mtls: a client certificate."},
		"username":      textOf("For mtls: the identity in the certificate.", 256),
	})
}

func newAPIKey() *schema.Schema {
	roles := []string{}
	for _, r := range auth.Roles() {
		roles = append(roles, string(r))
	}
	return object("NewAPIKey", map[string]*schema.Schema{
		"name": nameOf("For people."),
		"grants": {Type: schema.Array, MinItems: 1, MaxItems: 50, Description: "What the key may do, and where. Nobody can give more than they have.", Items: &schema.Schema{
			Type: schema.Object, Required: []string{"role"}, Closed: true,
			Properties: map[string]*schema.Schema{
				"consortium_id": idOf("Where the role holds; without it, in the whole deployment."),
				"membership_id": idOf("Whose resources the role is for; without it, all of the consortium's."),
				"role":          {Type: schema.String, Enum: roles, Description: words()["role"]},
			},
		}},
	}, "name", "grants")
}

func tagsOf() *schema.Schema {
	return &schema.Schema{Type: schema.Object, Description: "For the key, in the backend.", Values: &schema.Schema{Type: schema.String, MaxLength: 256}}
}

func newAccount() *schema.Schema {
	return object("NewAccount", map[string]*schema.Schema{
		"name":  {Type: schema.String, MinLength: 1, MaxLength: 128, Pattern: `^[^<>]*$`, Description: "What the backend is to call the key."},
		"label": labelOf("What people here call the account."),
		"tags":  tagsOf(),
	}, "name")
}

func newImport() *schema.Schema {
	s := newAccount()
	s.Name = "ImportedAccount"
	s.Properties["wrapped_key"] = &schema.Schema{
		Type: schema.String, MinLength: 1, MaxLength: 16384, Pattern: `^[A-Za-z0-9+/]+={0,2}$`,
		Description: "Base64 of the private key (PKCS#8, DER), wrapped under the key that GET on this path gives. A key that is not wrapped is never taken.",
	}
	s.Required = append(s.Required, "wrapped_key")
	return s
}

func labelOf(doc string) *schema.Schema {
	return &schema.Schema{Type: schema.String, MaxLength: 64, Pattern: `^[^<>]*$`, Description: doc}
}

func newLabel() *schema.Schema {
	return object("Label", map[string]*schema.Schema{"label": labelOf("What people here call the account. Empty: nothing.")}, "label")
}

func newFees() *schema.Schema {
	wei := func(doc string) *schema.Schema {
		return &schema.Schema{Type: schema.String, Pattern: `^[1-9][0-9]{0,29}$`, Description: doc + " wei per gas, in decimal. Left out: what the chain asks now."}
	}
	return object("Fees", map[string]*schema.Schema{
		"max_fee_per_gas":      wei("The most that is paid."),
		"priority_fee_per_gas": wei("What is paid to the block's builder."),
	})
}
