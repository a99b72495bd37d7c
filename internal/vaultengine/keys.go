// SPDX-License-Identifier: Apache-2.0

package vaultengine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/ethereum/go-ethereum/crypto"
	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/helper/locksutil"
	"github.com/hashicorp/vault/sdk/logical"

	"github.com/hsmsigner/hsmsigner/internal/secp"
)

func nameField() *framework.FieldSchema {
	return &framework.FieldSchema{Type: framework.TypeString, Required: true, Description: "Name of the key: letters, digits and _ - . within."}
}

// newFields are the fields of a key that is being made.
func newFields(more map[string]*framework.FieldSchema) map[string]*framework.FieldSchema {
	more["name"] = nameField()
	more["tags"] = &framework.FieldSchema{Type: framework.TypeKVPairs, Description: "Names and values to find the key by."}
	more["exportable"] = &framework.FieldSchema{Type: framework.TypeBool, Description: "Whether the private key may be read. Cannot be changed later, and needs a mount that was enabled with -options=exportable=true."}
	return more
}

func (e *engine) keyPaths() []*framework.Path {
	return []*framework.Path{
		{
			Pattern: "keys/?$", Fields: pageFields(),
			Operations: map[logical.Operation]framework.OperationHandler{
				logical.ListOperation: operation(e.listKeys, "List the names of the keys."),
			},
			HelpSynopsis: "The names of the keys.",
		},
		{
			Pattern: "keys/" + framework.GenericNameRegex("name"),
			Fields: newFields(map[string]*framework.FieldSchema{
				"enabled": {Type: framework.TypeBool, Description: "Of a key that exists: whether it signs."},
				"address": {Type: framework.TypeString, Query: true, Description: "To switch or delete a key only if it has this address: the name may be another's by now."},
			}),
			ExistenceCheck: e.keyExists,
			Operations: map[logical.Operation]framework.OperationHandler{
				logical.CreateOperation: write(e.createKey, "Make a new key."),
				logical.UpdateOperation: write(e.updateKey, "Switch a key off or on."),
				logical.ReadOperation:   operation(e.readKey, "Read what is public of a key."),
				logical.DeleteOperation: write(e.deleteKey, "Delete a key for ever."),
			},
			HelpSynopsis:    "Make, read, switch off and delete keys.",
			HelpDescription: "A name may be used again after its key was deleted; the new key has another address.",
		},
	}
}

func (e *engine) listKeys(ctx context.Context, req *logical.Request, d *framework.FieldData) (*logical.Response, error) {
	return page(ctx, req, d, namePrefix, func(name string) (map[string]any, error) {
		address, r, err := lookup(ctx, req.Storage, name)
		var coded logical.HTTPCodedError
		if errors.As(err, &coded) {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		return r.public(address), nil
	})
}

func (e *engine) keyExists(ctx context.Context, req *logical.Request, d *framework.FieldData) (bool, error) {
	return nameTaken(ctx, req.Storage, d.Get("name").(string))
}

func nameTaken(ctx context.Context, s logical.Storage, name string) (bool, error) {
	_, _, err := lookup(ctx, s, name)
	var coded logical.HTTPCodedError
	if errors.As(err, &coded) && coded.Code() == http.StatusNotFound {
		return false, nil
	}
	return err == nil, err
}

func (e *engine) readKey(ctx context.Context, req *logical.Request, d *framework.FieldData) (*logical.Response, error) {
	address, r, err := lookup(ctx, req.Storage, d.Get("name").(string))
	if err != nil {
		return nil, err
	}
	return &logical.Response{Data: r.public(address)}, nil
}

func (e *engine) createKey(ctx context.Context, req *logical.Request, d *framework.FieldData) (*logical.Response, error) {
	for _, field := range []string{"enabled", "address"} {
		if _, given := d.GetOk(field); given {
			return nil, refuse(http.StatusNotFound, "there is no key named %q; leave %s out to make one", d.Get("name"), field)
		}
	}
	private, err := generate(e.GetRandomReader())
	if err != nil {
		return nil, err
	}
	defer clear(private)
	return e.store(ctx, req, d, private, false)
}

// generate makes a private key: 32 random bytes from 1 to n-1.
func generate(random io.Reader) ([]byte, error) {
	private := make([]byte, 32)
	for range 100 { // the first will do in all but one of 2¹²⁸ cases
		if _, err := io.ReadFull(random, private); err != nil {
			return nil, fmt.Errorf("random numbers: %w", err)
		}
		if _, err := publicKey(private); err == nil {
			return private, nil
		}
	}
	return nil, errors.New("random numbers: the source gives no usable ones")
}

// publicKey returns the public key of 32 bytes from 1 to n-1.
func publicKey(private []byte) (secp.PublicKey, error) {
	k, err := crypto.ToECDSA(private)
	if err != nil {
		return secp.PublicKey{}, errors.New("not a secp256k1 private key: want 32 bytes from 1 to n-1")
	}
	//lint:ignore SA1019 The words of D are the secret, and nothing else reaches them.
	defer clear(k.D.Bits()) //nolint:staticcheck // as above
	return secp.PublicKey(crypto.FromECDSAPub(&k.PublicKey)[1:]), nil
}

// expected is lookup for a key that is to be changed.
func expected(ctx context.Context, req *logical.Request, d *framework.FieldData) (string, record, error) {
	address, r, err := lookup(ctx, req.Storage, d.Get("name").(string))
	if want, given := d.GetOk("address"); err == nil && given && want != address {
		return "", record{}, refuse(http.StatusConflict, "the key named %q has another address", r.Name)
	}
	return address, r, err
}

// store writes a new key. The name comes first and the record last: what is
// left of an interrupted creation is a name that leads nowhere.
func (e *engine) store(ctx context.Context, req *logical.Request, d *framework.FieldData, private []byte, imported bool) (*logical.Response, error) {
	public, err := publicKey(private)
	if err != nil {
		return nil, refuse(http.StatusBadRequest, "%v", err)
	}
	name, address := d.Get("name").(string), addressText(public)
	defer e.lock(name, address)()

	m, err := settleMount(ctx, req.Storage, false)
	if err != nil {
		return nil, err
	}
	r := record{
		Name: name, PublicKey: public[:], Exportable: d.Get("exportable").(bool), Imported: imported,
		Tags: d.Get("tags").(map[string]string), Created: e.now(),
	}
	if r.Exportable && !m.Exportable {
		return nil, refuse(http.StatusBadRequest, "exportable: this mount was not enabled with -options=exportable=true")
	}
	if err := e.vacant(ctx, req.Storage, name, address); err != nil {
		return nil, err
	}
	for _, entry := range []struct {
		path  string
		value any
	}{{namePrefix + name, address}, {secretPrefix + address, secret{private}}, {recordPrefix + address, r}} {
		if err := put(ctx, req.Storage, entry.path, entry.value); err != nil {
			return nil, err
		}
	}
	return &logical.Response{Data: r.public(address)}, nil
}

// vacant returns an error if the name or the address has a key.
func (e *engine) vacant(ctx context.Context, s logical.Storage, name, address string) error {
	exists, err := nameTaken(ctx, s, name)
	if err != nil {
		return err
	}
	if exists {
		return refuse(http.StatusConflict, "there is a key named %q already", name)
	}
	var other record
	exists, err = get(ctx, s, recordPrefix+address, &other)
	if err != nil {
		return err
	}
	if exists {
		return refuse(http.StatusConflict, "the key of address %s is here already, as %q", address, other.Name)
	}
	return nil
}

func (e *engine) updateKey(ctx context.Context, req *logical.Request, d *framework.FieldData) (*logical.Response, error) {
	name := d.Get("name").(string)
	enabled, given := d.GetOk("enabled")
	if !given {
		return nil, refuse(http.StatusConflict, "there is a key named %q already", name)
	}
	for _, fixed := range []string{"exportable", "tags"} {
		if _, given := d.GetOk(fixed); given {
			return nil, refuse(http.StatusBadRequest, "%s: it was fixed when the key was made", fixed)
		}
	}
	defer e.lock(name)()
	address, r, err := expected(ctx, req, d)
	if err != nil {
		return nil, err
	}
	r.Disabled = !enabled.(bool)
	if err := put(ctx, req.Storage, recordPrefix+address, r); err != nil {
		return nil, err
	}
	return &logical.Response{Data: r.public(address)}, nil
}

// deleteKey takes away the secret first, without which nothing signs. If it is
// interrupted, the name still leads to the record: asked again, it finishes. As
// long as the record is there nobody else can store a key of this address.
func (e *engine) deleteKey(ctx context.Context, req *logical.Request, d *framework.FieldData) (*logical.Response, error) {
	name := d.Get("name").(string)
	defer e.lock(name)()
	address, _, err := expected(ctx, req, d)
	if err != nil {
		return nil, err
	}
	for _, path := range []string{secretPrefix + address, recordPrefix + address, namePrefix + name} {
		if err := req.Storage.Delete(ctx, path); err != nil {
			return nil, fmt.Errorf("write the storage: %w", err)
		}
	}
	return nil, nil
}

// lock takes the locks of names and addresses, always in the same order, and
// returns what releases them.
func (e *engine) lock(keys ...string) func() {
	held := locksutil.LocksForKeys(e.locks, keys)
	for _, l := range held {
		l.Lock()
	}
	return func() {
		for _, l := range held {
			l.Unlock()
		}
	}
}
