// SPDX-License-Identifier: Apache-2.0

//go:build cgo

package main

// constantTime says that go-ethereum signs with libsecp256k1, whose time does
// not depend on the key. Its replacement in Go multiplies in variable time.
const constantTime = true
