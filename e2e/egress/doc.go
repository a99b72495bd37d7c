// SPDX-License-Identifier: Apache-2.0

// Package egress proves that no connection that a tenant asks for leads where it
// must not: the node's client and each key vault's adapter, through its real
// SDK, are given every address of security's list (spellings of loopback, IPv6
// that carries IPv4, names that resolve to this machine or to metadata services,
// redirects), and a canary must hear nothing. What would connect past the dial
// rules is caught as well: the environment's proxy, the default transport and
// the default resolver are traps.
//
// It is all tests.
package egress
