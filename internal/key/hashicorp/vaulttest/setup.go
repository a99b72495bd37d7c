// SPDX-License-Identifier: Apache-2.0

//go:build unix

package vaulttest

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/ethereum/go-ethereum/common"
)

// The shipped policies, packaging/vault/*.hcl. For a mount other than [Mount]
// the name of the policy in Vault is "<mount with - for />-<policy>".
const (
	Administrator     = "administrator"
	DigestSigner      = "digest-signer"
	TransactionSigner = "transaction-signer"
)

// Write writes to a path as root.
func (s *Server) Write(ctx context.Context, path string, data map[string]any) error {
	if _, err := s.client.Logical().WriteWithContext(ctx, path, data); err != nil {
		return fmt.Errorf("vaulttest: %w: %s", err, s.Log())
	}
	return nil
}

// Remove deletes a path as root.
func (s *Server) Remove(ctx context.Context, path string) error {
	if _, err := s.client.Logical().DeleteWithContext(ctx, path); err != nil {
		return fmt.Errorf("vaulttest: %w", err)
	}
	return nil
}

// MountEngine mounts the engine once more, and writes the three policies for it.
func (s *Server) MountEngine(ctx context.Context, mount string, exportable bool) error {
	options := map[string]any{}
	if exportable {
		options["exportable"] = "true"
	}
	if err := s.Write(ctx, "sys/mounts/"+mount, map[string]any{"type": pluginName, "options": options}); err != nil {
		return err
	}
	root, err := moduleRoot(ctx)
	if err != nil {
		return err
	}
	for _, name := range []string{Administrator, DigestSigner, TransactionSigner} {
		text, err := os.ReadFile(filepath.Join(root, "packaging", "vault", name+".hcl"))
		if err != nil {
			return fmt.Errorf("vaulttest: %w", err)
		}
		policy := strings.ReplaceAll(string(text), `"hsmsigner/`, `"`+mount+`/`)
		if err := s.Write(ctx, "sys/policies/acl/"+PolicyName(mount, name), map[string]any{"policy": policy}); err != nil {
			return err
		}
	}
	return nil
}

// PolicyName is the name of a shipped policy for a mount.
func PolicyName(mount, policy string) string {
	if mount == Mount {
		return policy
	}
	return strings.ReplaceAll(mount, "/", "-") + "-" + policy
}

// CreateKey makes a key as root and returns its address.
func (s *Server) CreateKey(ctx context.Context, mount, name string) (common.Address, error) {
	secret, err := s.client.Logical().WriteWithContext(ctx, mount+"/keys/"+name, map[string]any{})
	if err != nil {
		return common.Address{}, fmt.Errorf("vaulttest: %w", err)
	}
	text, _ := secret.Data["address"].(string)
	return common.HexToAddress(text), nil
}

// Role is an AppRole.
type Role struct {
	Name   string
	RoleID string
}

// AppRole makes a role whose tokens have the policies; more are parameters of
// auth/approle/role, such as token_ttl.
func (s *Server) AppRole(ctx context.Context, name string, policies []string, more map[string]any) (Role, error) {
	data := map[string]any{"token_policies": policies, "token_ttl": "20m", "token_max_ttl": "30m"}
	for k, v := range more {
		data[k] = v
	}
	if err := s.Write(ctx, "auth/approle/role/"+name, data); err != nil {
		return Role{}, err
	}
	secret, err := s.client.Logical().ReadWithContext(ctx, "auth/approle/role/"+name+"/role-id")
	if err != nil {
		return Role{}, fmt.Errorf("vaulttest: %w", err)
	}
	id, _ := secret.Data["role_id"].(string)
	return Role{Name: name, RoleID: id}, nil
}

// SecretID makes a new secret id of a role.
func (s *Server) SecretID(ctx context.Context, role Role) (string, error) {
	secret, err := s.client.Logical().WriteWithContext(ctx, "auth/approle/role/"+role.Name+"/secret-id", map[string]any{})
	if err != nil {
		return "", fmt.Errorf("vaulttest: %w", err)
	}
	id, _ := secret.Data["secret_id"].(string)
	return id, nil
}

// RevokeSecretID destroys a secret id. The tokens that it gave go on.
func (s *Server) RevokeSecretID(ctx context.Context, role Role, secretID string) error {
	return s.Write(ctx, "auth/approle/role/"+role.Name+"/secret-id/destroy", map[string]any{"secret_id": secretID})
}

// Token makes a token with the policies; more are parameters of
// auth/token/create, such as ttl.
func (s *Server) Token(ctx context.Context, policies []string, more map[string]any) (string, error) {
	data := map[string]any{"policies": policies, "no_parent": true}
	for k, v := range more {
		data[k] = v
	}
	secret, err := s.client.Logical().WriteWithContext(ctx, "auth/token/create", data)
	if err != nil {
		return "", fmt.Errorf("vaulttest: %w", err)
	}
	return secret.Auth.ClientToken, nil
}

// RevokeToken ends a token.
func (s *Server) RevokeToken(ctx context.Context, token string) error {
	return s.Write(ctx, "auth/token/revoke", map[string]any{"token": token})
}

// RevokeLogins ends every token that came from an auth method mounted at path.
func (s *Server) RevokeLogins(ctx context.Context, path string) error {
	return s.Write(ctx, "sys/leases/revoke-prefix/auth/"+path, map[string]any{})
}
