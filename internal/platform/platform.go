// SPDX-License-Identifier: Apache-2.0

// Package platform is the resources of the management API and their rules:
// consortia, memberships, environments, nodes, configurations, services, app
// credentials and API keys.
//
// It guarantees that nothing of one tenant can be seen or used by another: what
// is not the caller's is not found, in the same words as what does not exist.
// Every change passes one function, is stored before it takes effect, and is
// seen by all replicas within two seconds. Secrets are sealed before they are
// stored and never come back. It opens no connection itself: what runs is behind
// the interface Runtime.
package platform
