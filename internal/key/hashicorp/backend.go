// SPDX-License-Identifier: Apache-2.0

package hashicorp

import (
	"context"
	"encoding/hex"
	"errors"
	"strconv"
	"strings"
	"sync"

	"github.com/ethereum/go-ethereum/common"

	"github.com/hsmsigner/hsmsigner/internal/key"
	"github.com/hsmsigner/hsmsigner/internal/secp"
)

// pageSize is how many keys one call of a listing returns with their details.
const pageSize = 500

// Backend signs with HSM Signer's own engine. A reference is the mount and the
// address, which no other key can ever have; a key's name may be given to
// another key after it was deleted.
type Backend struct {
	*vault
	publics sync.Map // address in lower case → secp.PublicKey, as listed
}

var _ interface {
	key.Backend
	key.Creator
	key.Importer
	key.Enabler
	key.Deleter
} = (*Backend)(nil)

// entry is what the engine says of a key.
type entry struct {
	Address   string            `json:"address"`
	Name      string            `json:"name"`
	PublicKey string            `json:"public_key"`
	Enabled   bool              `json:"enabled"`
	Tags      map[string]string `json:"tags"`
}

// Keys lists pages of 500 keys, each with one call.
func (b *Backend) Keys(ctx context.Context, cursor string) (key.Page, error) {
	c := call{op: "list keys", path: b.cfg.Mount + "/addresses", right: "list", query: map[string][]string{"list": {"true"}, "limit": {strconv.Itoa(pageSize)}}}
	if cursor != "" {
		c.query["after"] = []string{cursor}
	}
	var list struct {
		Keys []string         `json:"keys"`
		Info map[string]entry `json:"key_info"`
	}
	if _, err := b.read(ctx, c, &list); err != nil {
		if emptyList(err) {
			return key.Page{}, nil
		}
		return key.Page{}, err
	}
	if len(list.Keys) > pageSize {
		return key.Page{}, &key.CallError{Op: c.op, Kind: key.ErrBadResponse, Why: b.wrongEngine(200)}
	}
	var page key.Page
	names := make([]string, 0, len(list.Keys))
	for _, address := range list.Keys {
		e, ok := list.Info[address]
		if !ok {
			continue // it was deleted while the engine listed
		}
		k, err := b.describe(address, e)
		if err != nil {
			page.Problems = append(page.Problems, key.Problem{Name: address, Reason: err.Error()})
			continue
		}
		page.Keys = append(page.Keys, k)
		names = append(names, "keys/"+e.Name+"/export")
	}
	b.warnOfExports(ctx, names)
	if len(list.Keys) == pageSize {
		page.Next = list.Keys[pageSize-1]
	}
	return page, nil
}

// describe checks what the engine says of a key and remembers its public key.
func (b *Backend) describe(address string, e entry) (key.Key, error) {
	public, derived, err := e.public(address)
	if err != nil {
		return key.Key{}, err
	}
	b.publics.Store(address, public)
	k := key.Key{
		Ref: b.ref(address), Name: e.Name, Address: derived, Protection: key.Software, State: key.Enabled, Tags: e.Tags,
	}
	if !e.Enabled {
		k.State, k.Reason = key.Disabled, "switched off in Vault"
	}
	return k, nil
}

func (e entry) public(address string) (public secp.PublicKey, derived common.Address, err error) {
	point, err := hex.DecodeString(strings.TrimPrefix(e.PublicKey, "0x"))
	if err != nil {
		return public, derived, errors.New("the engine gives no public key for it")
	}
	if public, err = secp.ParsePoint(point); err != nil {
		return public, derived, errors.New("the engine gives no secp256k1 public key for it")
	}
	derived = public.Address()
	if e.Address != address || lower(derived) != address || e.Name == "" {
		return public, derived, errors.New("the engine gives the public key of another address for it")
	}
	return public, derived, nil
}

// PublicKey asks Vault unless the key has been listed.
func (b *Backend) PublicKey(ctx context.Context, ref key.Ref) (secp.PublicKey, error) {
	const op = "public key"
	if err := b.usable(ctx, op); err != nil {
		return secp.PublicKey{}, err
	}
	address, err := b.address(op, ref)
	if err != nil {
		return secp.PublicKey{}, err
	}
	if known, ok := b.publics.Load(address); ok {
		return known.(secp.PublicKey), nil
	}
	e, err := b.lookupKey(ctx, op, ref, address)
	if err != nil {
		return secp.PublicKey{}, err
	}
	k, err := b.describe(address, e)
	if err != nil {
		return secp.PublicKey{}, &key.CallError{Op: op, Ref: ref, Kind: key.ErrBadResponse, Why: err.Error()}
	}
	known, _ := b.publics.Load(lower(k.Address))
	return known.(secp.PublicKey), nil
}

func (b *Backend) lookupKey(ctx context.Context, op string, ref key.Ref, address string) (e entry, err error) {
	_, err = b.read(ctx, call{op: op, ref: ref, path: b.cfg.Mount + "/addresses/" + address, right: "read"}, &e)
	return e, err
}

// ref is the reference of an address; address takes it apart again.
func (v *vault) ref(address string) key.Ref { return key.Ref(v.cfg.Mount + "/" + address) }

func (v *vault) address(op string, ref key.Ref) (string, error) {
	address, ok := strings.CutPrefix(string(ref), v.cfg.Mount+"/")
	if !ok || !lowAddress.MatchString(address) {
		return "", &key.CallError{Op: op, Ref: ref, Kind: key.ErrNotFound, Why: "it is not a reference to a key at " + v.cfg.Mount + "/"}
	}
	return address, nil
}

func lower(a common.Address) string { return strings.ToLower(a.Hex()) }
