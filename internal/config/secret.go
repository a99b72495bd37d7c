// SPDX-License-Identifier: Apache-2.0

package config

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
)

// maxSecret bounds a secret file: a mistyped path to a device or a log must
// not fill the memory.
const maxSecret = 64 << 10

const redacted = "[redacted]"

// Secret is a value that is never shown: not in logs, errors, JSON, YAML or by
// any verb of package fmt. It is given in the config as text, or as
// {file: path} and then read anew at every [Secret.Reveal], so that a changed
// file takes effect without a restart. The zero Secret is unset. A Secret is
// immutable and safe for concurrent use.
type Secret struct {
	// A pointer, since package fmt prints the fields of a value whose verb it
	// does not know without asking Format, but follows no pointer in a struct.
	inline *string
	file   string // absolute
}

// NewSecret is a Secret with this value.
func NewSecret(value string) Secret {
	if value == "" {
		return Secret{}
	}
	return Secret{inline: &value}
}

// SecretFile is a Secret that lives in the file at path.
func SecretFile(path string) Secret { return Secret{file: path} }

// Set reports whether a value was given.
func (s Secret) Set() bool { return s.inline != nil || s.file != "" }

// File is the path of the file that holds the secret; empty if it is inline.
func (s Secret) File() string { return s.file }

// Reveal returns the value; empty without an error if the secret is unset. One
// newline at the end of a file is not part of the value. Errors name the file,
// never its content.
func (s Secret) Reveal() (string, error) {
	if s.inline != nil {
		return *s.inline, nil
	}
	if s.file == "" {
		return "", nil
	}
	f, err := os.Open(s.file)
	if err != nil {
		return "", fmt.Errorf("secret file: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxSecret+1))
	if err != nil {
		return "", fmt.Errorf("secret file: %w", err)
	}
	if len(data) > maxSecret {
		return "", fmt.Errorf("secret file %s: larger than %d bytes", s.file, maxSecret)
	}
	value := strings.TrimSuffix(strings.TrimSuffix(string(data), "\n"), "\r")
	if value == "" {
		return "", fmt.Errorf("secret file %s: is empty", s.file)
	}
	return value, nil
}

// String redacts.
func (s Secret) String() string {
	if !s.Set() {
		return ""
	}
	return redacted
}

// GoString redacts.
func (s Secret) GoString() string { return "config.Secret(" + s.String() + ")" }

// Format redacts for every verb, %x and %d among them, which would otherwise
// reach into the fields.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, s.String()) }

// LogValue redacts.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// MarshalJSON redacts.
func (s Secret) MarshalJSON() ([]byte, error) { return json.Marshal(s.String()) }

// MarshalYAML redacts.
func (s Secret) MarshalYAML() (any, error) { return s.String(), nil }

// MarshalText redacts.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalJSON refuses: a Secret comes only from the config file, where its
// position and its file's permissions are checked.
func (s *Secret) UnmarshalJSON([]byte) error {
	return errors.New("config: a secret cannot be read from JSON")
}

// secret reads a [Secret]: text, or {file: path}.
func secret(v value) (Secret, error) {
	if v.node.Kind != yamlMapping {
		s, err := text(v)
		if err != nil && v.r.scope == tenant {
			return Secret{}, err
		}
		if err != nil {
			return Secret{}, fmt.Errorf("%w, or {file: path}", err)
		}
		if v.r.scope == commandLine {
			return v.r.flagSecret(s)
		}
		v.r.inlineSecrets = true
		return NewSecret(s), nil
	}
	if v.r.scope == tenant {
		return Secret{}, errors.New("want text: a file may be named in the operator's config file only")
	}
	o := v.object()
	var s Secret
	need(o, "file", &s.file, filePath)
	o.done()
	if s.file == "" {
		return s, nil
	}
	file, _ := o.given("file")
	if _, err := s.Reveal(); err != nil {
		file.fail("%s", fileError(err))
		return s, nil
	}
	file.warnIfWorldReadable(s.file, "the secret")
	return s, nil
}

// fileError words an error of package os for a config problem.
func fileError(err error) string {
	var pathError *os.PathError
	if !errors.As(err, &pathError) {
		return strings.TrimPrefix(err.Error(), "secret file ")
	}
	switch {
	case errors.Is(err, os.ErrNotExist):
		return "no such file: " + pathError.Path
	case errors.Is(err, os.ErrPermission):
		return "not readable by this user: " + pathError.Path
	}
	return fmt.Sprintf("%s: %v", pathError.Path, pathError.Err)
}
