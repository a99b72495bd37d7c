// SPDX-License-Identifier: Apache-2.0

package logbook

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/note"
)

func TestAKeyIsReadBackAsItWasWritten(t *testing.T) {
	for range 200 { // base64 has pluses of its own
		k, err := NewKey("signer.example.org/audit")
		if err != nil {
			t.Fatal(err)
		}
		back, err := ParseKey(" " + k.Text() + "\n")
		if err != nil {
			t.Fatal(err)
		}
		if back.Text() != k.Text() || back.Verifier().String() != k.Verifier().String() || back.mac != k.mac {
			t.Fatal("another key was read")
		}
		v, err := ParseVerifier(k.Verifier().String() + "\n")
		if err != nil || v.Name() != k.Origin() || !v.public.Equal(k.verifier.public) {
			t.Fatalf("%v, %v", v, err)
		}
		if _, err := note.NewSigner(k.Text()); err != nil {
			t.Fatal(err)
		}
	}
}

func TestAKeyIsNeverTold(t *testing.T) {
	k := testKey(t)
	secret := k.Text()[strings.LastIndex(k.Text(), "+")+1:]
	var log strings.Builder
	slog.New(slog.NewJSONHandler(&log, nil)).Info("key", "key", k)
	j, err := json.Marshal(map[string]any{"key": k})
	if err != nil {
		t.Fatal(err)
	}
	said := fmt.Sprintf("%v %+v %#v %s %s %s", k, k, k, k, log.String(), j)
	for _, text := range []string{k.Text(), k.Text() + "x", k.Text()[:len(k.Text())-4], "PRIVATE+KEY+a+b+" + secret, secret} {
		_, err := ParseVerifier(text)
		_, err2 := ParseKey(text + "?")
		said += fmt.Sprint(err, err2)
	}
	if strings.Contains(said, secret[:12]) {
		t.Errorf("the key is told: %s", said)
	}
	if !strings.Contains(said, k.Verifier().String()) {
		t.Error("the verifier is not told")
	}
}

func TestAWrongKeyIsRefused(t *testing.T) {
	k := testKey(t)
	for _, text := range []string{"", "x", k.Verifier().String(), k.Text()[1:], strings.Replace(k.Text(), logName, "other", 1), "PRIVATE+KEY+a"} {
		if _, err := ParseKey(text); err == nil {
			t.Errorf("%q is a key", text)
		}
	}
	for _, text := range []string{"", "x", "a+b", k.Text(), strings.Replace(k.Verifier().String(), logName, "other", 1)} {
		if _, err := ParseVerifier(text); err == nil {
			t.Errorf("%q is a verifier", text)
		}
	}
	for _, name := range []string{"", "a b", "a+b"} {
		if _, err := KeyFrom(name, make([]byte, SeedSize)); err == nil {
			t.Errorf("%q is the name of a log", name)
		}
	}
	if _, err := KeyFrom(logName, make([]byte, 31)); err == nil {
		t.Error("31 bytes are a seed")
	}
}
