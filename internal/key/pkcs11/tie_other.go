// SPDX-License-Identifier: Apache-2.0

//go:build !unix

package pkcs11

import "syscall"

// tie does nothing here. The child ends with us because its standard input does.
func tie() *syscall.SysProcAttr { return nil }
