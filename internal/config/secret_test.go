// SPDX-License-Identifier: Apache-2.0

package config

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

func TestSecretNeverShows(t *testing.T) {
	s := NewSecret("hunter2")
	holder := struct {
		Password Secret
		Pointer  *Secret
		Map      map[string]Secret
	}{s, &s, map[string]Secret{"k": s}}

	var shown bytes.Buffer
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%T", "%w", "%10s"} {
		fmt.Fprintf(&shown, verb+" "+verb+" "+verb+"\n", s, &s, holder)
	}
	fmt.Fprint(&shown, s, s.String(), s.GoString(), fmt.Errorf("password %v", s))
	for _, handler := range []slog.Handler{slog.NewTextHandler(&shown, nil), slog.NewJSONHandler(&shown, nil)} {
		slog.New(handler).Info("login", "password", s, "pointer", &s, "holder", holder, slog.Group("g", "s", s))
	}
	for _, marshal := range []func(any) ([]byte, error){json.Marshal, yaml.Marshal} {
		out, err := marshal(holder)
		if err != nil {
			t.Fatal(err)
		}
		shown.Write(out)
	}
	for _, form := range []string{"hunter2", "68756e74657232", "68756E74657232", "104 117 110"} {
		if strings.Contains(shown.String(), form) {
			t.Errorf("shows %q in:\n%s", form, shown.String())
		}
	}
	if !strings.Contains(shown.String(), redacted) {
		t.Errorf("nothing stands for the secret in:\n%s", shown.String())
	}
}

func TestSecretFileIsReadAnew(t *testing.T) {
	dir := t.TempDir()
	s := SecretFile(write(t, dir, "pw", "first\n", 0o600))
	reveal(t, s, "first")
	write(t, dir, "pw", "second \n\n", 0o600)
	reveal(t, s, "second \n")
	write(t, dir, "pw", "third\r\n", 0o600)
	reveal(t, s, "third")
	write(t, dir, "pw", "no newline", 0o600)
	reveal(t, s, "no newline")
}

func TestSecretFilesThatCannotBeUsed(t *testing.T) {
	dir := t.TempDir()
	for path, want := range map[string]string{
		filepath.Join(dir, "none"):                                    "no such file",
		write(t, dir, "empty", "\n", 0o600):                           "is empty",
		write(t, dir, "big", strings.Repeat("x", maxSecret+1), 0o600): "larger than",
	} {
		value, err := SecretFile(path).Reveal()
		if err == nil || !strings.Contains(err.Error(), want) || value != "" {
			t.Errorf("%s: %q, %v; want an error with %q", path, value, err, want)
		}
	}
}

func TestUnsetSecretRevealsNothing(t *testing.T) {
	var s Secret
	reveal(t, s, "")
	if s.Set() || s.String() != "" {
		t.Error("the zero Secret looks set")
	}
}

func reveal(t *testing.T, s Secret, want string) {
	t.Helper()
	if got, err := s.Reveal(); err != nil || got != want {
		t.Errorf("%q, %v; want %q", got, err, want)
	}
}
