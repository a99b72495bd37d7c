// SPDX-License-Identifier: Apache-2.0

// Package key is the contract between the signer and a key backend: an Azure
// vault, AWS KMS, a PKCS#11 token, HashiCorp Vault, GCP KMS or a local
// keystore. A backend is given 32-byte digests and returns r and s; it never
// sees a transaction and never gives out a private key.
//
// Only package wallet calls a Backend: policy and audit stand before it.
// Every adapter passes the suite in package keytest.
package key

import (
	"context"
	"errors"
	"time"

	"github.com/ethereum/go-ethereum/common"

	"github.com/hsmsigner/hsmsigner/internal/secp"
)

// Ref names one key for ever: an Azure key version, an AWS key ARN, a GCP key
// version, a PKCS#11 CKA_ID with the public key, the path of a keystore file
// with its address. It is opaque to everything but its backend. An alias or
// "latest" is never a Ref, since another key could appear behind it.
type Ref string

// Protection says where the private key lives.
type Protection string

// The levels of protection that a backend can report.
const (
	Software Protection = "software"
	HSM      Protection = "hsm"
	Unknown  Protection = "unknown"
)

// State says whether a key can sign.
type State string

// The states of a key. Only an Enabled key is asked for signatures.
const (
	Enabled  State = "enabled"
	Disabled State = "disabled" // switched off, expired, not yet valid, or its password is wrong: Key.Reason says which
)

// Key is what discovery learns of one key.
type Key struct {
	Ref        Ref
	Name       string         // what a person calls it: file name, alias, key name and version
	Address    common.Address // keccak256(X‖Y)[12:] of the public key
	Protection Protection
	State      State
	Reason     string            // why State is not Enabled; empty otherwise
	Tags       map[string]string // as the backend has them; may be nil
}

// Problem is a key that discovery found but could not use. One bad key never
// spoils the others.
type Problem struct {
	Name   string // file, alias or key name
	Ref    Ref    // if the key exists and can be named; a provider may hide the public key of a disabled one
	Reason string // what is wrong and what would mend it; never a secret
}

// Page is one page of a discovery.
type Page struct {
	Keys     []Key
	Problems []Problem
	Next     string // cursor of the next page; empty on the last
}

// Signature is what a backend returns for a digest: neither canonical nor
// checked. Package secp makes it canonical and package wallet checks it.
type Signature struct {
	R, S      [32]byte // big-endian, left-padded
	Hint      byte     // the recovery id, where the backend happens to know it; tried first, never trusted
	RequestID string   // the provider's id of this request, for the audit row; may be empty
}

// Backend is one configured key store. All methods are safe for concurrent
// use and return promptly once ctx is done.
type Backend interface {
	// Keys lists usable secp256k1 keys page by page. The first cursor is "".
	// Keys of other curves are left out without a Problem.
	Keys(ctx context.Context, cursor string) (Page, error)
	// PublicKey returns the public key of ref. ErrNotFound if it is gone.
	PublicKey(ctx context.Context, ref Ref) (secp.PublicKey, error)
	// SignDigest signs exactly these 32 bytes with ECDSA over secp256k1,
	// without hashing them again. It costs one call to the backend.
	SignDigest(ctx context.Context, ref Ref, digest [32]byte) (Signature, error)
	// Health reports whether the backend would answer a signing request now.
	Health(ctx context.Context) error
	// Close frees what the backend holds; secrets in memory are wiped.
	Close() error
}

// Creator is the optional capability of making a new key inside the backend.
// The key can sign secp256k1 digests, nothing else, and cannot be exported.
type Creator interface {
	Create(ctx context.Context, name string, tags map[string]string) (Key, error)
}

// Importer is the optional capability of taking a private key (32 bytes,
// big-endian, from 1 to n-1) into the backend. It crosses the wire wrapped by a
// key of the provider wherever the provider can unwrap. The caller wipes private.
type Importer interface {
	Import(ctx context.Context, name string, private []byte, tags map[string]string) (Key, error)
}

// Enabler is the optional capability of switching a key off and on.
type Enabler interface {
	SetEnabled(ctx context.Context, ref Ref, enabled bool) error
}

// Deleter is the optional capability of deleting a key. When says from which
// moment on it cannot be brought back; zero if that is so at once.
type Deleter interface {
	Delete(ctx context.Context, ref Ref) (when time.Time, err error)
}

// CallError is a failed call to a provider, for the operator's log, the audit
// row and the CLI. Kind is one of the errors below or a [*ThrottledError]; Why says
// what is wrong and what would mend it, and never holds a secret or the
// provider's response body.
type CallError struct {
	Op        string // "sign", "list keys", …
	Ref       Ref    // empty if no key is concerned
	Kind      error
	Why       string
	RequestID string // the provider's id of the call; may be empty
}

func (e *CallError) Error() string {
	text := e.Op
	if e.Ref != "" {
		text += " " + string(e.Ref)
	}
	text += ": " + e.Kind.Error()
	if e.Why != "" {
		text += ": " + e.Why
	}
	if e.RequestID != "" {
		text += " (request " + e.RequestID + ")"
	}
	return text
}

func (e *CallError) Unwrap() error { return e.Kind }

// Errors of a Backend. Each is wrapped with the operation and the reference;
// none carries a secret or the provider's response body.
var (
	ErrNotFound    = errors.New("key not found")
	ErrDisabled    = errors.New("key disabled")
	ErrDenied      = errors.New("key backend denied access")
	ErrUnavailable = errors.New("key backend unavailable")
	ErrBadResponse = errors.New("key backend gave a bad response")
)

// ThrottledError says that the backend wants fewer requests. It may pass by
// itself, as ErrUnavailable may; the other errors are definite.
type ThrottledError struct {
	RetryAfter time.Duration // zero if the backend did not say
}

func (e *ThrottledError) Error() string { return "key backend throttled the request" }

// Transient reports whether the same request may succeed later without
// anybody mending anything in this key.
func Transient(err error) bool {
	var throttled *ThrottledError
	return errors.As(err, &throttled) || errors.Is(err, ErrUnavailable) ||
		errors.Is(err, context.DeadlineExceeded)
}
