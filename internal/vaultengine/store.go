// SPDX-License-Identifier: Apache-2.0

package vaultengine

import (
	"context"
	"fmt"
	"net/http"
	"sort"
	"time"

	"github.com/ethereum/go-ethereum/common/hexutil"
	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"
)

// The storage of a mount. A name leads to an address, an address to what is
// public of its key and, apart from it, to what is secret: listings decrypt
// nothing secret. A name without its record is what an interrupted creation
// left, even if the address has come to another name since; it counts as absent
// and may be used again.
const (
	mountEntry    = "mount"
	wrappingEntry = "wrapping-key"
	namePrefix    = "name/"   // name → address
	recordPrefix  = "key/"    // address → record
	secretPrefix  = "secret/" // address → secret
)

// mount is what is fixed for ever when a mount is made.
type mount struct {
	Exportable bool `json:"exportable"`
}

// record is what is public of a key. Only Disabled ever changes.
type record struct {
	Name       string            `json:"name"`
	PublicKey  []byte            `json:"public_key"` // X‖Y
	Exportable bool              `json:"exportable"`
	Imported   bool              `json:"imported"`
	Disabled   bool              `json:"disabled"`
	Tags       map[string]string `json:"tags,omitempty"`
	Created    time.Time         `json:"created"`
}

type secret struct {
	PrivateKey []byte `json:"private_key"` // 32 bytes, big-endian
}

// settleMount returns what was stored of the mount, after storing it if that
// never happened.
func settleMount(ctx context.Context, s logical.Storage, exportable bool) (mount, error) {
	var m mount
	found, err := get(ctx, s, mountEntry, &m)
	if err != nil || found {
		return m, err
	}
	m.Exportable = exportable
	return m, put(ctx, s, mountEntry, m)
}

// find returns the record of an address, or an error with status 404.
func find(ctx context.Context, s logical.Storage, address string) (record, error) {
	var r record
	found, err := get(ctx, s, recordPrefix+address, &r)
	if err == nil && !found {
		err = refuse(http.StatusNotFound, "there is no key of address %s", address)
	}
	return r, err
}

// lookup returns the address and record of a name, or an error with status 404.
func lookup(ctx context.Context, s logical.Storage, name string) (string, record, error) {
	var address string
	var r record
	found, err := get(ctx, s, namePrefix+name, &address)
	if err == nil && found {
		found, err = get(ctx, s, recordPrefix+address, &r)
	}
	if err == nil && (!found || r.Name != name) {
		return "", record{}, refuse(http.StatusNotFound, "there is no key named %q", name)
	}
	return address, r, err
}

// withSecret calls f with the private key of an address, and wipes it after.
// The entry that it was read from is the storage's own and is left alone.
func withSecret(ctx context.Context, s logical.Storage, address string, f func(private []byte) error) error {
	var k secret
	found, err := get(ctx, s, secretPrefix+address, &k)
	defer clear(k.PrivateKey)
	if err != nil {
		return err
	}
	if !found {
		return refuse(http.StatusNotFound, "there is no key of address %s", address)
	}
	return f(k.PrivateKey)
}

// get reads one entry. Its errors hold nothing of the entry.
func get(ctx context.Context, s logical.Storage, path string, into any) (bool, error) {
	entry, err := s.Get(ctx, path)
	if err != nil {
		return false, fmt.Errorf("read the storage: %w", err)
	}
	if entry == nil {
		return false, nil
	}
	if entry.DecodeJSON(into) != nil {
		return false, fmt.Errorf("read the storage: entry %s is damaged", path)
	}
	return true, nil
}

func put(ctx context.Context, s logical.Storage, path string, value any) error {
	entry, err := logical.StorageEntryJSON(path, value)
	if err != nil {
		return fmt.Errorf("write the storage: %w", err)
	}
	if err := s.Put(ctx, entry); err != nil {
		return fmt.Errorf("write the storage: %w", err)
	}
	return nil
}

// maxPage bounds how many entries one listing with details reads.
const maxPage = 1000

// pageFields are the fields of a listing.
func pageFields() map[string]*framework.FieldSchema {
	return map[string]*framework.FieldSchema{
		"after": {Type: framework.TypeString, Query: true, Description: "Begin after this entry."},
		"limit": {Type: framework.TypeInt, Query: true, Description: fmt.Sprintf(
			"Return at most so many entries, 1 to %d, with details of each. Without it all entries are returned, without details.", maxPage)},
	}
}

// page lists what is stored under prefix, in order; detail says what is public
// of one entry, nil if it is to be left out.
func page(ctx context.Context, req *logical.Request, d *framework.FieldData, prefix string, detail func(entry string) (map[string]any, error)) (*logical.Response, error) {
	all, err := req.Storage.List(ctx, prefix)
	if err != nil {
		return nil, fmt.Errorf("list the storage: %w", err)
	}
	sort.Strings(all)
	if after, ok := d.GetOk("after"); ok {
		i := sort.SearchStrings(all, after.(string))
		if i < len(all) && all[i] == after {
			i++
		}
		all = all[i:]
	}
	given, ok := d.GetOk("limit")
	if !ok {
		return logical.ListResponse(all), nil
	}
	limit := given.(int)
	if limit < 1 || limit > maxPage {
		return nil, refuse(http.StatusBadRequest, "limit is %d, want 1 to %d", limit, maxPage)
	}
	all = all[:min(limit, len(all))]
	info := make(map[string]any, len(all))
	for _, entry := range all {
		values, err := detail(entry)
		if err != nil {
			return nil, err
		}
		if values != nil {
			info[entry] = values
		}
	}
	return logical.ListResponseWithInfo(all, info), nil
}

// public is what responses say of a key.
func (r record) public(address string) map[string]any {
	return map[string]any{
		"address": address, "name": r.Name,
		"public_key": hexutil.Encode(append([]byte{4}, r.PublicKey...)), // uncompressed, SEC 1
		"exportable": r.Exportable, "imported": r.Imported, "enabled": !r.Disabled,
		"tags": r.Tags, "created_time": r.Created.UTC().Format(time.RFC3339),
	}
}
