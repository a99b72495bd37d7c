// SPDX-License-Identifier: Apache-2.0

package awskms_test

import (
	"crypto/sha256"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awscredentials "github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
	"github.com/ethereum/go-ethereum/common"

	"github.com/hsmsigner/hsmsigner/internal/key"
	"github.com/hsmsigner/hsmsigner/internal/key/awskms"
	"github.com/hsmsigner/hsmsigner/internal/key/awskms/awskmstest"
	"github.com/hsmsigner/hsmsigner/internal/key/keytest"
	"github.com/hsmsigner/hsmsigner/internal/secp"
)

func startMoto(t *testing.T, opts ...awskmstest.Option) *awskmstest.Server {
	t.Helper()
	s, err := awskmstest.Start(t.Context(), opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// bare is the SDK without us, for what is done behind the backend's back.
func bare(url string) *kms.Client {
	return kms.New(kms.Options{
		Region: awskmstest.Region, BaseEndpoint: aws.String(url),
		Credentials: awscredentials.NewStaticCredentialsProvider(awskmstest.AccessKeyID, awskmstest.SecretAccessKey, ""),
	})
}

func motoConfig(url string) awskms.Config {
	return awskms.Config{
		Region: awskmstest.Region, AccessKeyID: awskmstest.AccessKeyID,
		Secret:   func() (string, error) { return awskmstest.SecretAccessKey, nil },
		Endpoint: url, STSEndpoint: url, TaggingEndpoint: url,
	}
}

func open(t *testing.T, c awskms.Config) *awskms.Backend {
	t.Helper()
	b, err := awskms.Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close() })
	return b
}

// idOf is the id in an ARN, which is all that some operations of moto take.
func idOf(ref key.Ref) *string {
	_, id, _ := strings.Cut(string(ref), ":key/")
	return &id
}

// makeKey makes a key of the SDK alone.
func makeKey(t *testing.T, c *kms.Client, spec types.KeySpec, alias string, tags ...types.Tag) (key.Ref, common.Address) {
	t.Helper()
	usage := types.KeyUsageTypeSignVerify
	if spec == types.KeySpecSymmetricDefault {
		usage = types.KeyUsageTypeEncryptDecrypt
	}
	made, err := c.CreateKey(t.Context(), &kms.CreateKeyInput{KeySpec: spec, KeyUsage: usage, Tags: tags})
	if err != nil {
		t.Fatal(err)
	}
	if alias != "" {
		if _, err := c.CreateAlias(t.Context(), &kms.CreateAliasInput{AliasName: aws.String("alias/" + alias), TargetKeyId: made.KeyMetadata.KeyId}); err != nil {
			t.Fatal(err)
		}
	}
	ref := key.Ref(*made.KeyMetadata.Arn)
	if spec != types.KeySpecEccSecgP256k1 {
		return ref, common.Address{}
	}
	public, err := c.GetPublicKey(t.Context(), &kms.GetPublicKeyInput{KeyId: made.KeyMetadata.Arn})
	if err != nil {
		t.Fatal(err)
	}
	p, err := secp.ParseSPKI(public.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	return ref, p.Address()
}

// The three ways of discovery, each against moto with keys of other kinds, a
// disabled key and one that is pending deletion among the others.
func TestContractOnMoto(t *testing.T) {
	server := startMoto(t)
	for _, test := range []struct {
		name      string
		discovery awskms.Discovery
	}{
		{"All", awskms.Discovery{}},
		{"ByAlias", awskms.Discovery{AliasPrefix: "alias/signer/"}},
		{"ByTag", awskms.Discovery{TagKey: "use", TagValue: "signer"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			keytest.Run(t, func(t *testing.T) keytest.Fixture {
				if err := server.Reset(t.Context()); err != nil {
					t.Fatal(err)
				}
				c := bare(server.URL)
				tag := types.Tag{TagKey: aws.String("use"), TagValue: aws.String("signer")}
				f := keytest.Fixture{MinKeys: 3, CreateName: "signer/created"}
				for _, name := range []string{"signer/a", "signer/b", "signer/c"} {
					_, address := makeKey(t, c, types.KeySpecEccSecgP256k1, name, tag)
					f.Addresses = append(f.Addresses, address)
				}
				makeKey(t, c, types.KeySpecEccNistP256, "signer/p256", tag)
				makeKey(t, c, types.KeySpecSymmetricDefault, "signer/aes", tag)
				disabled, _ := makeKey(t, c, types.KeySpecEccSecgP256k1, "signer/disabled", tag)
				pending, _ := makeKey(t, c, types.KeySpecEccSecgP256k1, "signer/pending", tag)
				config := motoConfig(server.URL)
				config.Discovery = test.discovery
				b := open(t, config)
				// They are seen once while they are enabled: KMS gives no public key
				// of a disabled key, and no address without it.
				if page, err := b.Keys(t.Context(), ""); err != nil || len(page.Keys) != 5 {
					t.Fatalf("got %d keys, %v", len(page.Keys), err)
				}
				if _, err := c.DisableKey(t.Context(), &kms.DisableKeyInput{KeyId: idOf(disabled)}); err != nil {
					t.Fatal(err)
				}
				if _, err := c.ScheduleKeyDeletion(t.Context(), &kms.ScheduleKeyDeletionInput{KeyId: idOf(pending)}); err != nil {
					t.Fatal(err)
				}
				f.Backend, f.Disabled = b, []key.Ref{disabled, pending}
				f.Unknown = key.Ref("arn:aws:kms:" + awskmstest.Region + ":" + awskmstest.Account + ":key/00000000-0000-4000-8000-000000000000")
				f.Add = func(t *testing.T) common.Address {
					_, address := makeKey(t, c, types.KeySpecEccSecgP256k1, "signer/added", tag)
					return address
				}
				return f
			})
		})
	}
}

func TestManagingKeysOnMoto(t *testing.T) {
	server := startMoto(t)
	b := open(t, motoConfig(server.URL))
	made, err := b.Create(t.Context(), "treasury/one", map[string]string{"team": "ops"})
	if err != nil {
		t.Fatal(err)
	}
	if err := b.SetEnabled(t.Context(), made.Ref, false); err != nil {
		t.Fatal(err)
	}
	page, err := b.Keys(t.Context(), "")
	if err != nil || len(page.Keys) != 1 || page.Keys[0].State != key.Disabled || page.Keys[0].Name != "treasury/one" {
		t.Fatalf("got %+v, %v", page, err)
	}
	if err := b.SetEnabled(t.Context(), made.Ref, true); err != nil {
		t.Fatal(err)
	}
	when, err := b.Delete(t.Context(), made.Ref)
	if days := time.Until(when).Hours() / 24; err != nil || days < 29 || days > 31 {
		t.Errorf("deletion at %v, %v", when, err)
	}
}

func TestRoleIsAssumedOnMoto(t *testing.T) {
	server := startMoto(t)
	config := motoConfig(server.URL)
	config.RoleARN, config.ExternalID = "arn:aws:iam::"+awskmstest.Account+":role/signer", "a-tenant"
	b := open(t, config)
	if _, err := b.Create(t.Context(), "by-role", nil); err != nil {
		t.Fatal(err)
	}
	if page, err := b.Keys(t.Context(), ""); err != nil || len(page.Keys) != 1 {
		t.Fatalf("got %+v, %v", page, err)
	}
}

// The repairs of server.py are needed as long as this holds. When it fails, moto
// has been mended, and server.py can go.
func TestMotoStillHasItsThreeDefects(t *testing.T) {
	server := startMoto(t, awskmstest.AsItIs())
	c := bare(server.URL)
	ref, address := makeKey(t, c, types.KeySpecEccSecgP256k1, "")
	id := aws.String(string(ref))
	digest := [32]byte{1, 2, 3}
	sign := func() []byte {
		t.Helper()
		out, err := c.Sign(t.Context(), &kms.SignInput{KeyId: id, Message: digest[:], MessageType: types.MessageTypeDigest, SigningAlgorithm: types.SigningAlgorithmSpecEcdsaSha256})
		if err != nil {
			t.Fatal(err)
		}
		return out.Signature
	}
	r, s, err := secp.ParseDER(sign())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := secp.Finish(address, digest, r, s); err == nil {
		t.Error("moto takes a digest as it is now")
	}
	if _, err := secp.Finish(address, sha256.Sum256(digest[:]), r, s); err != nil {
		t.Errorf("moto does something else than hashing twice: %v", err)
	}
	public, err := c.GetPublicKey(t.Context(), &kms.GetPublicKeyInput{KeyId: id})
	if err != nil || public.KeySpec != "" || *public.KeyId == string(ref) {
		t.Errorf("moto names keys in GetPublicKey now: %+v, %v", public, err)
	}
	if _, err := c.DisableKey(t.Context(), &kms.DisableKeyInput{KeyId: idOf(ref)}); err != nil {
		t.Fatal(err)
	}
	sign()
}

func TestMotoCannotImport(t *testing.T) {
	server := startMoto(t)
	_, err := bare(server.URL).GetParametersForImport(t.Context(), &kms.GetParametersForImportInput{
		KeyId: aws.String("x"), WrappingAlgorithm: types.AlgorithmSpecRsaAesKeyWrapSha256, WrappingKeySpec: types.WrappingKeySpecRsa4096,
	})
	if err == nil {
		t.Error("moto can import now: test Import on it")
	}
	// And it is gone when it is closed.
	if err := server.Close(); err != nil {
		t.Fatal(err)
	}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	if answer, err := http.DefaultClient.Do(r); err == nil {
		_ = answer.Body.Close()
		t.Error("the server still answers")
	}
}
