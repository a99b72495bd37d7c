// SPDX-License-Identifier: Apache-2.0

package gcpkms

import (
	"context"
	"crypto"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"time"

	"cloud.google.com/go/kms/apiv1/kmspb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/hsmsigner/hsmsigner/internal/key"
	"github.com/hsmsigner/hsmsigner/internal/key/byok"
)

const (
	importMethod = kmspb.ImportJob_RSA_OAEP_4096_SHA256_AES_256
	wrapKeyBits  = 4096
)

// Import takes a private key into the HSM, wrapped by a key of the HSM's
// (https://cloud.google.com/kms/docs/wrapping-a-key). It uses one import job a
// day, which Google ends after three; jobs cannot be deleted. An import that
// was interrupted can be repeated under the same name. Needs
// roles/cloudkms.importer, and cloudkms.cryptoKeys.create and .get and
// cloudkms.cryptoKeyVersions.create and .get beside what listing needs.
func (b *Backend) Import(ctx context.Context, name string, private []byte, tags map[string]string) (key.Key, error) {
	const op = "import key"
	if err := checkNew(op, name, tags); err != nil {
		return key.Key{}, fmt.Errorf("gcpkms: %w", err)
	}
	payload, err := byok.PKCS8(private)
	if err != nil {
		return key.Key{}, fmt.Errorf("gcpkms: %s: %w", op, err)
	}
	defer clear(payload)
	public, err := byok.PublicKey(private)
	if err != nil {
		return key.Key{}, fmt.Errorf("gcpkms: %s: %w", op, err)
	}
	job, wrapping, err := b.importJob(ctx)
	if err != nil {
		return key.Key{}, fmt.Errorf("gcpkms: %w", err)
	}
	wrapped, err := byok.RSAAESWrap(wrapping, crypto.SHA256, payload)
	if err != nil {
		return key.Key{}, fmt.Errorf("gcpkms: %s: %w", op, err)
	}
	if err := b.importTarget(ctx, op, name, tags); err != nil {
		return key.Key{}, fmt.Errorf("gcpkms: %w", err)
	}
	var version *kmspb.CryptoKeyVersion
	err = b.call(ctx, op, "", reason(), func(ctx context.Context) (err error) {
		version, err = b.client.ImportCryptoKeyVersion(ctx, &kmspb.ImportCryptoKeyVersionRequest{
			Parent: b.keyName(name), Algorithm: algorithm, ImportJob: job, WrappedKey: wrapped,
		})
		return err
	})
	if err != nil {
		return key.Key{}, fmt.Errorf("gcpkms: %w", err)
	}
	made, err := b.await(ctx, op, key.Ref(version.GetName()), tags)
	if err != nil {
		return key.Key{}, fmt.Errorf("gcpkms: the key %s was imported, but %w", name, err)
	}
	if made.Address != public.Address() {
		return key.Key{}, fmt.Errorf("gcpkms: %w", &key.CallError{
			Op: op, Ref: made.Ref, Kind: key.ErrBadResponse, Why: "Cloud KMS holds another key than the one that was sent; destroy it",
		})
	}
	return made, nil
}

// importTarget makes a key without versions, or takes one that an interrupted
// import left behind.
func (b *Backend) importTarget(ctx context.Context, op, name string, tags map[string]string) error {
	target := newKey(tags)
	target.ImportOnly = true
	exists := false
	err := b.call(ctx, op, "", reason(), func(ctx context.Context) error {
		_, err := b.client.CreateCryptoKey(ctx, &kmspb.CreateCryptoKeyRequest{
			Parent: b.cfg.KeyRing, CryptoKeyId: name, CryptoKey: target, SkipInitialVersionCreation: true,
		})
		if status.Code(err) == codes.AlreadyExists {
			exists = true
			return nil
		}
		return err
	})
	if err != nil || !exists {
		return err
	}
	var found *kmspb.CryptoKey
	var versions []*kmspb.CryptoKeyVersion
	err = b.call(ctx, op, "", reason(), func(ctx context.Context) error {
		var err error
		if found, err = b.client.GetCryptoKey(ctx, &kmspb.GetCryptoKeyRequest{Name: b.keyName(name)}); err != nil {
			return err
		}
		it := b.client.ListCryptoKeyVersions(ctx, &kmspb.ListCryptoKeyVersionsRequest{Parent: b.keyName(name), PageSize: 1})
		versions, _, err = onePage(it.Next, it.PageInfo())
		return err
	})
	if err != nil {
		return err
	}
	if template := found.GetVersionTemplate(); !found.GetImportOnly() || len(versions) > 0 ||
		template.GetAlgorithm() != algorithm || template.GetProtectionLevel() != kmspb.ProtectionLevel_HSM {
		return &key.CallError{Op: op, Kind: key.ErrDenied, Why: "there is a key of that name already; names cannot be used again"}
	}
	return nil
}

// importJob returns today's import job and its wrapping key, and makes it if it
// is not there.
func (b *Backend) importJob(ctx context.Context) (name string, wrapping *rsa.PublicKey, err error) {
	const op = "get import job"
	id := "hsmsigner-" + time.Now().UTC().Format("20060102")
	name = b.cfg.KeyRing + "/importJobs/" + id
	var job *kmspb.ImportJob
	get := func(ctx context.Context) (done bool, err error) {
		job, err = b.client.GetImportJob(ctx, &kmspb.GetImportJobRequest{Name: name})
		return job.GetState() != kmspb.ImportJob_PENDING_GENERATION, err
	}
	err = b.call(ctx, op, "", reason(), func(ctx context.Context) error {
		_, err := get(ctx)
		return err
	})
	if errors.Is(err, key.ErrNotFound) {
		err = b.call(ctx, "create import job", "", reason(), func(ctx context.Context) error {
			_, err := b.client.CreateImportJob(ctx, &kmspb.CreateImportJobRequest{
				Parent: b.cfg.KeyRing, ImportJobId: id,
				ImportJob: &kmspb.ImportJob{ImportMethod: importMethod, ProtectionLevel: kmspb.ProtectionLevel_HSM},
			})
			if status.Code(err) == codes.AlreadyExists { // another process was faster
				return nil
			}
			return err
		})
	}
	if err == nil {
		err = b.poll(ctx, op, "", get)
	}
	if err != nil {
		return "", nil, err
	}
	wrapping, why := wrappingKey(name, job)
	if why != "" {
		return "", nil, &key.CallError{Op: op, Kind: key.ErrBadResponse, Why: why}
	}
	return name, wrapping, nil
}

func wrappingKey(name string, job *kmspb.ImportJob) (*rsa.PublicKey, string) {
	if job.GetName() != name || job.GetState() != kmspb.ImportJob_ACTIVE ||
		job.GetImportMethod() != importMethod || job.GetProtectionLevel() != kmspb.ProtectionLevel_HSM {
		return nil, "the import job is not an active one of the HSM's with method " + importMethod.String()
	}
	block, rest := pem.Decode([]byte(job.GetPublicKey().GetPem()))
	if block == nil || len(rest) > 0 {
		return nil, "the import job's public key is not one PEM block"
	}
	parsed, err := x509.ParsePKIXPublicKey(block.Bytes)
	public, ok := parsed.(*rsa.PublicKey)
	if err != nil || !ok || public.N.BitLen() != wrapKeyBits {
		return nil, fmt.Sprintf("the import job's public key is not RSA of %d bits", wrapKeyBits)
	}
	return public, ""
}
