-- SPDX-License-Identifier: Apache-2.0
-- oldest: 4
--
-- How long each stage of a transaction took, and what it is found by. A program of
-- schema 4 or 5 may go on beside: what it writes has no timing, which is shown as
-- not known.

-- Microseconds from created until its signature was asked for, it was signed, a
-- node had it, and its block was seen, with commas between; empty where that is
-- not known. Written by updates that are made anyway.
ALTER TABLE tx ADD COLUMN timing TEXT NOT NULL DEFAULT '';

-- A nonce is looked for among the rows that have it (tx_nonce) and, here, among
-- those that had it: replaced, superseded, cancelled on the chain. No row of a
-- transaction that simply goes through is ever in it.
CREATE INDEX tx_nonce_past ON tx (sender, nonce) WHERE live = 0 AND nonce IS NOT NULL;
-- From the accounts of a wallet to their senders.
CREATE INDEX sender_address ON sender (address);
