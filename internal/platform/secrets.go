// SPDX-License-Identifier: Apache-2.0

package platform

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/hsmsigner/hsmsigner/internal/config"
	"github.com/hsmsigner/hsmsigner/internal/seal"
	"github.com/hsmsigner/hsmsigner/internal/strictjson"
)

// isSecret reports whether a member of details is never shown. Those of all
// providers are, whatever the provider is; of members that no provider has,
// those that sound like a secret.
func isSecret(name string) bool {
	if slices.Contains(config.SecretDetails(), name) {
		return true
	}
	s := strings.NewReplacer("_", "", "-", "", " ", "", ".", "").Replace(strings.ToLower(name))
	for _, word := range []string{"secret", "password", "passwd", "passphrase", "private", "credential", "apikey", "accesskey", "mnemonic", "bearer", "jwt"} {
		if strings.Contains(s, word) {
			return true
		}
	}
	return strings.HasSuffix(s, "token") || s == "pin" || s == "key" || strings.HasSuffix(s, "clientkey")
}

// split divides details into what is shown and what is sealed. Put over each
// other by join they are whole again.
func split(whole map[string]any) (shown, secret map[string]any) {
	shown, secret = make(map[string]any), make(map[string]any)
	for name, v := range whole {
		inner, isObject := v.(map[string]any)
		switch {
		case isSecret(name), !isObject && holdsSecret(v):
			secret[name] = v
		case isObject:
			open, hidden := split(inner)
			shown[name] = open
			if len(hidden) > 0 {
				secret[name] = hidden
			}
		default:
			shown[name] = v
		}
	}
	return shown, secret
}

// holdsSecret reports whether a list has a secret in some object of it.
func holdsSecret(v any) bool {
	switch v := v.(type) {
	case []any:
		return slices.ContainsFunc(v, holdsSecret)
	case map[string]any:
		for name, inner := range v {
			if isSecret(name) || holdsSecret(inner) {
				return true
			}
		}
	}
	return false
}

// join puts over on top of under, object by object.
func join(under, over map[string]any) map[string]any {
	out := make(map[string]any, len(under)+len(over))
	maps.Copy(out, under)
	for name, v := range over {
		below, ok := out[name].(map[string]any)
		above, isObject := v.(map[string]any)
		if ok && isObject {
			out[name] = join(below, above)
			continue
		}
		out[name] = v
	}
	return out
}

// merge applies a patch (RFC 7396): null takes a member away, objects are merged,
// the rest is replaced. changed names the members of the top that are not what
// they were.
func merge(whole map[string]any, patch strictjson.Value) (out map[string]any, changed []string) {
	out = make(map[string]any, len(whole))
	maps.Copy(out, whole)
	for _, m := range patch.Members {
		was, had := out[m.Name]
		switch inner, isObject := was.(map[string]any); {
		case m.Value.Kind == strictjson.Null:
			delete(out, m.Name)
			if had {
				changed = append(changed, m.Name)
			}
			continue
		case m.Value.Kind == strictjson.Object:
			if !isObject {
				inner = nil
			}
			out[m.Name], _ = merge(inner, m.Value)
		default:
			out[m.Name] = plain(m.Value)
		}
		if !had || !reflect.DeepEqual(was, out[m.Name]) {
			changed = append(changed, m.Name)
		}
	}
	return out, changed
}

// destinations are the details that say to whom the secrets are shown.
var destinations = []string{
	"provider", "target_address", "authority_address", "sts_address", "tagging_address", "vault_name", "tenant_id", "ca_cert", "module",
}

// unasked refuses a change of where a secret is sent by somebody who does not
// have it: otherwise whoever may write a secret could read it, at an address of
// his own. before and after are whole details, path is what leads to them.
func unasked(before, after map[string]any, patch strictjson.Value, path string) error {
	_, changed := merge(before, patch)
	for _, name := range changed {
		if !slices.Contains(destinations, name) {
			continue
		}
		if secret := unsaid(after, patch); secret != "" {
			return invalid(path+name, "says where %s%s is sent: want that again beside it", path, secret)
		}
	}
	if inner, ok := after["admin"].(map[string]any); ok {
		was, _ := before["admin"].(map[string]any)
		return unasked(was, inner, patch.Get("admin"), path+"admin.")
	}
	return nil
}

// unsaid is the path of a secret that stays as it was; empty if there is none.
func unsaid(after map[string]any, patch strictjson.Value) string {
	for _, name := range []string{"user_secret", "client_cert"} {
		if _, have := after[name]; have && patch.Get(name).Kind == strictjson.Absent {
			return name
		}
	}
	if inner, ok := after["admin"].(map[string]any); ok {
		if name := unsaid(inner, patch.Get("admin")); name != "" {
			return "admin." + name
		}
	}
	return ""
}

// confided is what is sealed of a configuration or a node: its secrets, and with
// them what says to whom they are shown, as the API was told it. What stands in
// the row in clear may have been changed by somebody who has not the key.
type confided struct {
	Secret  map[string]any `json:"secret"`
	Details map[string]any `json:"details,omitempty"`  // shown ones of a configuration, all
	ChainID uint64         `json:"chain_id,omitempty"` // of a node
}

// errAltered is what a tenant learns of a row that was changed by others than the
// API: nothing is done with it.
var errAltered = errors.New("its configuration or its node was changed in the database, outside of the API, and its credentials are therefore not used: PATCH the details of the configuration, or the urls of the node, which makes it what the API knows")

// seal encrypts the secrets of a row, with what stands beside them in it.
func (p *Platform) seal(ctx context.Context, r row, secret map[string]any) ([]byte, error) {
	text, err := json.Marshal(confided{Secret: secret, Details: r.data.Details, ChainID: r.data.ChainID})
	if err != nil {
		return nil, errors.New("platform: secrets cannot be written as JSON") // the cause may quote one
	}
	defer clear(text)
	if len(text) > 2*maxStored {
		return nil, tooMuch()
	}
	sealed, err := p.cfg.Sealer.Seal(ctx, seal.OfResource(r.Resource), text)
	if err != nil {
		return nil, fmt.Errorf("platform: seal the secrets of %s %s: %w", r.kind().one(), r.ID, err)
	}
	return sealed, nil
}

// open decrypts what was sealed of a row; its zero value if the row is new.
func (p *Platform) open(ctx context.Context, r row) (confided, error) {
	if r.Revision == 0 {
		return confided{}, nil
	}
	text, err := p.cfg.Sealer.Open(ctx, seal.OfResource(r.Resource), r.Sealed)
	if err != nil {
		return confided{}, fmt.Errorf("platform: open the secrets of %s %s: %w", r.kind().one(), r.ID, err)
	}
	defer clear(text)
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	var c confided
	if decoder.Decode(&c) != nil {
		return confided{}, fmt.Errorf("platform: the secrets of %s %s are not what was sealed", r.kind().one(), r.ID)
	}
	return c, nil
}

// altered reports whether a row says something else than what was sealed of it.
func (c confided) altered(r row) bool {
	same := len(c.Details) == 0 && len(r.data.Details) == 0 || reflect.DeepEqual(c.Details, r.data.Details)
	return !same || c.ChainID != r.data.ChainID
}

// unaltered decrypts the secrets of a row that is to be used as it is.
func (p *Platform) unaltered(ctx context.Context, r row) (map[string]any, error) {
	c, err := p.open(ctx, r)
	if err == nil && c.altered(r) {
		err = errAltered
	}
	if err == nil {
		return c.Secret, nil
	}
	p.cfg.Logger.ErrorContext(ctx, "credentials cannot be used", "kind", r.Kind, "id", r.ID, "err", err)
	return nil, unsealedWith(err)
}
