// SPDX-License-Identifier: Apache-2.0

package main

import (
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/hsmsigner/hsmsigner/internal/auth"
	"github.com/hsmsigner/hsmsigner/internal/config"
	"github.com/hsmsigner/hsmsigner/internal/platform"
)

// callers says who sends a request to the RPC door: what the operator's file
// lets in, and beside that the credentials of the management API.
type callers struct {
	kind  config.Auth
	files []*fileCredential
	own   auth.Principal // membership and environment of whom the file lets in
	guard *auth.Guard
	log   *slog.Logger
	// directory is nil without the management API.
	directory *auth.Directory
	// declared reports whether a URL's path is that of one of the file's wallets.
	// What the file says of rpc.auth holds there alone: a service made through
	// the API always needs a credential of its membership.
	declared func(path string) bool
}

// authenticator is callers without the management API. Its errors never tell a
// wrong name from a wrong password.
func authenticator(c config.RPC, log *slog.Logger) func(*http.Request) (auth.Principal, error) {
	return newCallers(c, nil, auth.NewGuard(nil, log), nil, log).principal
}

// newCallers takes the credentials of the file, and those of the directory if
// there is one. The guard's Run and the directory's are the caller's business.
func newCallers(c config.RPC, directory *auth.Directory, guard *auth.Guard, declared func(string) bool, log *slog.Logger) *callers {
	if declared == nil {
		declared = func(string) bool { return true }
	}
	who := &callers{kind: c.Auth, guard: guard, log: log, directory: directory, declared: declared}
	if directory != nil {
		who.own = auth.Principal{Membership: platform.DefaultMembership, Environment: platform.DefaultEnvironment}
	}
	if c.Auth == config.AuthBasic {
		for _, credential := range c.Credentials {
			who.files = append(who.files, &fileCredential{name: credential.Username, secret: credential.Password})
		}
	}
	return who
}

// declaredPaths recognises the paths of the file's wallets: /, /name and /id.
func declaredPaths(c *config.Config) func(path string) bool {
	names := map[string]bool{"": c.DefaultWallet != ""}
	for _, w := range c.Wallets {
		names[w.Name], names[platform.DeclaredID(w.Name)] = true, true
	}
	return func(path string) bool {
		first, _, _ := strings.Cut(strings.TrimPrefix(path, "/"), "/")
		return names[first]
	}
}

// principal says who sends r. Its errors are ErrCredentials of package auth, or
// those that say when to come again.
func (c *callers) principal(r *http.Request) (auth.Principal, error) {
	name, password, sent := r.BasicAuth()
	own := c.declared(r.URL.Path)
	switch {
	case c.directory != nil && !own && !sent:
		return c.directory.App(r)
	case sent && (c.kind == config.AuthBasic || c.directory != nil && !own):
		return c.basic(r, name, password)
	case sent && c.directory != nil:
		// No password is asked for here, so a wrong one is not looked at.
		if who, good := c.directory.Password(name, password); good {
			return who, c.allow(who, 1)
		}
	}
	switch c.kind {
	case config.AuthNone:
		return c.named(auth.Anonymous.Name), nil
	case config.AuthMTLS:
		return c.certificate(r)
	case config.AuthBasic:
		return auth.Principal{}, auth.ErrCredentials
	}
	return auth.Principal{}, fmt.Errorf("auth %q is not known", c.kind)
}

// allow counts more requests of p against its limits.
func (c *callers) allow(p auth.Principal, n int) error {
	if c.directory == nil {
		return nil
	}
	return c.directory.Allow(p, n)
}

func (c *callers) named(name string) auth.Principal {
	return auth.Principal{Name: name, Membership: c.own.Membership, Environment: c.own.Environment}
}

// basic compares with every credential of the file in constant time, and with
// that of the directory in any case, so that the time it takes says nothing
// about names or passwords.
func (c *callers) basic(r *http.Request, name, password string) (auth.Principal, error) {
	n, p := sha256.Sum256([]byte(name)), sha256.Sum256([]byte(password))
	found, taken := 0, 0
	for _, f := range c.files {
		is := subtle.ConstantTimeCompare(n[:], f.nameHash())
		taken |= is
		found |= is & f.holds(p, c.log)
	}
	var who auth.Principal
	good := false
	if c.directory != nil {
		who, good = c.directory.Password(name, password)
	}
	switch {
	case found == 1:
		return c.named("app:" + name), nil
	case good && taken == 0: // a principal's name is one credential's only
		return who, c.allow(who, 1)
	}
	return auth.Principal{}, c.guard.Bad(r, name, taken == 1 || who.Name != "")
}

// certificate takes the name of the client certificate, which the TLS
// handshake has verified.
func (c *callers) certificate(r *http.Request) (auth.Principal, error) {
	if r.TLS == nil || len(r.TLS.VerifiedChains) == 0 {
		return auth.Principal{}, auth.ErrCredentials
	}
	name := auth.Identity(r.TLS.VerifiedChains[0][0])
	if name == "" {
		return auth.Principal{}, errors.New("the client certificate has neither a DNS name nor a common name")
	}
	return c.named("cert:" + name), nil
}

// fileCredential is a name and password of the operator's file. Where the
// password is in a file of its own, that is read again when it has changed.
type fileCredential struct {
	name   string
	secret config.Secret

	mu    sync.Mutex
	hash  [sha256.Size]byte // of the password
	known bool
	read  time.Time
	file  os.FileInfo // as it was when it was read; nil: it was not there
	told  time.Time   // that it cannot be read
}

func (f *fileCredential) nameHash() []byte {
	h := sha256.Sum256([]byte(f.name))
	return h[:]
}

// holds is 1 if the password's hash is p, else 0. Hashing hides the lengths.
func (f *fileCredential) holds(p [sha256.Size]byte, log *slog.Logger) int {
	f.mu.Lock()
	if f.changed() {
		password, err := f.secret.Reveal()
		f.known = err == nil && password != ""
		f.hash = sha256.Sum256([]byte(password))
		if !f.known && time.Since(f.told) > 10*time.Second {
			f.told = time.Now()
			log.Error("password cannot be read, nobody can log in with it", "username", f.name, "error", err)
		}
	}
	hash, known := f.hash, f.known
	f.mu.Unlock()
	if !known {
		return 0
	}
	return subtle.ConstantTimeCompare(hash[:], p[:])
}

// changed reports whether the password has to be read.
func (f *fileCredential) changed() bool {
	if f.secret.File() == "" {
		return !f.known
	}
	now, err := os.Stat(f.secret.File())
	if err != nil {
		f.file = nil
		return true
	}
	if was := f.file; f.known && was != nil && os.SameFile(was, now) && was.Size() == now.Size() &&
		was.ModTime().Equal(now.ModTime()) && f.read.Sub(now.ModTime()) > mtimeStep {
		return false
	}
	f.file, f.read = now, time.Now()
	return true
}

// mtimeStep is more than the steps in which file systems count the time of a
// change: two changes within one look like one.
const mtimeStep = 2 * time.Second
