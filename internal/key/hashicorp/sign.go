// SPDX-License-Identifier: Apache-2.0

package hashicorp

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/hashicorp/vault/api"

	"github.com/hsmsigner/hsmsigner/internal/key"
	"github.com/hsmsigner/hsmsigner/internal/secp"
)

// SignDigest costs one call. Its RequestID is the id of that request in Vault's
// audit log.
func (b *Backend) SignDigest(ctx context.Context, ref key.Ref, digest [32]byte) (key.Signature, error) {
	const op = "sign"
	if err := b.usable(ctx, op); err != nil {
		return key.Signature{}, err
	}
	address, err := b.address(op, ref)
	if err != nil {
		return key.Signature{}, err
	}
	var answer struct {
		Address   string `json:"address"`
		Signature string `json:"signature"`
	}
	c := call{op: op, ref: ref, path: b.cfg.Mount + "/sign/" + address, right: "update"}
	body := []byte(`{"digest":"` + hex.EncodeToString(digest[:]) + `"}`)
	id, err := b.do(ctx, c, sending(c.path, body), &answer)
	if err != nil {
		return key.Signature{}, err
	}
	sig, err := parseSignature(answer.Address, address, answer.Signature)
	if err != nil {
		return key.Signature{}, &key.CallError{Op: op, Ref: ref, Kind: key.ErrBadResponse, Why: err.Error(), RequestID: id}
	}
	sig.RequestID = id
	return sig, nil
}

// sending is one write without the SDK's retries.
func sending(path string, body []byte) sender {
	return func(ctx context.Context, client *api.Client) (*api.Response, error) {
		return client.Logical().WriteRawWithContext(ctx, path, body)
	}
}

// parseSignature reads r‖s‖v in hexadecimal, v ∈ {0,1}.
func parseSignature(got, want, text string) (key.Signature, error) {
	if got != want {
		return key.Signature{}, fmt.Errorf("the engine answered for another address")
	}
	digits, ok := strings.CutPrefix(text, "0x")
	raw, err := hex.DecodeString(digits)
	if !ok || err != nil || len(raw) != 65 {
		return key.Signature{}, fmt.Errorf("the signature is not 65 bytes in hexadecimal")
	}
	r, s, err := secp.ParseP1363(raw[:64])
	if err != nil {
		return key.Signature{}, fmt.Errorf("the signature has an r or s that no signature has")
	}
	if raw[64] > 1 {
		return key.Signature{}, fmt.Errorf("the recovery id is neither 0 nor 1")
	}
	return key.Signature{R: r, S: s, Hint: raw[64]}, nil
}

// warnOfExports warns once of a token that may read private keys. paths are
// below the mount.
func (v *vault) warnOfExports(ctx context.Context, paths []string) {
	v.auth.mu.Lock()
	token := v.auth.token
	done := token == "" || v.auth.checked == token
	v.auth.checked = token
	v.auth.mu.Unlock()
	if done || len(paths) == 0 {
		return
	}
	for i, path := range paths {
		paths[i] = v.cfg.Mount + "/" + path
	}
	body, err := json.Marshal(map[string]any{"paths": paths})
	if err != nil {
		return
	}
	const path = "sys/capabilities-self"
	r, _, err := v.exchange(ctx, sending(path, body), v.http)
	capabilities := map[string]json.RawMessage{}
	if err != nil || json.Unmarshal(r.Data, &capabilities) != nil {
		v.cfg.Logger.Warn("it cannot be told whether Vault's token may read private keys; give it the policy default")
		return
	}
	for _, path := range paths {
		var rights []string
		if json.Unmarshal(capabilities[path], &rights) != nil {
			continue
		}
		for _, right := range rights {
			if right == "read" || right == "sudo" || right == "root" {
				v.cfg.Logger.Warn("Vault's token may read private keys: take read on the export path from its policy", "path", path)
				return
			}
		}
	}
}
