// SPDX-License-Identifier: Apache-2.0

// Package gateway tests the REST gateway for contracts end to end: the daemon as it
// is shipped, a wallet that a tenant has made, a chain, and HTTP clients that know
// only what the gateway's reference says. What is claimed of transactions and events
// is read from the blocks of the node.
//
// contract holds the contract that is worked with, and testdata/client a program on
// a client that is generated of the gateway's own OpenAPI document; it is a module of
// its own, so that nothing of the generator gets into the product; its modules are
// fetched the first time. page.mjs drives Chromium with playwright-core, which
// `npm ci` installs in e2e/clients, as anvil.
package gateway
