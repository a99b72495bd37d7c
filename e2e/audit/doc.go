// SPDX-License-Identifier: Apache-2.0

// Package audit shows that no signature is without its records, whatever
// becomes of the daemon in between: killed in bursts, on a full disk, and with
// each of its writes failing in turn. It believes the chain's blocks and what
// hsmsigner audit export and verify say, as an auditor would.
package audit
