// SPDX-License-Identifier: Apache-2.0

//go:build !race

package document

const bitStep = 1
