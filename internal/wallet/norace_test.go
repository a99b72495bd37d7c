// SPDX-License-Identifier: Apache-2.0

//go:build !race

package wallet

const slower = 1
