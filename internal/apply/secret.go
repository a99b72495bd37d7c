// SPDX-License-Identifier: Apache-2.0

package apply

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/hsmsigner/hsmsigner/internal/config"
)

// Secret is a reference to a value that is never shown. It is read when it is
// sent.
type Secret struct{ file, env string }

// String names where the secret is.
func (s Secret) String() string {
	if s.file != "" {
		return "{file: " + s.file + "}"
	}
	return "{env: " + s.env + "}"
}

// MarshalJSON gives the value: into the body of a request and nowhere else.
func (s Secret) MarshalJSON() ([]byte, error) {
	v, err := s.reveal()
	if err != nil {
		return nil, err
	}
	return json.Marshal(v)
}

const maxSecret = 64 << 10

func (s Secret) reveal() (string, error) {
	if s.env != "" {
		v := os.Getenv(s.env)
		if v == "" {
			return "", fmt.Errorf("environment variable %s: is not set", s.env)
		}
		return v, nil
	}
	f, err := os.Open(s.file)
	if err != nil {
		return "", err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxSecret+1))
	if err != nil {
		return "", err
	}
	v := strings.TrimSuffix(strings.TrimSuffix(string(data), "\n"), "\r")
	if v == "" || len(data) > maxSecret {
		return "", fmt.Errorf("%s: want 1 to %d bytes", s.file, maxSecret)
	}
	return v, nil
}

// secret recognises {file: path} and {env: NAME}.
func (p *parser) secret(members map[string]*yaml.Node, n *yaml.Node, path string) (Secret, bool) {
	if len(members) != 1 || !strings.HasPrefix(path, "details.") && !strings.HasPrefix(path, "urls.") {
		return Secret{}, false
	}
	var s Secret
	switch {
	case members["file"] != nil:
		if s.file = p.text(members["file"], path+".file"); s.file != "" && !filepath.IsAbs(s.file) {
			s.file = filepath.Join(p.dir, s.file)
		}
	case members["env"] != nil:
		s.env = p.text(members["env"], path+".env")
	default:
		return Secret{}, false
	}
	if s != (Secret{}) {
		if _, err := s.reveal(); err != nil { // now, and not when half of the file is applied
			p.fail(n, "%s: %s", path, plain(err))
		}
	}
	return s, true
}

// plain is an error of package os without its operation.
func plain(err error) string {
	var at *os.PathError
	if errors.As(err, &at) {
		return at.Path + ": " + at.Err.Error()
	}
	return err.Error()
}

// secretField reports whether the server seals a field of details: those of the
// providers, and others that sound like a secret.
func secretField(path string) bool {
	inner, ok := strings.CutPrefix(path, "details.")
	if !ok {
		return false
	}
	for name := range strings.SplitSeq(inner, ".") {
		if slices.Contains(config.SecretDetails(), name) {
			return true
		}
		plain := strings.NewReplacer("_", "", "-", "").Replace(strings.ToLower(name))
		for _, word := range []string{"secret", "password", "passwd", "passphrase", "private", "credential", "apikey", "accesskey", "mnemonic", "bearer", "jwt"} {
			if strings.Contains(plain, word) {
				return true
			}
		}
		if plain == "pin" || plain == "key" || strings.HasSuffix(plain, "token") || strings.HasSuffix(plain, "clientkey") {
			return true
		}
	}
	return false
}

func hasPassword(text string) bool {
	u, err := url.Parse(text)
	if err != nil {
		return strings.Contains(text, "@")
	}
	_, has := u.User.Password()
	return has
}
