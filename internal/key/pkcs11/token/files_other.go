// SPDX-License-Identifier: Apache-2.0

//go:build cgo && !unix

package token

import "os"

func setAside(stdin, stdout *os.File) (in, out *os.File, err error) { return stdin, stdout, nil }

func noCoreDump() {}
