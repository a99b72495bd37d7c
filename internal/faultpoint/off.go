// SPDX-License-Identifier: Apache-2.0

//go:build !faultpoints

package faultpoint

// Enabled says whether this program was built with the tag faultpoints.
const Enabled = false

// At marks a point. Without the tag it does nothing.
func At(string) {}

// Error marks a point at which an error can be injected. Without the tag it
// returns nil.
func Error(string) error { return nil }
