// SPDX-License-Identifier: Apache-2.0

package vaultengine

import (
	"context"
	"net/http"
	"regexp"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"
)

// anyAddress matches every spelling, so that a wrong one gets an answer that
// says so. Only lower case is served: Vault's policies compare paths byte by
// byte, and a second spelling would be a way around them.
const anyAddress = `(?P<address>0[xX][0-9a-fA-F]{40})`

var lowerAddress = regexp.MustCompile(`^0x[0-9a-f]{40}$`)

func addressField() *framework.FieldSchema {
	return &framework.FieldSchema{Type: framework.TypeString, Required: true, Description: "Address of the key: 0x and 40 hexadecimal digits in lower case."}
}

// addressOf is the address in the path.
func addressOf(d *framework.FieldData) (string, error) {
	address := d.Get("address").(string)
	if !lowerAddress.MatchString(address) {
		return "", refuse(http.StatusBadRequest, "write the address in lower case: policies compare paths letter by letter")
	}
	return address, nil
}

func (e *engine) addressPaths() []*framework.Path {
	return []*framework.Path{
		{
			Pattern: "addresses/?$", Fields: pageFields(),
			Operations: map[logical.Operation]framework.OperationHandler{
				logical.ListOperation: operation(e.listAddresses, "List the addresses that keys are kept for."),
			},
			HelpSynopsis: "The addresses that keys are kept for.",
		},
		{
			Pattern: "addresses/" + anyAddress, Fields: map[string]*framework.FieldSchema{"address": addressField()},
			Operations: map[logical.Operation]framework.OperationHandler{
				logical.ReadOperation: operation(e.readAddress, "Read what is public of one key."),
			},
			HelpSynopsis: "What is public of the key of one address.",
		},
	}
}

func (e *engine) listAddresses(ctx context.Context, req *logical.Request, d *framework.FieldData) (*logical.Response, error) {
	return page(ctx, req, d, recordPrefix, func(address string) (map[string]any, error) {
		var r record
		if found, err := get(ctx, req.Storage, recordPrefix+address, &r); err != nil || !found {
			return nil, err
		}
		return r.public(address), nil
	})
}

func (e *engine) readAddress(ctx context.Context, req *logical.Request, d *framework.FieldData) (*logical.Response, error) {
	address, err := addressOf(d)
	if err != nil {
		return nil, err
	}
	r, err := find(ctx, req.Storage, address)
	if err != nil {
		return nil, err
	}
	return &logical.Response{Data: r.public(address)}, nil
}
