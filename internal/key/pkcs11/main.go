// SPDX-License-Identifier: Apache-2.0

package pkcs11

import (
	"os"

	"github.com/hsmsigner/hsmsigner/internal/key/pkcs11/token"
)

// Child is all that a child process does, until stdin ends. It gives the exit
// status. See [ChildArgument].
func Child(stdin, stdout *os.File) int { return token.Child(stdin, stdout) }
