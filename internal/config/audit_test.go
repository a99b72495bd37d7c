// SPDX-License-Identifier: Apache-2.0

package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const someWitnessKey = "witness.example.org+eaed67a5+BAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f"

func parseAudit(t *testing.T, section string) (*Config, error) {
	t.Helper()
	c, _, err := Parse(filepath.Join(t.TempDir(), "config.yaml"), []byte("management: {}\naudit: "+section))
	return c, err
}

func TestAuditSectionIsRead(t *testing.T) {
	c, err := parseAudit(t, `{name: a.example/b, interval: 1s, witnesses: [{name: f, file: ./kept}, {name: u, url: 'https://w.example.org/x/', key: `+someWitnessKey+`, every: 5m, timeout: 3s}],
  syslog: [{name: s, address: 'tls://[::1]'}, {name: x, address: 'unix:///dev/log', facility: local3, app: signer, hostname: h}]}`)
	if err != nil {
		t.Fatal(err)
	}
	a := c.Audit
	if a.Name != "a.example/b" || a.Interval != time.Second || len(a.Witnesses) != 2 || len(a.Syslog) != 2 {
		t.Fatalf("%+v", a)
	}
	if w := a.Witnesses; !filepath.IsAbs(w[0].File) || w[0].Every != time.Minute || w[1].URL != "https://w.example.org/x" || w[1].Every != 5*time.Minute || w[1].Timeout != 3*time.Second {
		t.Errorf("%+v", w)
	}
	if s := a.Syslog[0]; s.Network != "tls" || s.Address != "[::1]:6514" || s.Facility != 10 || s.App != "hsmsigner" {
		t.Errorf("%+v", s)
	}
	if s := a.Syslog[1]; s.Network != "unix" || s.Address != "/dev/log" || s.Facility != 19 || s.Hostname != "h" {
		t.Errorf("%+v", s)
	}
	if c, err = parseAudit(t, `{}`); err != nil || c.Audit.Interval != 200*time.Millisecond {
		t.Error(c, err)
	}
}

func TestMistakesInTheAuditSectionAreSaid(t *testing.T) {
	altered := strings.Replace(someWitnessKey, "+BAAB", "+BAAC", 1)
	for section, want := range map[string]string{
		`{key: PRIVATE+KEY+secret}`: "want {file: path}",
		`{key: {file: ./none}}`:     "no such file",
		`{name: 'a b'}`:             "is not allowed",
		`{interval: 1ms}`:           "want a duration",
		`{witnesses: [{name: a}]}`:  "has no place for checkpoints",
		`{witnesses: [{name: a, file: f, url: 'https://h', key: ` + someWitnessKey + `}]}`: "is given beside file",
		`{witnesses: [{name: a, url: 'https://h'}]}`:                                       "key: is missing",
		`{witnesses: [{name: a, file: f, key: ` + someWitnessKey + `}]}`:                   "belongs to url",
		`{witnesses: [{name: a, url: 'http://h', key: ` + someWitnessKey + `}]}`:           "is http",
		`{witnesses: [{name: a, url: 'https://u:p@h', key: ` + someWitnessKey + `}]}`:      "has a user",
		`{witnesses: [{name: a, url: 'https://h', key: ` + altered + `}]}`:                 "was altered",
		`{witnesses: [{name: a, url: 'https://h', key: nonsense}]}`:                        "is no key",
		`{witnesses: [{name: a, file: f}, {name: a, file: g}]}`:                            "another witness is called",
		`{syslog: [{name: a, address: 'udp://h'}, {name: a, address: 'tcp://h'}]}`:         "another syslog server is called",
		`{syslog: [{name: a, address: 'http://h'}]}`:                                       "is no address",
		`{syslog: [{name: a, address: 'tcp://h/x'}]}`:                                      "is no address",
		`{syslog: [{name: a, address: 'tcp://h', facility: loud}]}`:                        "is not one of",
		`{syslog: [{name: a, address: 'tcp://h', client_key: x}]}`:                         "begins with tls://",
		`{syslog: [{name: a, address: 'tls://h', client_key: x}]}`:                         "belongs to client_cert",
		`{syslg: []}`: "did you mean",
	} {
		if _, err := parseAudit(t, section); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", section, err, want)
		} else if strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: the error has the secret: %v", section, err)
		}
	}
}

// The examples of the page are valid, and it names every key.
func TestPageAboutTheAuditTrailIsTrue(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "audit.md"))
	if err != nil {
		t.Fatal(err)
	}
	dir := folder(t)
	write(t, dir, "audit.key", "PRIVATE+KEY+x", 0o600)
	blocks := strings.Split(string(text), "```yaml\n")[1:]
	for _, block := range blocks {
		block, _, _ = strings.Cut(block, "```")
		if _, _, err := Load(write(t, dir, "config.yaml", "management: {}\n"+block, 0o600)); err != nil {
			t.Errorf("%v\n%s", err, block)
		}
	}
	if len(blocks) != 2 {
		t.Errorf("%d examples", len(blocks))
	}
	_, err = parseAudit(t, `{x: 1, witnesses: [{x: 1}], syslog: [{x: 1}]}`)
	for line := range strings.Lines(err.Error()) {
		_, keys, ok := strings.Cut(strings.TrimSpace(line), "unknown key, want one of: ")
		if !ok {
			continue
		}
		for _, key := range strings.Split(keys, ", ") {
			if !strings.Contains(string(text), "`"+key+"`") {
				t.Errorf("the page does not name %s", key)
			}
		}
	}
}
