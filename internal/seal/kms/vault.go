// SPDX-License-Identifier: Apache-2.0

package kms

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/hsmsigner/hsmsigner/internal/seal"
)

// Vault is a key of the transit secrets engine of HashiCorp Vault or OpenBao, of
// type aes256-gcm96 or chacha20-poly1305.
type Vault struct {
	Address   string // https://host:port
	Mount     string // of the engine; default transit
	Key       string
	Namespace string

	// One of Token and Role.
	Token     func() (string, error)
	AuthMount string
	RoleID    string                 // AppRole, with Secret
	Secret    func() (string, error) // its secret id
	Role      string                 // of kubernetes or jwt, whose token is in TokenFile
	TokenFile string

	RootCAs    *x509.CertPool // nil: the system's
	ClientCert func() (string, error)
	ClientKey  func() (string, error)
}

type vaultKey struct {
	cfg  Vault
	http *http.Client
}

// OpenVault makes the client of a key. It asks nobody.
func OpenVault(c Vault) (seal.KEK, error) {
	if c.Mount == "" {
		c.Mount = "transit"
	}
	if c.Address == "" || c.Key == "" {
		return nil, errors.New("hashicorp: want an address and the name of a key")
	}
	var certificate func() (*tls.Certificate, error)
	if c.ClientCert != nil && c.ClientKey != nil {
		certificate = c.certificate
	}
	return &vaultKey{cfg: c, http: httpClient(c.RootCAs, certificate)}, nil
}

func (c Vault) certificate() (*tls.Certificate, error) {
	cert, err := c.ClientCert()
	if err != nil {
		return nil, err
	}
	key, err := c.ClientKey()
	if err != nil {
		return nil, err
	}
	pair, err := tls.X509KeyPair([]byte(cert), []byte(key))
	return &pair, err
}

// ID implements [seal.KEK]. It does not name the address, which may change.
func (k *vaultKey) ID() string {
	path := k.cfg.Mount + "/" + k.cfg.Key
	if k.cfg.Namespace != "" {
		path = k.cfg.Namespace + "/" + path
	}
	return "hashicorp:" + path
}

// Wrap implements [seal.KEK].
func (k *vaultKey) Wrap(ctx context.Context, key []byte, about string) ([]byte, error) {
	text, err := k.call(ctx, "encrypt", map[string]any{"plaintext": base64.StdEncoding.EncodeToString(key)}, about, "ciphertext")
	return []byte(text), err
}

// Unwrap implements [seal.KEK].
func (k *vaultKey) Unwrap(ctx context.Context, wrapped []byte, about string) ([]byte, error) {
	text, err := k.call(ctx, "decrypt", map[string]any{"ciphertext": string(wrapped)}, about, "plaintext")
	if err != nil {
		return nil, err
	}
	key, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return nil, fmt.Errorf("hashicorp: decrypt: %w: the answer is not base64", seal.ErrUnavailable)
	}
	return key, nil
}

func (k *vaultKey) call(ctx context.Context, op string, body map[string]any, about, field string) (string, error) {
	client, err := k.login(ctx)
	if err != nil {
		return "", err
	}
	if k.cfg.Token == nil { // ours; if it cannot be given back, it ends by itself
		defer func() {
			end, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
			defer cancel()
			_, _ = client.Logical().WriteWithContext(end, "auth/token/revoke-self", nil)
		}()
	}
	body["associated_data"] = base64.StdEncoding.EncodeToString([]byte(about))
	answer, err := client.Logical().WriteWithContext(ctx, k.cfg.Mount+"/"+op+"/"+k.cfg.Key, body)
	if err != nil {
		return "", vaultFault(op, err)
	}
	if answer != nil {
		if text, ok := answer.Data[field].(string); ok && text != "" {
			return text, nil
		}
	}
	return "", fault("hashicorp", op, "", false, nil)
}

// login makes a client with a token.
func (k *vaultKey) login(ctx context.Context) (*api.Client, error) {
	c := k.cfg
	client, err := api.NewClient(&api.Config{Address: c.Address, HttpClient: k.http, MaxRetries: 0, DisableRedirects: true})
	if err != nil {
		return nil, errors.New("hashicorp: the Vault client: a VAULT_ variable of the environment is malformed; unset it")
	}
	client.ClearToken()
	client.SetHeaders(http.Header{api.RequestHeaderName: {"true"}})
	client.SetWrappingLookupFunc(func(string, string) string { return "" })
	if c.Namespace != "" {
		client.SetNamespace(c.Namespace)
	}
	if c.Token != nil {
		token, err := c.Token()
		if err != nil {
			return nil, fmt.Errorf("hashicorp: the token cannot be read: %w", err)
		}
		client.SetToken(strings.TrimSpace(token))
		return client, nil
	}
	body, err := c.loginBody()
	if err != nil {
		return nil, err
	}
	answer, err := client.Logical().WriteWithContext(ctx, "auth/"+c.AuthMount+"/login", body)
	if err != nil {
		return nil, vaultFault("login", err)
	}
	if answer == nil || answer.Auth == nil || answer.Auth.ClientToken == "" {
		return nil, fault("hashicorp", "login", "", false, nil)
	}
	client.SetToken(answer.Auth.ClientToken)
	return client, nil
}

func (c Vault) loginBody() (map[string]any, error) {
	if c.RoleID != "" {
		secret, err := c.Secret()
		if err != nil {
			return nil, fmt.Errorf("hashicorp: the secret id cannot be read: %w", err)
		}
		return map[string]any{"role_id": c.RoleID, "secret_id": strings.TrimSpace(secret)}, nil
	}
	token, err := os.ReadFile(c.TokenFile)
	if err != nil {
		return nil, fmt.Errorf("hashicorp: the token to log in with cannot be read: %w", err)
	}
	return map[string]any{"role": c.Role, "jwt": strings.TrimSpace(string(token))}, nil
}

func vaultFault(call string, err error) error {
	var answer *api.ResponseError
	if !errors.As(err, &answer) {
		return fault("hashicorp", call, "", false, err)
	}
	if call == "decrypt" && answer.StatusCode == http.StatusBadRequest {
		return fmt.Errorf("hashicorp: decrypt: refused with 400: %w", seal.ErrDamaged)
	}
	again := answer.StatusCode >= 500 || answer.StatusCode == http.StatusTooManyRequests // sealed: 503
	return fault("hashicorp", call, strconv.Itoa(answer.StatusCode), again, err)
}
