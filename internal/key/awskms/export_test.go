// SPDX-License-Identifier: Apache-2.0

package awskms

// SetPageKeys makes pages smaller, which thousands of keys would take long to fill.
func (b *Backend) SetPageKeys(n int) { b.perPage = n }
