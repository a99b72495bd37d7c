// SPDX-License-Identifier: Apache-2.0

//go:build !cgo

package main

import (
	"context"
	"errors"
)

func (b *bench) pkcs11Token(context.Context) (*provider, error) {
	return nil, errors.New("pkcs11 needs a build with cgo: CGO_ENABLED=1 and a C compiler")
}
