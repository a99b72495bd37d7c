// SPDX-License-Identifier: Apache-2.0

// Package platform tests the management API end to end: the daemon as it is
// shipped, a chain, and clients that are not ours.
//
// The test against the OpenAPI document runs schemathesis, a Python program. It
// is installed once, with fixed versions, into a virtual environment in the
// user's cache folder, or in the folder that HSMSIGNER_SCHEMATHESIS names. That
// needs python3 with venv (Debian: python3-venv) and, the first time, a Python
// package index.
package platform
