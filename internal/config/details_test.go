// SPDX-License-Identifier: Apache-2.0

package config

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

const (
	application = "11111111-2222-3333-4444-555555555555"
	directory   = "66666666-7777-8888-9999-000000000000"
)

// certificate makes a PEM certificate and its key.
func certificate(t *testing.T) (cert, private string) {
	t.Helper()
	priv, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &priv.PublicKey, priv)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(priv)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})),
		string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}))
}

// folder has the files that the configs here name.
func folder(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	cert, private := certificate(t)
	for name, content := range map[string]string{
		"pw": "correct horse battery staple", "admin": "another", "cert.pem": cert, "key.pem": private,
		"sa.json": `{"type":"service_account"}`, "lib.so": "",
	} {
		write(t, dir, name, content+"\n", 0o600)
	}
	return dir
}

func TestEveryProviderIsRead(t *testing.T) {
	dir := folder(t)
	file := func(name string) Secret { return SecretFile(filepath.Join(dir, name)) }
	path := func(name string) string { return filepath.Join(dir, name) }
	for text, want := range map[string]Details{
		`provider: azure, vault_name: treasury, tenant_id: ` + directory + `, user_id: ` + application + `, user_secret: {file: pw}`: {
			Azure: &Azure{
				VaultName: "treasury", TargetAddress: "https://treasury.vault.azure.net",
				Credential: AzureCredential{Tenant: directory, Client: application, Secret: file("pw")},
			},
		},
		`provider: azure, target_address: https://hsm1.managedhsm.azure.net/, authority_address: https://login.microsoftonline.us, subscription_id: ` + directory + `, relaxed_hosts: ["127.0.0.1:8443"],
      ca_cert: {file: cert.pem}, kek: import-1, protection: software, identity: workload, token_file: token, tenant_id: example.org,
      admin: {tenant_id: example.org, user_id: ` + application + `, client_cert: {file: key.pem}, client_cert_password: {file: pw}}`: {
			Azure: &Azure{
				SubscriptionID: directory, TargetAddress: "https://hsm1.managedhsm.azure.net", Authority: "https://login.microsoftonline.us", RelaxedHosts: []string{"127.0.0.1:8443"},
				CACert: file("cert.pem"), KEK: "import-1", Software: true,
				Credential: AzureCredential{Identity: AzureWorkload, TokenFile: path("token"), Tenant: "example.org"},
				Admin:      &AzureCredential{Tenant: "example.org", Client: application, Certificate: file("key.pem"), CertificatePassword: file("pw")},
			},
		},
		`provider: aws_kms, target_region: eu-central-1, user_id: AKIAIOSFODNN7EXAMPLE, user_secret: {file: pw},
      role_arn: "arn:aws:iam::111122223333:role/signer", external_id: abc, discovery: "alias:treasury-", target_address: "http://127.0.0.1:5000",
      sts_address: "http://127.0.0.1:5001", tagging_address: "http://127.0.0.1:5002", ca_cert: {file: cert.pem}, admin: {identity: ambient, profile: keymaster}`: {
			AWSKMS: &AWSKMS{
				Region: "eu-central-1", TargetAddress: "http://127.0.0.1:5000", TagAddress: "http://127.0.0.1:5002",
				CACert: file("cert.pem"), Discovery: AWSDiscovery{AliasPrefix: "treasury-"},
				Credential: AWSCredential{
					AccessKeyID: "AKIAIOSFODNN7EXAMPLE", SecretKey: file("pw"),
					RoleARN: "arn:aws:iam::111122223333:role/signer", ExternalID: "abc", STSAddress: "http://127.0.0.1:5001",
				},
				Admin: &AWSCredential{Ambient: true, Profile: "keymaster"},
			},
		},
		`provider: aws_kms, target_region: us-gov-west-1, identity: ambient, discovery: "tag:app=hsmsigner", fips: true`: {
			AWSKMS: &AWSKMS{
				Region: "us-gov-west-1", Discovery: AWSDiscovery{TagKey: "app", TagValue: "hsmsigner"}, FIPS: true,
				Credential: AWSCredential{Ambient: true},
			},
		},
		`provider: hashicorp, target_address: "https://vault.example.org:8200", role_id: r, user_secret: {file: pw}, auth_mount: team/approle, mount: team/eth,
      namespace: team, engine: ethsign, ca_cert: {file: cert.pem}, client_cert: {file: cert.pem}, client_key: {file: key.pem}, admin: {user_secret: {file: admin}}`: {
			Hashicorp: &Hashicorp{
				TargetAddress: "https://vault.example.org:8200", Mount: "team/eth", Namespace: "team", Engine: EngineEthsign,
				CACert: file("cert.pem"), ClientCert: file("cert.pem"), ClientKey: file("key.pem"),
				Credential: VaultCredential{RoleID: "r", SecretID: file("pw"), AuthMount: "team/approle"},
				Admin:      &VaultCredential{Token: file("admin")},
			},
		},
		`provider: hashicorp, target_address: "http://localhost:8200", kubernetes: {role: signer}`: {
			Hashicorp: &Hashicorp{
				TargetAddress: "http://localhost:8200", Mount: "hsmsigner", Engine: EngineHSMSigner,
				Credential: VaultCredential{Kubernetes: &VaultLogin{Role: "signer"}},
			},
		},
		`provider: gcp_kms, key_ring: projects/treasury/locations/europe-west3/keyRings/signer, user_secret: {file: sa.json}, admin: {identity: default}`: {
			GCPKMS: &GCPKMS{
				KeyRing:    "projects/treasury/locations/europe-west3/keyRings/signer",
				Credential: GCPCredential{ServiceAccount: file("sa.json")}, Admin: &GCPCredential{Identity: GCPDefault},
			},
		},
		`provider: pkcs11, module: softhsm, token_label: signer, token_serial: "77", wrapping_key: wrap, user_secret: {file: pw}, sessions: 8, call_timeout: 3s, keep_alive: 0, require_hsm: true, admin: {user_secret: {file: admin}}`: {
			RequireHSM: true,
			PKCS11: &PKCS11{
				Module: "softhsm", Path: path("lib.so"), Protection: ProtectionHSM, Env: map[string]string{"SOFTHSM2_CONF": "/x"},
				TokenLabel: "signer", TokenSerial: "77", WrappingKey: "wrap", Sessions: 8, CallTimeout: 3 * time.Second, Credential: PKCS11Credential{PIN: file("pw")}, Admin: &PKCS11Credential{PIN: file("admin")},
			},
		},
		`provider: aws_cloudhsm, module: plain, user_id: signer, user_secret: {file: pw}, require_hsm: true`: {
			RequireHSM: true,
			PKCS11: &PKCS11{
				Module: "plain", Path: path("lib.so"), Protection: ProtectionHSM, CloudHSM: true, CallTimeout: 10 * time.Second, KeepAlive: time.Minute,
				Credential: PKCS11Credential{User: "signer", PIN: file("pw")},
			},
		},
	} {
		provider, _, _ := strings.Cut(strings.TrimPrefix(text, "provider: "), ",")
		t.Run(provider, func(t *testing.T) {
			body := fmt.Sprintf(`pkcs11_modules:
  softhsm: {path: lib.so, protection: hsm, environment: {SOFTHSM2_CONF: /x}}
  plain: lib.so
wallets:
  - name: a
    node: {url: http://127.0.0.1:8546, chain_id: 1337}
    details: {%s}
`, text)
			c, warnings, err := Load(write(t, dir, "config.yaml", body, 0o600))
			if err != nil || len(warnings) != 0 {
				t.Fatal(warnings, err)
			}
			want.Provider, want.QuotaShare = Provider(provider), DefaultQuotaShare
			if got := c.Wallets[0].Details; !reflect.DeepEqual(got, want) {
				t.Errorf("got  %+v\nwant %+v", got, want)
			}
		})
	}
}

func TestConcurrencyFollowsTheProvider(t *testing.T) {
	for want, d := range map[int]Details{
		8:  {Keystore: &Keystore{}},
		64: {Azure: &Azure{}},
		16: {PKCS11: &PKCS11{}},
		5:  {PKCS11: &PKCS11{Sessions: 5}},
	} {
		if got := d.concurrency(); got != want {
			t.Errorf("%+v: %d, want %d", d, got, want)
		}
	}
}

func TestCertificateThatDoesNotFitItsKeyIsReported(t *testing.T) {
	dir := folder(t)
	other, _ := certificate(t)
	write(t, dir, "other.pem", other, 0o600)
	_, _, err := Load(write(t, dir, "config.yaml", `wallets:
  - name: a
    node: {url: http://127.0.0.1:8546, chain_id: 1337}
    details: {provider: hashicorp, target_address: "https://v", user_secret: {file: pw}, client_cert: {file: other.pem}, client_key: {file: key.pem}}
`, 0o600))
	if err == nil || !strings.Contains(err.Error(), "details.client_key: does not go with client_cert") {
		t.Errorf("got %v", err)
	}
}

func TestAdminCredentialTakesThePlaceOfTheOther(t *testing.T) {
	admin := &GCPCredential{Identity: GCPDefault}
	d := Details{Provider: ProviderGCPKMS, GCPKMS: &GCPKMS{KeyRing: "r", Credential: GCPCredential{ServiceAccount: NewSecret("s")}, Admin: admin}}
	got, ok := d.ForAdmin()
	if !ok || got.GCPKMS.Credential != *admin || got.GCPKMS.Admin != nil || got.GCPKMS.KeyRing != "r" {
		t.Errorf("got %+v, %v", got.GCPKMS, ok)
	}
	if d.GCPKMS.Credential.Identity != "" || d.GCPKMS.Admin != admin {
		t.Error("the details themselves were changed")
	}
	for _, d := range []Details{
		{Azure: &Azure{}},
		{AWSKMS: &AWSKMS{}},
		{Hashicorp: &Hashicorp{}},
		{GCPKMS: &GCPKMS{}},
		{PKCS11: &PKCS11{}},
	} {
		if _, ok := d.ForAdmin(); ok {
			t.Errorf("%+v has an admin", d)
		}
	}
}

func TestFlagsDescribeABackend(t *testing.T) {
	dir := folder(t)
	t.Chdir(dir)
	d, err := ParseFlags("azure", []string{
		"vault_name=treasury", "tenant_id=" + directory, "user_id=" + application, "user_secret.file=pw",
		"relaxed_hosts=a.example.org, b.example.org", "rate_limit=5", "require_hsm=true",
	}, nil)
	want := Details{
		Provider: ProviderAzure, QuotaShare: DefaultQuotaShare, RateLimit: 5, RequireHSM: true,
		Azure: &Azure{
			VaultName: "treasury", TargetAddress: "https://treasury.vault.azure.net", RelaxedHosts: []string{"a.example.org", "b.example.org"},
			Credential: AzureCredential{Tenant: directory, Client: application, Secret: SecretFile(filepath.Join(dir, "pw"))},
		},
	}
	if err != nil || !reflect.DeepEqual(d, want) {
		t.Errorf("got  %+v, %v\nwant %+v", d, err, want)
	}
	d, err = ParseFlags("pkcs11", []string{"module=/usr/lib/x.so", "token_label=1234", "user_secret=-"}, strings.NewReader("hunter2\n"))
	if err != nil || d.PKCS11.Path != "/usr/lib/x.so" || d.PKCS11.TokenLabel != "1234" {
		t.Fatalf("got %+v, %v", d, err)
	}
	reveal(t, d.PKCS11.Credential.PIN, "hunter2")
}

func TestFlagsTakeNoSecretFromTheCommandLine(t *testing.T) {
	for settings, want := range map[string]string{
		"user_secret=hunter2":                                "must not stand on the command line",
		"hunter2":                                            "want FIELD=VALUE",
		"user_secret=-,client_cert=-":                        "standard input is needed for something else",
		"user_secret.file=/nonexistent":                      "no such file: /nonexistent",
		"user_secret=-,user_secret.file=x":                   "is given both",
		"user_secret=-,vault_name=a,vault_name=b":            "is given twice",
		"user_secret=-,colour=red":                           "unknown key",
		"user_secret=-,admin.user_secret=hunter2":            "admin.user_secret: must not stand on the command line",
		"user_secret=-,ca_cert=-----BEGIN CERTIFICATE-----x": "ca_cert: must not stand on the command line",
	} {
		_, err := ParseFlags("azure", strings.Split(settings, ","), strings.NewReader("s3cret"))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %s", settings, err, want)
		}
		if err != nil && (strings.Contains(err.Error(), "hunter2") || strings.Contains(err.Error(), "s3cret")) {
			t.Errorf("%s: shows the secret: %v", settings, err)
		}
	}
}

func TestMissingLibraryWarns(t *testing.T) {
	dir := t.TempDir()
	body := "pkcs11_modules: {softhsm: none.so}\n" + strings.TrimPrefix(minimal, "\n")
	if err := os.Mkdir(filepath.Join(dir, "keys"), 0o700); err != nil {
		t.Fatal(err)
	}
	_, warnings, err := Load(write(t, dir, "config.yaml", body, 0o600))
	if err != nil || len(warnings) != 1 || !strings.Contains(warnings[0].String(), "pkcs11_modules.softhsm: no such file: ") {
		t.Errorf("got %v, %v", warnings, err)
	}
}
