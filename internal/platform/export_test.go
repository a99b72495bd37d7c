// SPDX-License-Identifier: Apache-2.0

package platform

// What tests look at from inside.
var (
	Split    = split
	Join     = join
	Merge    = merge
	IsSecret = isSecret
	NewID    = newID

	SettledState = settledState
	ReasonOf     = reasonOf
)
