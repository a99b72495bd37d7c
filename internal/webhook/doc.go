// SPDX-License-Identifier: Apache-2.0

// Package webhook tells HTTP receivers what becomes of transactions: at least
// once each, also across kill -9 and replicas.
//
// An event is a row that package txmgr stores in the commit of the state change
// itself ([Hooks.Events]), so none is lost and none is told of a change that
// was undone. One replica at a time, the one that holds the lease called
// "webhook", posts what is due ([Hooks.Run]) and deletes a row only after its
// receiver has answered with 2xx. Receivers do not wait for each other. What
// fails is tried again after 1 s, and then ever more rarely up to once an hour,
// until it is given up.
//
// No request goes to an address that the operator's rules refuse (package
// dialrule), follows a redirect or uses a proxy, and http is spoken only with
// networks that the rules allow by name. No URL or secret shows in logs, errors
// or rows.
//
// # For those who write a receiver
//
// An event is a POST with a JSON body:
//
//	{
//	  "id": "0197c0a2…", "type": "confirmed", "created": "2026-01-02T15:04:05.000006Z", "wallet": "treasury",
//	  "transaction": {
//	    "id": "0197c0a1…", "chain_id": 1337, "from": "0x…", "nonce": 7, "state": "confirmed", "hash": "0x…", "hashes": ["0x…"],
//	    "block": {"number": 99, "hash": "0x…"}, "succeeded": true, "idempotency_key": "order-4711"
//	  }
//	}
//
// type is one of accepted (stored), sent (a node has it), mined (in a block that
// may still be reorganised away), confirmed (final), failed (final: it never
// was and never will be mined, or its cancelling transaction was mined; error
// has code and message as in JSON-RPC), replaced (final: another transaction
// that the caller sent in its place was mined) and displaced (final: a
// transaction that this signer did not make was mined at its nonce). confirmed
// does not mean that the call went well: see succeeded. hash, nonce and block
// are missing as long as there are none; hashes has those of all encodings that
// were signed, any of which may be the one that is mined.
//
// Four headers come with it:
//
//	X-HSMSigner-Event: id of the event, as in the body
//	X-HSMSigner-Delivery: 1 for the first try, 2 for the second, …
//	X-HSMSigner-Timestamp: when this try was made, in seconds since 1970
//	X-HSMSigner-Signature: v1=<hex>, v1=<hex>
//
// To verify, compute HMAC-SHA256 with the shared secret as key over the
// timestamp header, a full stop, and the body exactly as it was received;
// compare the hex of it in constant time with each v1 value (there are two while
// a secret is being replaced); refuse if none is equal, or if the timestamp is
// more than five minutes from now. Ignore values that begin otherwise than v1=.
//
// Answer with any 2xx once the event is safe, within the timeout (10 s unless
// configured). Anything else, a redirect too, makes it come again; Retry-After
// is honoured up to a day. 410 Gone says that this event is not wanted, and it
// is dropped. The answer's body is not looked at.
//
// An event may come more than once (the answer was lost, the signer was
// killed): remember ids for longer than the signer gives up after, 72 hours
// unless configured. Order is not promised: mined may come after confirmed.
// Where it matters, ask for the state with eth_getTransactionReceipt.
package webhook
