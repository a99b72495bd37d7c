// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hsmsigner/hsmsigner/internal/auth"
	"github.com/hsmsigner/hsmsigner/internal/config"
	"github.com/hsmsigner/hsmsigner/internal/platform"
	"github.com/hsmsigner/hsmsigner/internal/store"
)

// lobby is the callers of a config file beside a directory.
type lobby struct {
	db        *store.DB
	verifier  *auth.Verifier
	directory *auth.Directory
	callers   *callers
}

func newLobby(t *testing.T, rpc config.RPC) *lobby {
	t.Helper()
	db, err := store.OpenSQLite(t.Context(), store.Config{Dir: t.TempDir()})
	check(t, err)
	t.Cleanup(func() { check(t, db.Close()) })
	l := &lobby{db: db}
	l.verifier, err = auth.NewVerifier(make([]byte, 32))
	check(t, err)
	l.directory, err = auth.NewDirectory(t.Context(), auth.DirectoryConfig{Store: db, Verifier: l.verifier})
	check(t, err)
	c := &config.Config{RPC: rpc, DefaultWallet: "treasury", Wallets: []config.Wallet{{Name: "treasury"}, {Name: "petty"}}}
	l.callers = newCallers(rpc, l.directory, l.directory.Guard(), declaredPaths(c), slog.New(slog.DiscardHandler))
	return l
}

// credential stores an app credential of a tenant.
func (l *lobby) credential(t *testing.T, id, kind, username string) (password string) {
	t.Helper()
	data, err := json.Marshal(map[string]any{"revision": 1, "auth_type": kind, "username": username})
	check(t, err)
	r := store.Resource{
		ID: id, Kind: string(platform.AppCreds), Consortium: "h0tenant00", Environment: "h0tenante0", Membership: "h0tenantm0",
		Name: id, State: "started", Created: time.Now(), Updated: time.Now(), Data: data,
	}
	if kind == auth.Basic {
		password = auth.NewSecret()
	}
	r.Verifier = auth.AppCred{ID: id, AuthType: kind, Username: username, Membership: r.Membership, Environment: r.Environment}.Stored(l.verifier, password)
	check(t, l.db.Write(t.Context(), func(w *store.Writer) error { return w.InsertResource(r) }))
	l.directory.Changed()
	return password
}

func at(path string, options ...func(*http.Request)) *http.Request {
	r := httptest.NewRequest(http.MethodPost, path, http.NoBody)
	for _, o := range options {
		o(r)
	}
	return r
}

func login(name, password string) func(*http.Request) {
	return func(r *http.Request) { r.SetBasicAuth(name, password) }
}

func certified(name string) func(*http.Request) {
	return func(r *http.Request) {
		c := &x509.Certificate{Subject: pkix.Name{CommonName: name}}
		r.TLS = &tls.ConnectionState{VerifiedChains: [][]*x509.Certificate{{c}}}
	}
}

// Whatever rpc.auth says of the file's wallets, a service made through the API
// wants a credential of its membership.
func TestServiceOfTheAPIAlwaysWantsACredential(t *testing.T) {
	const id = "h0cred0001"
	file := config.Credential{Username: "payroll", Password: config.NewSecret("open sesame, please")}
	for _, kind := range []config.Auth{config.AuthNone, config.AuthBasic, config.AuthMTLS} {
		t.Run(string(kind), func(t *testing.T) {
			rpc := config.RPC{Auth: kind}
			if kind == config.AuthBasic {
				rpc.Credentials = []config.Credential{file}
			}
			l := newLobby(t, rpc)
			password := l.credential(t, id, auth.Basic, id)
			l.credential(t, "h0cred0002", auth.MTLS, "tenant.example")
			tenant := auth.Principal{Name: "app:" + id, Membership: "h0tenantm0", Environment: "h0tenante0"}
			tenantCert := auth.Principal{Name: "cert:tenant.example", Membership: "h0tenantm0", Environment: "h0tenante0"}
			own := func(name string) auth.Principal {
				return auth.Principal{Name: name, Membership: platform.DefaultMembership, Environment: platform.DefaultEnvironment}
			}
			declared := map[config.Auth]map[string]auth.Principal{
				config.AuthNone: {
					"nothing": own("anonymous"), "certificate": own("anonymous"), "tenant's": own("anonymous"),
					"wrong": own("anonymous"), "unknown": own("anonymous"), "file": own("anonymous"),
				},
				config.AuthMTLS: {
					"certificate": own("cert:operator.example"), "tenant's": own("cert:tenant.example"),
					"certificate and a wrong password": own("cert:operator.example"),
				},
			}[kind]
			if kind == config.AuthNone {
				declared["certificate and a wrong password"] = own("anonymous")
			}
			senders := map[string]func(*http.Request){
				"nothing":     func(*http.Request) {},
				"certificate": certified("operator.example"),
				"tenant's":    certified("tenant.example"),
				"wrong":       login(id, "wrong"),
				"certificate and a wrong password": func(r *http.Request) {
					certified("operator.example")(r)
					login(id, "wrong")(r)
				},
				"unknown": login("h0cred0009", password),
				"file":    login(file.Username, "open sesame, please"),
				"tenant":  login(id, password),
			}
			for _, path := range []string{"/h0service0", "/h0service0/", "/other", "/treasury2", "//treasury", "/", "/treasury", "/petty/x", "/" + platform.DeclaredID("petty")} {
				theirs := !strings.HasPrefix(path, "/h0service0") && path != "/other" && path != "/treasury2"
				for name, send := range senders {
					want, ok := auth.Principal{}, false
					switch {
					case name == "tenant":
						want, ok = tenant, true
					case name == "file" && kind == config.AuthBasic:
						want, ok = own("app:payroll"), true
					case theirs:
						want, ok = declared[name]
					case name == "tenant's":
						want, ok = tenantCert, true
					}
					who, err := l.callers.principal(at(path, send))
					refused := errors.Is(err, auth.ErrCredentials) || is[*auth.LimitError](err)
					if ok != (err == nil) || who != want || !ok && !refused {
						t.Errorf("%s from %s: got %+v, %v; want %+v, %v", path, name, who, err, want, ok)
					}
				}
			}
		})
	}
}

func TestWithoutTheManagementAPINothingIsScoped(t *testing.T) {
	who := newCallers(config.RPC{Auth: config.AuthNone}, nil, auth.NewGuard(nil, nil), nil, slog.New(slog.DiscardHandler))
	for _, r := range []*http.Request{at("/anything"), at("/", login("a", "b"))} {
		if p, err := who.principal(r); err != nil || p != auth.Anonymous {
			t.Errorf("got %+v, %v", p, err)
		}
	}
	if err := who.allow(auth.Anonymous, 1e9); err != nil {
		t.Error(err)
	}
}

// A tenant's credential may have an id that the operator has chosen as a user
// name: a principal's name stays one credential's.
func TestUserNameOfTheFileIsNobodyElses(t *testing.T) {
	const id = "h0cred0001"
	l := newLobby(t, config.RPC{Auth: config.AuthBasic, Credentials: []config.Credential{{Username: id, Password: config.NewSecret("open sesame, please")}}})
	password := l.credential(t, id, auth.Basic, id)
	if who, err := l.callers.principal(at("/h0service0", login(id, password))); !errors.Is(err, auth.ErrCredentials) {
		t.Errorf("got %+v, %v", who, err)
	}
	if who, err := l.callers.principal(at("/", login(id, "open sesame, please"))); err != nil || who.Membership != platform.DefaultMembership {
		t.Errorf("got %+v, %v", who, err)
	}
}

func TestPasswordFileOfACredentialIsReadAgain(t *testing.T) {
	path := filepath.Join(t.TempDir(), "password")
	check(t, os.WriteFile(path, []byte("first password\n"), 0o600))
	var log bytes.Buffer
	who := newCallers(config.RPC{Auth: config.AuthBasic, Credentials: []config.Credential{{Username: "shop", Password: config.SecretFile(path)}}},
		nil, auth.NewGuard(nil, nil), nil, slog.New(slog.NewTextHandler(&log, nil)))
	in := func(password string) bool {
		_, err := who.principal(at("/", login("shop", password)))
		return err == nil
	}
	if !in("first password") || in("") || in("second password") {
		t.Fatal("the first password is not what counts")
	}
	check(t, os.WriteFile(path, []byte("second password\n"), 0o600))
	for end := time.Now().Add(time.Minute); !in("second password"); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the second password does not count after a minute")
		}
	}
	if in("first password") {
		t.Error("the first password still counts")
	}
	check(t, os.Remove(path))
	for end := time.Now().Add(time.Minute); in("second password"); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("a password whose file is gone counts after a minute")
		}
	}
	if !strings.Contains(log.String(), "password cannot be read") || strings.Contains(log.String(), "second password") {
		t.Errorf("log: %s", log.String())
	}
}
