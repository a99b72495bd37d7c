// SPDX-License-Identifier: Apache-2.0

//go:build !cgo

package main

// constantTime: see cgo.go.
const constantTime = false
