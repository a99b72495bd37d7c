// SPDX-License-Identifier: Apache-2.0

package config

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
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
	if !o.notForTenants("target_address", whyGoogleOnly) {
		field(o, "target_address", &g.TargetAddress, targetURL)
	}
	var granted []*GrantedGCP
	read := func(o *object) GCPCredential { return readGCPIdentity(o, &granted) }
	g.Credential = read(o)
	g.Admin = readAdminCredential(o, read)
	o.checkGrantedGCP(g, granted)
	return g
}

// readGCPIdentity is readGCPCredential for who may name an identity that was
// granted. Those that are go to granted.
func readGCPIdentity(o *object, granted *[]*GrantedGCP) GCPCredential {
	if o == nil || o.r.scope != tenant {
		return readGCPCredential(o)
	}
	if _, named := o.given("identity"); !named {
		return readGCPCredential(o)
	}
	o.standsFor("user_secret")
	g := grantedIdentity(o, func(g GrantedIdentity) *GrantedGCP { return g.GCPKMS })
	if g == nil {
		return GCPCredential{}
	}
	*granted = append(*granted, g)
	return g.Credential
}

func readGCPCredential(o *object) GCPCredential {
	var c GCPCredential
	o.exactlyOne("user_secret", "identity")
	field(o, "user_secret", &c.ServiceAccount, serviceAccount)
	field(o, "identity", &c.Identity, oneOf(GCPDefault))
	return c
}

// tokenURIs are those that Google has written into keys.
func tokenURIs() []string {
	return []string{"https://oauth2.googleapis.com/token", "https://accounts.google.com/o/oauth2/token", "https://www.googleapis.com/oauth2/v4/token"}
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
		Type     string  `json:"type"`
		TokenURI *string `json:"token_uri"`
	}
	if err := json.Unmarshal([]byte(plain), &head); err != nil {
		return s, errors.New("is not JSON: want the key file of a service account")
	}
	if head.Type != "service_account" {
		return s, fmt.Errorf("has the type %.40q: want the key file of a service account", head.Type)
	}
	if head.TokenURI != nil && !slices.Contains(tokenURIs(), *head.TokenURI) {
		return s, errors.New("has a token_uri that is not Google's (https://oauth2.googleapis.com/token): want the key file as Google gave it")
	}
	return s, nil
}
