// SPDX-License-Identifier: Apache-2.0

package config

import (
	"path/filepath"
	"strings"
	"testing"
)

func TestSealKeysAreReadInTheirOrder(t *testing.T) {
	dir := t.TempDir()
	c, _, err := Parse(filepath.Join(dir, "config.yaml"), []byte(minimal+`
seal:
  keys:
    - provider: aws_kms
      key: arn:aws:kms:eu-central-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab
      target_region: eu-central-1
      identity: ambient
    - provider: hashicorp
      key: hsmsigner-seal
      target_address: https://vault.example.org:8200
      role_id: role
      user_secret: hunter2
    - provider: azure
      key: seal
      vault_name: my-vault
      identity: managed
    - provider: gcp_kms
      key: projects/a-project/locations/europe-west3/keyRings/ring/cryptoKeys/seal
      identity: default
    - env: HSMSIGNER_SEAL_KEY
    - file: ./old.key
`))
	if err != nil {
		t.Fatal(err)
	}
	k := c.Seal.Keys
	switch {
	case len(k) != 6:
		t.Fatalf("%d keys", len(k))
	case !k[0].AWSKMS.Credential.Ambient || !strings.HasSuffix(k[0].Key, "7890ab"):
		t.Errorf("%+v", k[0])
	case k[1].Hashicorp.Mount != "transit" || !k[1].Hashicorp.Credential.SecretID.Set():
		t.Errorf("%+v", k[1])
	case k[2].Azure.TargetAddress != "https://my-vault.vault.azure.net" || k[2].Symmetric:
		t.Errorf("%+v", k[2])
	case k[3].GCPKMS.Credential.Identity != GCPDefault:
		t.Errorf("%+v", k[3])
	case k[4].Env != "HSMSIGNER_SEAL_KEY" || k[5].File != filepath.Join(dir, "old.key"):
		t.Errorf("%+v %+v", k[4], k[5])
	}
}

func TestSealMistakesAreReported(t *testing.T) {
	for text, want := range map[string]string{
		"{}":                              "seal.keys: is missing",
		"{keys: []}":                      "seal.keys: is empty",
		"{keys: [{}]}":                    "want file, env or provider",
		"{keys: [{file: a, env: B}]}":     "is given beside file",
		"{keys: [{fiel: a}]}":             `did you mean "file"?`,
		"{keys: [{env: 'A B'}]}":          "environment variable",
		"{keys: [{provider: keystore}]}":  "is not one of",
		"{keys: [{provider: hashicorp}]}": "keys[0].key: is missing",
		"{keys: [{provider: aws_kms, key: alias/x, target_region: eu-central-1, identity: ambient}]}": "not an alias",
	} {
		_, _, err := Parse("config.yaml", []byte(minimal+"seal: "+text+"\n"))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v; want %q", text, err, want)
		}
	}
}
