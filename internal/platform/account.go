// SPDX-License-Identifier: Apache-2.0

package platform

// AccountQuery says what a list of accounts asks the node for.
type AccountQuery struct {
	Balance bool
	Nonce   bool
}

// AccountsReport is what a refresh has found.
type AccountsReport struct {
	Found    int              `json:"found"`   // keys that the filters of the configuration let through
	Added    int              `json:"added"`   // addresses not known before
	Missing  int              `json:"missing"` // known addresses whose key was not found
	Problems []AccountProblem `json:"problems"`
}

// AccountProblem is a key that was found and cannot be used.
type AccountProblem struct {
	Name   string `json:"name"`
	KeyRef string `json:"key_ref,omitempty"`
	Reason string `json:"reason"`
}

// NewAccount asks for a key to be made inside the backend.
type NewAccount struct {
	Name  string            `json:"name"`
	Tags  map[string]string `json:"tags,omitempty"`
	Label string            `json:"label,omitempty"`
}

// ImportedAccount is a private key on its way into the backend.
type ImportedAccount struct {
	Name  string            `json:"name"`
	Tags  map[string]string `json:"tags,omitempty"`
	Label string            `json:"label,omitempty"`
	// Wrapped is the PKCS#8 form of the key, wrapped with RSA-AES key wrap (OAEP
	// with SHA-256, RFC 5649) under the key of [Platform.ImportKey]. A private key
	// in clear is never taken: bodies of requests are written down by proxies.
	Wrapped []byte `json:"wrapped_key"`
}

// ImportKey is the public key under which keys to be imported are wrapped.
type ImportKey struct {
	PublicKey string `json:"public_key"` // PEM, SubjectPublicKeyInfo of an RSA key
	Algorithm string `json:"algorithm"`  // RSA_AES_KEY_WRAP_SHA_256
}
