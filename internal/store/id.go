// SPDX-License-Identifier: Apache-2.0

package store

import (
	"encoding/hex"

	"github.com/google/uuid"
)

// NewID returns a new UUIDv7 (RFC 9562) as 32 lower-case hex digits. Ids made
// by one process rise strictly, so they sort rows by creation; ids of two
// processes sort by their clocks, to the millisecond.
func NewID() string {
	// NewV7 keeps the process's ids rising through its own lock. It can fail
	// only if the system has no randomness, where crypto/rand ends the process
	// by itself.
	id := uuid.Must(uuid.NewV7())
	return hex.EncodeToString(id[:])
}
