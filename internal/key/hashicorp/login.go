// SPDX-License-Identifier: Apache-2.0

package hashicorp

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"strings"

	"github.com/hashicorp/vault/api"
	"github.com/hashicorp/vault/api/auth/approle"
	"github.com/hashicorp/vault/api/auth/kubernetes"

	"github.com/hsmsigner/hsmsigner/internal/key"
)

// credential reads what we log in with: a token, a secret id or a JWT. What
// went wrong is said without the error of the function, which may name what a
// tenant must not see.
func (v *vault) credential() (string, error) {
	var text string
	var err error
	what := "the token"
	switch c := v.cfg; {
	case c.Token != nil:
		text, err = c.Token()
	case c.RoleID != "":
		what = "the secret id"
		text, err = c.Secret()
	default:
		what = "the file of the token to log in with"
		l := c.Kubernetes
		if l == nil {
			l = c.JWT
		}
		var content []byte
		content, err = os.ReadFile(l.File)
		text = string(content)
	}
	text = strings.TrimSpace(text)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return "", &key.CallError{Op: "log in", Kind: key.ErrUnavailable, Why: what + " cannot be read: there is no such file"}
	case err != nil:
		return "", &key.CallError{Op: "log in", Kind: key.ErrUnavailable, Why: what + " cannot be read"}
	case text == "":
		return "", &key.CallError{Op: "log in", Kind: key.ErrDenied, Why: what + " is empty"}
	case strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r > '~' }):
		return "", &key.CallError{Op: "log in", Kind: key.ErrDenied, Why: what + " holds spaces or characters that no credential has"}
	}
	return text, nil
}

// enter gets a token for a credential.
func (v *vault) enter(ctx context.Context, credential string) (grant, error) {
	if v.cfg.Token != nil {
		return v.lookup(ctx, credential)
	}
	secret, err := v.enterBy(ctx, credential)
	if err != nil {
		return grant{}, err
	}
	if secret == nil || secret.Auth == nil || secret.Auth.ClientToken == "" {
		return grant{}, errNotVault // or a second factor is wanted, which a daemon has not
	}
	a := secret.Auth
	return grant{
		Token: a.ClientToken, Policies: a.Policies, Identity: a.IdentityPolicies,
		LeaseDuration: int64(a.LeaseDuration), Renewable: a.Renewable,
	}, nil
}

func (v *vault) enterBy(ctx context.Context, credential string) (*api.Secret, error) {
	c := v.cfg
	switch {
	case c.RoleID != "":
		method, err := approle.NewAppRoleAuth(c.RoleID, &approle.SecretID{FromString: credential}, approle.WithMountPath(c.AuthMount))
		if err != nil {
			return nil, err
		}
		return method.Login(ctx, v.anon)
	case c.Kubernetes != nil:
		method, err := kubernetes.NewKubernetesAuth(c.Kubernetes.Role, kubernetes.WithServiceAccountToken(credential), kubernetes.WithMountPath(c.AuthMount))
		if err != nil {
			return nil, err
		}
		return method.Login(ctx, v.anon)
	default:
		return v.anon.Logical().WriteWithContext(ctx, "auth/"+c.AuthMount+"/login", map[string]any{"role": c.JWT.Role, "jwt": credential})
	}
}

// lookup asks Vault what a given token is. A token that may not look itself up
// is not root, which may; it is used as it is, and not renewed.
func (v *vault) lookup(ctx context.Context, token string) (grant, error) {
	client, err := v.anon.Clone()
	if err != nil {
		return grant{}, err
	}
	client.SetHeaders(v.anon.Headers())
	client.SetMaxRetries(0)
	client.SetToken(token)
	r, _, err := v.exchange(ctx, func(ctx context.Context, client *api.Client) (*api.Response, error) {
		return client.Logical().ReadRawWithContext(ctx, "auth/token/lookup-self")
	}, client)
	var answer *api.ResponseError
	if errors.As(err, &answer) && answer.StatusCode == 403 && !says(answer, "invalid token") && !says(answer, "bad token") {
		v.cfg.Logger.Warn("Vault's token may not look itself up, so it is used as it is and not renewed; give it the policy default")
		return grant{Token: token}, nil
	}
	if err != nil {
		return grant{}, err
	}
	var g grant
	if json.Unmarshal(r.Data, &g) != nil {
		return grant{}, errNotVault
	}
	g.Token = token
	return g, nil
}

// refusedLogin says what may be wrong with a login that Vault refused.
func (v *vault) refusedLogin() string {
	at := " at auth/" + v.inNamespace() + v.cfg.AuthMount + "/login: "
	switch c := v.cfg; {
	case c.RoleID != "":
		return "Vault refuses the AppRole login" + at + "role_id or secret id is wrong, the secret id has expired or is used up, or this address is not in its CIDR list"
	case c.Kubernetes != nil:
		return "Vault refuses the Kubernetes login" + at + "check the role " + c.Kubernetes.Role + ", its service account and namespace, and the audience of the token"
	default:
		return "Vault refuses the JWT login" + at + "check the role " + c.JWT.Role + ", its bound claims, and whether the token in the file has expired"
	}
}
