// SPDX-License-Identifier: Apache-2.0

// Package document tests signatures on documents end to end: the daemon as it is
// shipped signs, and libraries that are not ours check what it gives. It needs
// `npm ci` in e2e/clients once, as all end-to-end tests do.
package document
