// SPDX-License-Identifier: Apache-2.0

// Package backends runs the real daemon and its command line in front of each
// key backend: SoftHSM, the real core of HashiCorp Vault with our plugin, moto
// for AWS KMS, lowkey-vault for Azure, and the fake of Google's service, since
// nothing else signs secp256k1 there. Through each, a key is made by the admin
// credential, a chain transaction is signed by the other one and mined, and the
// contract suite passes by `hsmsigner key conformance`. No secret shows in any
// output.
//
// It is all tests.
package backends
