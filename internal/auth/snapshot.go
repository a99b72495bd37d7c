// SPDX-License-Identifier: Apache-2.0

package auth

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"slices"

	"github.com/hsmsigner/hsmsigner/internal/store"
)

// The kinds of the store's resources that are credentials, and the ways in
// which an app credential proves itself.
const (
	kindAppCred = "appcreds"
	kindAPIKey  = "apikeys"

	Basic = "basic_auth" // HTTP Basic: id and password
	MTLS  = "mtls"       // a client certificate with the identity that is its user name
)

// credential is a live app credential.
type credential struct {
	id          string
	who         Principal
	stored      []byte // all of the verifier: another for another secret or scope
	hash        []byte // of the password; nothing with auth type mtls
	own, shared *bucket
}

// apiKey is a live API key.
type apiKey struct {
	access Access
	stored []byte // all of the verifier: another for another secret or other grants
	hash   []byte
	own    *bucket
	shared []*bucket // of the memberships it is of, if it is theirs alone
}

// snapshot is all live credentials at one version of the resources. It is not
// changed once made, but for what its buckets hold.
type snapshot struct {
	version int64
	apps    map[string]*credential   // by id, with auth type basic_auth
	certs   map[string][]*credential // by identity: one in each environment of each membership, the oldest first
	byWho   map[Principal]*credential
	keys    map[string]*apiKey // by id
	shared  map[string]*bucket // by membership
	bad     map[problem]bool   // rows that let nobody in
}

// problem is a row that cannot be a credential.
type problem struct{ id, reason string }

// readSnapshot reads what is live now. Limits go on from where they were.
func readSnapshot(ctx context.Context, db *store.DB, v *Verifier, was *snapshot) (*snapshot, error) {
	// Read first: what changes while we read is then seen at the next look.
	version, err := db.ResourceVersion(ctx)
	if err != nil {
		return nil, err
	}
	apps, err := db.Resources(ctx, store.ResourceFilter{Kind: kindAppCred})
	if err != nil {
		return nil, err
	}
	keys, err := db.Resources(ctx, store.ResourceFilter{Kind: kindAPIKey})
	if err != nil {
		return nil, err
	}
	is := &snapshot{
		version: version,
		apps:    make(map[string]*credential, len(apps)),
		certs:   make(map[string][]*credential),
		byWho:   make(map[Principal]*credential, len(apps)),
		keys:    make(map[string]*apiKey, len(keys)),
		shared:  make(map[string]*bucket),
		bad:     make(map[problem]bool),
	}
	for _, row := range apps {
		if err := is.addApp(row, v, was); err != nil {
			is.bad[problem{row.ID, err.Error()}] = true
		}
	}
	for _, row := range keys {
		if err := is.addKey(row, v, was); err != nil {
			is.bad[problem{row.ID, err.Error()}] = true
		}
	}
	return is, nil
}

func (s *snapshot) addApp(row store.Resource, v *Verifier, was *snapshot) error {
	var data struct {
		AuthType string `json:"auth_type"`
		Username string `json:"username"`
	}
	if err := json.Unmarshal(row.Data, &data); err != nil {
		return errors.New("its data is not JSON")
	}
	c := &credential{
		id: row.ID, stored: row.Verifier, own: new(bucket),
		who: Principal{Membership: row.Membership, Environment: row.Environment},
	}
	size := sha256.Size
	if data.AuthType == MTLS {
		size = 0
	}
	of := AppCred{row.ID, data.AuthType, data.Username, row.Membership, row.Environment}
	var err error
	c.hash, err = unbind(row.Verifier, size, func(hash []byte) []byte { return of.bound(v, hash) })
	switch {
	case row.Membership == "" || row.Environment == "":
		return errors.New("it has no membership or no environment")
	case data.AuthType == MTLS && data.Username == "":
		return errors.New("it names no identity of a certificate")
	case err != nil:
		return err
	case data.AuthType == MTLS:
		c.who.Name = "cert:" + data.Username
		if _, taken := s.byWho[c.who]; taken {
			return errors.New("its certificate identity is an older credential's of the same membership and environment")
		}
		s.certs[data.Username] = append(s.certs[data.Username], c)
	default:
		c.who.Name = "app:" + row.ID
		s.apps[c.id] = c
	}
	if old := was.byWho[c.who]; old != nil {
		c.own = old.own
	}
	s.byWho[c.who] = c
	c.shared = s.sharedOf(row.Membership, was)
	return nil
}

// sharedOf is the bucket of a membership, as full as it was.
func (s *snapshot) sharedOf(membership string, was *snapshot) *bucket {
	b := s.shared[membership]
	if b == nil {
		if b = was.shared[membership]; b == nil {
			b = new(bucket)
		}
		s.shared[membership] = b
	}
	return b
}

func (s *snapshot) addKey(row store.Resource, v *Verifier, was *snapshot) error {
	var data struct {
		Grants []Grant `json:"grants"`
	}
	if err := json.Unmarshal(row.Data, &data); err != nil {
		return errors.New("its data is not JSON")
	}
	hash, err := unbind(row.Verifier, sha256.Size, func(hash []byte) []byte { return boundKey(v, row.ID, data.Grants, hash) })
	if err != nil {
		return err
	}
	k := &apiKey{
		access: Access{Principal: Principal{Name: "key:" + row.ID}, Grants: data.Grants},
		stored: row.Verifier, hash: hash, own: new(bucket),
	}
	for _, m := range onlyIn(data.Grants) {
		k.shared = append(k.shared, s.sharedOf(m, was))
	}
	if old := was.keys[row.ID]; old != nil {
		k.own = old.own
	}
	s.keys[row.ID] = k
	return nil
}

// onlyIn lists the memberships that grants are in; none if one of them reaches
// further: who has that is not a tenant, and no membership's limit is for him.
func onlyIn(grants []Grant) []string {
	var all []string
	for _, g := range grants {
		if g.Membership == "" {
			return nil
		}
		if !slices.Contains(all, g.Membership) {
			all = append(all, g.Membership)
		}
	}
	return all
}

// goneIn lists the principals of app credentials that are not what they were.
func (s *snapshot) goneIn(is *snapshot) []Principal {
	var gone []Principal
	for who, old := range s.byWho {
		now := is.byWho[who]
		if now == nil || now.id != old.id || !bytes.Equal(now.stored, old.stored) {
			gone = append(gone, who)
		}
	}
	for id, old := range s.keys {
		if now := is.keys[id]; now == nil || !bytes.Equal(now.stored, old.stored) {
			gone = append(gone, old.access.Principal)
		}
	}
	return gone
}
