// SPDX-License-Identifier: Apache-2.0

package hashicorp

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/hsmsigner/hsmsigner/internal/key"
	"github.com/hsmsigner/hsmsigner/internal/key/byok"
)

// keyName is what the engine takes as a name (framework.GenericNameRegex).
var keyName = regexp.MustCompile(`^\w([\w.-]{0,126}\w)?$`)

// Create makes a key inside Vault that cannot be exported. An empty name makes
// one up. The credential needs the policy administrator.
func (b *Backend) Create(ctx context.Context, name string, tags map[string]string) (key.Key, error) {
	const op = "create key"
	if name == "" {
		random := make([]byte, 8)
		_, _ = rand.Read(random) // never fails (crypto/rand)
		name = "key-" + hex.EncodeToString(random)
	}
	return b.make(ctx, op, name, "", map[string]any{"tags": tags})
}

// Import takes a private key into Vault, wrapped by an RSA key of the engine.
// The credential needs the policy administrator.
func (b *Backend) Import(ctx context.Context, name string, private []byte, tags map[string]string) (key.Key, error) {
	const op = "import key"
	if !keyName.MatchString(name) {
		return key.Key{}, badName(op)
	}
	wrapping, err := b.wrappingKey(ctx, op)
	if err != nil {
		return key.Key{}, err
	}
	der, err := byok.PKCS8(private)
	if err != nil {
		return key.Key{}, fmt.Errorf("hashicorp: %s: %w", op, err)
	}
	defer clear(der)
	blob, err := byok.RSAAESWrap(wrapping, crypto.SHA256, der)
	if err != nil {
		return key.Key{}, fmt.Errorf("hashicorp: %s: %w", op, err)
	}
	return b.make(ctx, op, name, "/import", map[string]any{"ciphertext": base64.StdEncoding.EncodeToString(blob), "tags": tags})
}

func badName(op string) error {
	return &key.CallError{Op: "hashicorp: " + op, Kind: key.ErrDenied, Why: "name: want 1 to 128 letters, digits, _ - and ., beginning and ending with a letter, digit or _"}
}

func (b *Backend) make(ctx context.Context, op, name, what string, data map[string]any) (key.Key, error) {
	if !keyName.MatchString(name) {
		return key.Key{}, badName(op)
	}
	var e entry
	if _, err := b.write(ctx, call{op: op, path: b.cfg.Mount + "/keys/" + name + what, right: "create and update"}, data, &e); err != nil {
		return key.Key{}, err
	}
	k, err := b.describe(e.Address, e)
	if err != nil || !lowAddress.MatchString(e.Address) {
		return key.Key{}, &key.CallError{Op: op, Kind: key.ErrBadResponse, Why: "the engine's answer describes no key"}
	}
	return k, nil
}

func (b *Backend) wrappingKey(ctx context.Context, op string) (*rsa.PublicKey, error) {
	var answer struct {
		PublicKey string `json:"public_key"`
	}
	if _, err := b.read(ctx, call{op: op, path: b.cfg.Mount + "/wrapping-key", right: "read"}, &answer); err != nil {
		return nil, err
	}
	bad := &key.CallError{Op: op, Kind: key.ErrBadResponse, Why: "the engine gives no RSA wrapping key"}
	block, _ := pem.Decode([]byte(answer.PublicKey))
	if block == nil {
		return nil, bad
	}
	parsed, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return nil, bad
	}
	wrapping, ok := parsed.(*rsa.PublicKey)
	if !ok {
		return nil, bad
	}
	return wrapping, nil
}

// SetEnabled switches a key off or on. The credential needs the policy
// administrator.
func (b *Backend) SetEnabled(ctx context.Context, ref key.Ref, enabled bool) error {
	const op = "switch key"
	address, name, err := b.nameOf(ctx, op, ref)
	if err != nil {
		return err
	}
	c := call{op: op, ref: ref, path: b.cfg.Mount + "/keys/" + name, right: "update"}
	_, err = b.write(ctx, c, map[string]any{"enabled": enabled, "address": address}, nil)
	return err
}

// Delete deletes a key for ever, at once. The credential needs the policy
// administrator.
func (b *Backend) Delete(ctx context.Context, ref key.Ref) (time.Time, error) {
	const op = "delete key"
	address, name, err := b.nameOf(ctx, op, ref)
	if err != nil {
		return time.Time{}, err
	}
	c := call{op: op, ref: ref, path: b.cfg.Mount + "/keys/" + name, right: "delete"}
	send := func(ctx context.Context, client *api.Client) (*api.Response, error) {
		r := client.NewRequest(http.MethodDelete, "/v1/"+c.path)
		r.Params.Set("address", address)
		return client.RawRequestWithContext(ctx, r) //nolint:staticcheck // the SDK's other ways to delete hide the answer
	}
	if _, err := b.patiently(ctx, c, send, nil); err != nil {
		return time.Time{}, err
	}
	b.publics.Delete(address)
	return time.Time{}, nil
}

// nameOf finds the name that a key has. The engine checks, when it acts, that
// the name still has this address.
func (b *Backend) nameOf(ctx context.Context, op string, ref key.Ref) (address, name string, err error) {
	address, err = b.address(op, ref)
	if err != nil {
		return "", "", err
	}
	e, err := b.lookupKey(ctx, op, ref, address)
	if err == nil && (e.Address != address || !keyName.MatchString(e.Name)) {
		err = &key.CallError{Op: op, Ref: ref, Kind: key.ErrBadResponse, Why: "the engine's answer describes no key"}
	}
	return address, e.Name, err
}

// emptyList reports Vault's answer to a listing of nothing: 404, which is also
// that of a mount that does not exist, but then with a reason.
func emptyList(err error) bool {
	var e *key.CallError
	return errors.As(err, &e) && errors.Is(err, key.ErrNotFound) && e.Why == ""
}
