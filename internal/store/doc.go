// SPDX-License-Identifier: Apache-2.0

// Package store keeps the rows that the signer must not lose: transactions and
// their signed attempts, idempotency keys, nonce leases, senders, accounts and
// the audit trail. Rows are the truth; nothing else in the program outlives it.
//
// The database is SQLite in a data directory, for one daemon, or PostgreSQL, for
// any number of them ([OpenDB]). The SQL is the same.
//
// A write that was answered with nil has been synced to the disk. Writes of
// many goroutines share one transaction and one sync ([DB.Write]), yet each
// succeeds or fails by itself. State changes are compare-and-set, so that of
// two who race one is told so. What only the holder of a nonce lease may write
// goes through [DB.WriteFenced].
//
// The package decides nothing about transactions: which state follows which is
// package txmgr's business. It keeps no secrets, and no error of it holds more
// of a row than its id.
package store
