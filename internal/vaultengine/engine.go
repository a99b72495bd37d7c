// SPDX-License-Identifier: Apache-2.0

// Package vaultengine is a secrets engine for HashiCorp Vault that keeps
// secp256k1 keys in Vault's encrypted storage and signs for Ethereum with them.
//
// What people and programs may do is split by path, so that plain Vault
// policies tell them apart:
//
//	LIST addresses                    the addresses            (users)
//	GET  addresses/:address           one of them
//	POST sign/:address                a 32-byte digest         (the HSM Signer daemon)
//	POST sign-transaction/:address    a transaction            (people, other programs)
//	LIST keys                         the names                (administrators)
//	POST keys/:name                   create; of an existing key: switch off and on
//	GET  keys/:name, DELETE keys/:name
//	GET  wrapping-key                 the RSA key to import under
//	POST keys/:name/import            a wrapped private key
//	GET  keys/:name/export            the private key
//
// A private key leaves only through the last of them, and only if both the
// mount and the key were made exportable when they were made; nothing turns
// that on later. No other response, and no error or log line, holds a private
// key. Every signature is deterministic (RFC 6979), has its s in the lower half
// (EIP-2), and was checked to recover to its address before it is returned.
package vaultengine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/helper/locksutil"
	"github.com/hashicorp/vault/sdk/logical"
)

const help = `
Keeps secp256k1 keys in Vault's encrypted storage and signs Ethereum
transactions and digests with them. See packaging/vault in HSM Signer's
repository for the three policies that go with it.
`

// engine is one mount. It caches nothing, so that replicas of the cluster need
// no invalidation: each signature reads two entries of the storage.
type engine struct {
	*framework.Backend

	// exportable is what the options of the mount say now. It counts once, when
	// the mount is first initialised.
	exportable bool
	now        func() time.Time
	locks      []*locksutil.LockEntry // by name and by address; taken to write
}

// Factory makes the engine of one mount; Vault calls it.
func Factory(ctx context.Context, conf *logical.BackendConfig) (logical.Backend, error) {
	if conf == nil {
		return nil, errors.New("vaultengine: no configuration")
	}
	e := &engine{now: time.Now, locks: locksutil.CreateLocks()}
	switch given := conf.Config["exportable"]; given {
	case "", "false":
	case "true":
		e.exportable = true
	default:
		return nil, fmt.Errorf("vaultengine: option exportable is %q, want true or false", given)
	}
	e.Backend = &framework.Backend{
		Help:        strings.TrimSpace(help),
		BackendType: logical.TypeLogical,
		PathsSpecial: &logical.Paths{
			// Only what is secret: on Vault Enterprise with seal wrap each of
			// these costs a call to the HSM.
			SealWrapStorage: []string{secretPrefix, wrappingEntry},
		},
		Paths: framework.PathAppend(
			e.addressPaths(), e.signPaths(), e.transactionPaths(), e.keyPaths(), e.importPaths(), e.exportPaths()),
		InitializeFunc: e.initialize,
	}
	if err := e.Setup(ctx, conf); err != nil {
		return nil, fmt.Errorf("vaultengine: %w", err)
	}
	return e, nil
}

// initialize settles at the first mount whether its keys may be exportable.
// Afterwards only the stored answer counts: `vault secrets tune` changes nothing.
func (e *engine) initialize(ctx context.Context, req *logical.InitializationRequest) error {
	_, err := settleMount(ctx, req.Storage, e.exportable)
	if errors.Is(err, logical.ErrReadOnly) {
		return nil // a standby; the active node has settled it or will
	}
	return err
}

// operation is one of a path's, with what all of them share.
func operation(f framework.OperationFunc, summary string) *framework.PathOperation {
	return &framework.PathOperation{Callback: strict(f), Summary: summary}
}

// write is an operation that changes the storage: a standby hands it on to the
// active node, and a performance secondary to the primary.
func write(f framework.OperationFunc, summary string) *framework.PathOperation {
	op := operation(f, summary)
	op.ForwardPerformanceStandby, op.ForwardPerformanceSecondary = true, true
	return op
}

// strict refuses fields that the path does not have. Vault would leave them
// out in silence, and a misspelt fee or an unknown kind of transaction must not
// be signed as if it had not been there. It refuses, too, what would reach a text
// as another one than was sent.
func strict(f framework.OperationFunc) framework.OperationFunc {
	return func(ctx context.Context, req *logical.Request, d *framework.FieldData) (*logical.Response, error) {
		for _, name := range slices.Sorted(maps.Keys(req.Data)) {
			schema, ok := d.Schema[name]
			if !ok && name != "list" {
				return nil, refuse(http.StatusBadRequest, "unknown field %q", name)
			}
			if ok && schema.Type == framework.TypeString && !exact(req.Data[name]) {
				return nil, refuse(http.StatusBadRequest, "%s: want a text in quotes; a number of JSON loses digits on its way here", name)
			}
		}
		return f(ctx, req, d)
	}
}

// exact reports whether a value has a text that is certainly what was sent. The
// SDK hands a plugin every number of JSON as a float64, which keeps 53 bits of it,
// and would make "1" of true.
func exact(value any) bool {
	switch v := value.(type) {
	case nil, string, json.Number:
		return true
	case float64:
		return v == math.Trunc(v) && math.Abs(v) < 1<<53
	}
	return false
}

// refuse makes an error that Vault answers with this status. 404: no such key;
// 409: it exists; 423: it is switched off; 400: the request is wrong.
func refuse(status int, format string, args ...any) error {
	return logical.CodedError(status, fmt.Sprintf(format, args...))
}
