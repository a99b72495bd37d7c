// SPDX-License-Identifier: Apache-2.0

//go:build !race

package gcpkms

const manyKeys = 10_000
