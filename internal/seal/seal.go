// SPDX-License-Identifier: Apache-2.0

// Package seal encrypts the credentials that tenants give, so that a copy of the
// database reveals none of them.
//
// There are three layers of keys, each of 256 bits, all by Tink
// (github.com/tink-crypto/tink-go, AES-256-GCM); no cipher is our own.
//
//   - A key-encryption key (KEK) lives outside the database: in a file, an
//     environment variable or the operator's cloud KMS. Several may be
//     configured; the first seals, all open. It wraps deployment keys only.
//   - A deployment key belongs to one KEK and stands in the table sealed_key,
//     wrapped by it. It is unwrapped once per process, so that a start with a
//     thousand sealed values asks a cloud KMS once. It wraps data keys.
//   - A data key belongs to one sealed value and stands before it, wrapped by the
//     deployment key.
//
// A sealed value names its KEK, and opens only at the [Place] for which it was
// sealed and as it was sealed: a changed bit is refused, and so is a value that
// was moved to another tenant, resource or field.
//
// What the loss of each key means: without a KEK nothing that it sealed can ever
// be opened, by anybody; tenants have to give their credentials anew. A
// deployment key is lost only with the database itself, whose values are then
// gone too; one from an older backup is the same key. Losing a data key loses
// its one value. What knowing them means: the KEK or the deployment key with a
// copy of the database opens everything in it; then rotate, and have the
// credentials changed at their providers.
//
// The package never logs or returns a key, and never puts plain text in an error.
package seal

import "github.com/hsmsigner/hsmsigner/internal/store"

// Place is where a sealed value stands. What was sealed for one place does not
// open at another.
type Place struct {
	Consortium  string
	Environment string
	Membership  string
	ID          string // of the resource
	Field       string
}

// OfResource is the place of [store.Resource.Sealed]: everything secret of a
// resource, sealed as one value.
func OfResource(r store.Resource) Place {
	return Place{Consortium: r.Consortium, Environment: r.Environment, Membership: r.Membership, ID: r.ID, Field: "sealed"}
}

// OfStream is the place of [store.Stream.Secret]: the headers that an event
// stream's webhook is sent.
func OfStream(s store.Stream) Place {
	return Place{Environment: s.Environment, Membership: s.Membership, ID: s.ID, Field: "stream.secret"}
}

// OfKey is the place of a key of the deployment in the table sealed_key, like
// the one that credentials are hashed with.
func OfKey(name string) Place { return Place{ID: name, Field: "sealed_key"} }
