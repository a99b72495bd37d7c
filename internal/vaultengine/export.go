// SPDX-License-Identifier: Apache-2.0

package vaultengine

import (
	"context"
	"net/http"

	"github.com/ethereum/go-ethereum/common/hexutil"
	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"
)

func (e *engine) exportPaths() []*framework.Path {
	return []*framework.Path{{
		Pattern: "keys/" + framework.GenericNameRegex("name") + "/export",
		Fields:  map[string]*framework.FieldSchema{"name": nameField()},
		Operations: map[logical.Operation]framework.OperationHandler{
			logical.ReadOperation: operation(e.exportKey, "Read the private key."),
		},
		HelpSynopsis: "Read the private key of a key that was made exportable, in a mount that was.",
	}}
}

func (e *engine) exportKey(ctx context.Context, req *logical.Request, d *framework.FieldData) (*logical.Response, error) {
	address, r, err := lookup(ctx, req.Storage, d.Get("name").(string))
	if err != nil {
		return nil, err
	}
	var m mount
	if _, err := get(ctx, req.Storage, mountEntry, &m); err != nil {
		return nil, err
	}
	if !m.Exportable || !r.Exportable {
		return nil, refuse(http.StatusBadRequest, "key %q is not exportable, and cannot be made so", r.Name)
	}
	var text string
	err = withSecret(ctx, req.Storage, address, func(private []byte) error {
		text = hexutil.Encode(private)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &logical.Response{Data: map[string]any{"address": address, "name": r.Name, "private_key": text}}, nil
}
