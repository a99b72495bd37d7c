// SPDX-License-Identifier: Apache-2.0

package config

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
)

// GCPKMS is a key ring of Google Cloud KMS.
type GCPKMS struct {
	KeyRing       string // key_ring: projects/P/locations/L/keyRings/R
	TargetAddress string // target_address: endpoint in place of Google's own
	Credential    GCPCredential
	Admin         *GCPCredential // admin
}

// GCPCredential is an identity of Google Cloud.
type GCPCredential struct {
	ServiceAccount Secret // user_secret: JSON key of a service account
	Identity       GCPIdentity
}

// GCPIdentity is an identity that the daemon has by where it runs.
type GCPIdentity string

// GCPDefault is what the application default credentials find.
const GCPDefault GCPIdentity = "default"

// gcpKeyRing wants the project by its id: answers name it so.
var gcpKeyRing = regexp.MustCompile(`^projects/([a-z0-9.-]+:)?[a-z][a-z0-9-]{4,28}[a-z0-9]/locations/[a-z0-9-]{1,63}/keyRings/[a-zA-Z0-9_-]{1,63}$`)

func readGCPKMS(o *object) *GCPKMS {
	g := &GCPKMS{}
	need(o, "key_ring", &g.KeyRing, matching(gcpKeyRing, "projects/PROJECT/locations/LOCATION/keyRings/RING, with the id of the project, not its number"))
	operatorOnly(o, "target_address", &g.TargetAddress, targetURL)
	g.Credential = readGCPCredential(o)
	g.Admin = readAdminCredential(o, readGCPCredential)
	return g
}

func readGCPCredential(o *object) GCPCredential {
	var c GCPCredential
	o.exactlyOne("user_secret", "identity")
	field(o, "user_secret", &c.ServiceAccount, serviceAccount)
	operatorOnly(o, "identity", &c.Identity, oneOf(GCPDefault))
	return c
}

// serviceAccount reads the JSON key of a service account. Other kinds of
// credential files name a URL or a program to get tokens from, and whoever
// wrote the file would choose them.
func serviceAccount(v value) (Secret, error) {
	s, err := secret(v)
	if err != nil || !s.Set() {
		return s, err
	}
	plain, err := s.Reveal()
	if err != nil {
		return s, nil //nolint:nilerr // secret has reported it, with the file
	}
	var head struct {
		Type string `json:"type"`
	}
	if err := json.Unmarshal([]byte(plain), &head); err != nil {
		return s, errors.New("is not JSON: want the key file of a service account")
	}
	if head.Type != "service_account" {
		return s, fmt.Errorf("has the type %.40q: want the key file of a service account", head.Type)
	}
	return s, nil
}
