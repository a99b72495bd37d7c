// SPDX-License-Identifier: Apache-2.0

package config

import (
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
	w.Details.Path, w.Details.UserSecret, w.Details.Include, w.Details.Exclude = p.Details.Path, Secret{}, nil, nil
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
	probe := "x: 1\nlog: {x: 1}\nrpc: {x: 1, limits: {x: 1}}\nadmin: {x: 1}\nwallets: [{x: 1, node: {x: 1}, details: {provider: keystore, x: 1}, webhooks: [{x: 1}]}]\nwebhooks: {x: 1}\ndatabase: {url: x, x: 1}\nreplica: {x: 1}\nretention: {x: 1}\ntracing: {x: 1}\n"
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
	if sections != 14 {
		t.Errorf("%d sections listed their keys, want 14:\n%v", sections, err)
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
