// SPDX-License-Identifier: Apache-2.0

//go:build !race

package fleet_test

const slower = 1
