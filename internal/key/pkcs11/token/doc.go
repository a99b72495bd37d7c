// SPDX-License-Identifier: Apache-2.0

// Package token is what runs in the child process: one PKCS#11 module, one
// token in it, one login, a pool of sessions. It signs digests, lists keys, and
// makes, imports and deletes them.
//
// It outlives what tokens do: sessions that die, logins that vanish and objects
// whose handles change are noticed by the module's own words; the session is
// thrown away, the login renewed, the handle found again and the request tried
// once more; then once more after C_Finalize and C_Initialize. What does not
// help it says, and ends: the parent makes a new process.
//
// It never tries a PIN twice that the token refused, and not once where the
// token says that one more wrong PIN would lock it. It never gives out a private
// key, and writes nothing but replies: what the module prints goes to standard
// error. No call here can be cancelled; the parent kills the process instead.
package token
