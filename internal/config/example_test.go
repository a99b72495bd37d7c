// SPDX-License-Identifier: Apache-2.0

package config

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

const examplePath = "../../packaging/config.example.yaml"

// example returns the example with the secret files that it names.
func example(t *testing.T) *Config {
	t.Helper()
	data, err := os.ReadFile(examplePath)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for _, sub := range []string{"secrets", "keys"} {
		if err := os.Mkdir(filepath.Join(dir, sub), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"shop", "node", "keys", "hook", "old-hook"} {
		write(t, filepath.Join(dir, "secrets"), name, "correct horse battery staple", 0o600)
	}
	c, warnings, err := Load(write(t, dir, "config.yaml", string(data), 0o600))
	if err != nil {
		t.Fatal(err)
	}
	if len(warnings) != 0 {
		t.Errorf("warnings: %v", warnings)
	}
	return c
}

func TestExampleIsValid(t *testing.T) { example(t) }

// A default that the example states must be the default that the code has.
func TestExampleStatesTheTrueDefaults(t *testing.T) {
	got, plain := example(t), minimalConfig(t)
	got.RPC.Auth, got.RPC.Credentials, got.RPC.TLS = plain.RPC.Auth, nil, TLS{}
	got.RPC.Hosts, got.RPC.Origins, got.RPC.Methods = nil, nil, nil
	w, p := &got.Wallets[0], plain.Wallets[0]
	w.Node.WSURL, w.Node.Instance, w.Node.Headers = Secret{}, "", nil
	w.Details.Keystore, w.Details.Include, w.Details.Exclude = p.Details.Keystore, nil, nil
	w.MaxFeePerGas, w.Webhooks = nil, nil
	got.Webhooks.Allow, got.Webhooks.Deny = nil, nil
	for _, part := range []struct {
		name      string
		got, want any
	}{{"log", got.Log, plain.Log}, {"rpc", got.RPC, plain.RPC}, {"admin", got.Admin, plain.Admin}, {"wallet", *w, p}, {"webhooks", got.Webhooks, plain.Webhooks}, {"retention", got.Retention, plain.Retention}} {
		if !reflect.DeepEqual(part.got, part.want) {
			t.Errorf("%s: the example has %+v, the default is %+v", part.name, part.got, part.want)
		}
	}
}

func TestExampleShowsEveryKey(t *testing.T) {
	data, err := os.ReadFile(examplePath)
	if err != nil {
		t.Fatal(err)
	}
	// A key that does not exist makes the reader list those that do.
	// The providers' own keys, and those of their admin blocks, come from wallets
	// that have nothing right.
	probe := "x: 1\npkcs11_modules: {m: {x: 1}}\nlog: {x: 1}\nrpc: {x: 1, limits: {x: 1}}\nadmin: {x: 1}\nwallets: [{x: 1, node: {x: 1}, details: {provider: keystore, x: 1}, webhooks: [{x: 1}]}" + others() + "]\nwebhooks: {x: 1}\ndatabase: {url: x, x: 1}\nreplica: {x: 1}\nretention: {x: 1}\ntracing: {x: 1}\n"
	_, _, err = Parse("config.yaml", []byte(probe))
	sections := 0
	for _, line := range strings.Split(err.Error(), "\n") {
		_, keys, ok := strings.Cut(line, "unknown key, want one of: ")
		if !ok {
			continue
		}
		sections++
		for _, key := range strings.Split(keys, ", ") {
			if !strings.Contains(string(data), key+":") {
				t.Errorf("the example does not show %q", key)
			}
		}
	}
	if want := 15 + 2*(len(Providers())-1); sections != want {
		t.Errorf("%d sections listed their keys, want %d:\n%v", sections, want, err)
	}
}

// others are wallets of every provider but the keystore, each with a key that
// does not exist.
func others() string {
	var b strings.Builder
	for _, p := range Providers() {
		if p != ProviderKeystore {
			fmt.Fprintf(&b, ", {details: {provider: %s, x: 1, admin: {x: 1}}}", p)
		}
	}
	return b.String()
}

func TestProvidersOfTheExampleAreValid(t *testing.T) {
	data, err := os.ReadFile(examplePath)
	if err != nil {
		t.Fatal(err)
	}
	whole := string(data)
	_, modules, ok := strings.Cut(whole, "# pkcs11_modules:\n")
	if !ok {
		t.Fatal("the example has no pkcs11_modules")
	}
	modules = "pkcs11_modules:\n" + strings.TrimPrefix(strings.ReplaceAll("\n"+modules, "\n# ", "\n"), "\n")
	blocks := strings.Split(whole, "    # details:\n")[1:]
	dir := folder(t)
	if err := os.Mkdir(filepath.Join(dir, "secrets"), 0o700); err != nil {
		t.Fatal(err)
	}
	for from, to := range map[string]string{
		"pw": "azure azure.pem aws vault pin cloudhsm jwt", "cert.pem": "ca.pem client.pem", "key.pem": "client.key", "sa.json": "gcp.json",
	} {
		content, err := os.ReadFile(filepath.Join(dir, from))
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range strings.Fields(to) {
			write(t, filepath.Join(dir, "secrets"), name, string(content), 0o600)
		}
	}
	seen := map[Provider]bool{ProviderKeystore: true}
	for _, block := range blocks {
		var details strings.Builder
		for line := range strings.Lines(block) {
			if !strings.HasPrefix(line, "    #   ") {
				break
			}
			details.WriteString("    " + strings.TrimPrefix(line, "    # "))
		}
		body := modules + "\nwallets:\n  - name: a\n    node: {url: http://127.0.0.1:8546, chain_id: 1337}\n    details:\n" + details.String()
		c, _, err := Load(write(t, dir, "config.yaml", body, 0o600))
		if err != nil {
			t.Errorf("%v\n%s", err, body)
			continue
		}
		seen[c.Wallets[0].Details.Provider] = true
	}
	if len(seen) != len(Providers()) {
		t.Errorf("the example shows %v, want all of %v", seen, Providers())
	}
}

func minimalConfig(t *testing.T) *Config {
	t.Helper()
	c, _, err := Parse("config.yaml", []byte(minimal))
	if err != nil {
		t.Fatal(err)
	}
	return c
}
