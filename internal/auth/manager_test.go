// SPDX-License-Identifier: Apache-2.0

package auth_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/hsmsigner/hsmsigner/internal/auth"
)

func TestAPIKeyHasTheGrantsItWasMadeWith(t *testing.T) {
	p := newPlace(t)
	root := p.key("h0kkkkkkk1", auth.Grant{Role: auth.Admin})
	one := p.key("h0kkkkkkk2", auth.Grant{Consortium: "h0conso001", Membership: "h0membe001", Role: auth.Operates})
	d := p.directory(auth.DirectoryConfig{})
	who, err := d.Manager(bearer(root))
	if err != nil || who.Principal != (auth.Principal{Name: "key:h0kkkkkkk1"}) || !who.Can(auth.Admin, "", "") {
		t.Errorf("got %+v, %v", who, err)
	}
	who, err = d.Manager(bearer(one))
	if err != nil || !who.Can(auth.Operates, "h0conso001", "h0membe001") || who.Can(auth.Admin, "h0conso001", "h0membe001") ||
		who.Can(auth.Auditor, "h0conso001", "h0membe002") || who.Can(auth.Auditor, "h0conso001", "") {
		t.Errorf("got %+v, %v", who, err)
	}
}

func TestEveryWrongBearerIsRefusedInTheSameWords(t *testing.T) {
	p := newPlace(t)
	key, app := p.key("h0kkkkkkk1", auth.Grant{Role: auth.Admin}), p.app("h0aaaaaaa1")
	d := p.directory(auth.DirectoryConfig{})
	for name, token := range map[string]string{
		"unknown id":          "h0kkkkkkk9" + key[10:],
		"wrong secret":        "h0kkkkkkk1-" + auth.NewSecret(),
		"no secret":           "h0kkkkkkk1-",
		"no hyphen":           key[:10] + key[11:],
		"id alone":            "h0kkkkkkk1",
		"more after it":       key + "A",
		"an app credential":   "h0aaaaaaa1-" + app,
		"empty":               "",
		"something with dots": "a.b.c",
		"long":                "h0kkkkkkk1-" + strings.Repeat("x", 1<<16),
	} {
		who, err := d.Manager(bearer(token))
		if err == nil || err.Error() != auth.ErrCredentials.Error() || len(who.Grants) > 0 || who.Principal != (auth.Principal{}) {
			t.Errorf("%s: got %+v, %v", name, who, err)
		}
	}
	for name, headers := range map[string][]string{
		"basic":       {"Basic " + key},
		"no scheme":   {key},
		"two":         {"Bearer " + key, "Bearer " + key},
		"empty":       {""},
		"two spaces":  {"Bearer  " + key},
		"other words": {"Bearer " + key + " x"},
	} {
		r := request("192.0.2.1:5")
		r.Header["Authorization"] = headers
		if _, err := d.Manager(r); !errors.Is(err, auth.ErrCredentials) {
			t.Errorf("%s: %v", name, err)
		}
	}
	r := request("192.0.2.1:5")
	r.Header.Set("Authorization", "bearer "+key) // RFC 7235 §2.1: without regard to case
	if _, err := d.Manager(r); err != nil {
		t.Error(err)
	}
	if _, err := d.Manager(request("192.0.2.1:5")); !errors.Is(err, auth.ErrCredentials) {
		t.Errorf("nothing: %v", err)
	}
}

// people is the answer of an identity provider.
type people struct {
	who auth.Person
	err error
}

func (p people) Identify(context.Context, string) (auth.Person, error) { return p.who, p.err }

func TestTokenOfTheIdentityProviderIsAPerson(t *testing.T) {
	p := newPlace(t)
	for name, c := range map[string]struct {
		says people
		want error
	}{
		"known":       {people{who: ada()}, nil},
		"not known":   {people{err: fmt.Errorf("%w: expired", auth.ErrCredentials)}, auth.ErrCredentials},
		"unavailable": {people{err: auth.ErrUnavailable}, auth.ErrUnavailable},
		"other":       {people{err: errors.New("anything")}, auth.ErrCredentials},
	} {
		who, err := p.directory(auth.DirectoryConfig{People: c.says}).Manager(bearer("a.b.c"))
		if !errors.Is(err, c.want) || err == nil && who.Principal.Name != "person:ada" || err != nil && len(who.Grants) > 0 {
			t.Errorf("%s: got %+v, %v", name, who, err)
		}
	}
}

func withCertificate(name string, verified bool) *http.Request {
	c := &x509.Certificate{Subject: pkix.Name{CommonName: name}}
	r := request("192.0.2.1:5")
	r.TLS = &tls.ConnectionState{PeerCertificates: []*x509.Certificate{c}}
	if verified {
		r.TLS.VerifiedChains = [][]*x509.Certificate{{c}}
	}
	return r
}

func TestCertificateIdentityIsAnAppCredential(t *testing.T) {
	p := newPlace(t)
	p.certificate("h0aaaaaaa1", "shop", "h0membe001", 0)
	p.certificate("h0aaaaaaa2", "shop", "h0membe002", time.Second)
	p.certificate("h0aaaaaaa3", "shop", "h0membe001", 2*time.Second) // has an older one
	d := p.directory(auth.DirectoryConfig{ScopeOf: func(path string) (membership, environment string) {
		if path == "/theirs" {
			return "h0membe002", "h0envir001"
		}
		return "", ""
	}})
	theirs := withCertificate("shop", true)
	theirs.URL.Path = "/theirs"
	if who, err := d.App(theirs); err != nil || who != (auth.Principal{Name: "cert:shop", Membership: "h0membe002", Environment: "h0envir001"}) {
		t.Errorf("at a service of the other membership: %+v, %v", who, err)
	}
	want := auth.Principal{Name: "cert:shop", Membership: "h0membe001", Environment: "h0envir001"}
	if who, err := d.App(withCertificate("shop", true)); err != nil || who != want {
		t.Errorf("got %+v, %v", who, err)
	}
	for name, r := range map[string]*http.Request{
		"not verified":     withCertificate("shop", false),
		"another identity": withCertificate("Shop", true),
		"no identity":      withCertificate("", true),
		"by name alone":    basic("shop", ""),
		"by id alone":      basic("h0aaaaaaa1", ""),
	} {
		if who, err := d.App(r); !errors.Is(err, auth.ErrCredentials) {
			t.Errorf("%s: got %+v, %v", name, who, err)
		}
	}
	both := withCertificate("shop", true)
	both.SetBasicAuth("h0aaaaaaa1", "wrong")
	if _, err := d.App(both); !errors.Is(err, auth.ErrCredentials) {
		t.Errorf("a wrong password beside the certificate: %v", err)
	}
	var told revocations
	d.OnRevoke(told.add)
	p.remove("h0aaaaaaa3")
	d.Changed()
	if len(told.all()) != 0 {
		t.Errorf("told of %v", told.all())
	}
	p.remove("h0aaaaaaa1")
	d.Changed()
	if who, err := d.App(withCertificate("shop", true)); err != nil || who.Membership != "h0membe002" {
		t.Errorf("the only one left: %+v, %v", who, err)
	}
	if all := told.all(); len(all) != 1 || all[0] != want {
		t.Errorf("told of %v", all)
	}
}

func TestIdentityThatChangesHandsInOneScopeIsARevocation(t *testing.T) {
	p := newPlace(t)
	for i, id := range []string{"h0aaaaaaa1", "h0aaaaaaa2"} {
		p.certificate(id, "shop", "h0membe001", time.Duration(i)*time.Second)
	}
	d := p.directory(auth.DirectoryConfig{})
	var told revocations
	d.OnRevoke(told.add)
	p.remove("h0aaaaaaa1")
	d.Changed()
	if len(told.all()) != 1 {
		t.Errorf("told of %v", told.all())
	}
}
