-- SPDX-License-Identifier: Apache-2.0
-- oldest: 2
--
-- What several daemons on one database need: transactions that one of them took
-- for another's sender, who is alive, what changed; and the outbox of webhooks.
-- A program of schema 1 would not fill what the indexes here are made of.

-- The lowest schema version whose programs may run on this one: daemons of two
-- neighbouring versions share a database during an upgrade.
ALTER TABLE schema_version ADD COLUMN oldest BIGINT NOT NULL DEFAULT 1;

-- The W3C trace context of the request, so that the replica which signs goes on
-- with the same trace. Empty if it is not traced.
ALTER TABLE tx ADD COLUMN trace TEXT NOT NULL DEFAULT '';

-- Accepted by a replica that does not hold the sender's lease, not yet seen by
-- the one that does. A column of its own, as live and final are: were state in
-- an index, PostgreSQL would write all indexes of the table for each change of
-- it (heap-only tuples, src/backend/access/heap/README.HOT).
ALTER TABLE tx ADD COLUMN offered BIGINT NOT NULL DEFAULT 0;
CREATE INDEX tx_offered ON tx (sender) WHERE offered = 1;

-- What has ended, by state and by sender, newest first; written once, when it
-- ends. Prune goes by the first one from the other end. ended is the state then,
-- and NULL before.
ALTER TABLE tx ADD COLUMN ended TEXT;
UPDATE tx SET ended = state WHERE final = 1;
DROP INDEX tx_final;
CREATE INDEX tx_ended ON tx (ended, id) WHERE final = 1;
CREATE INDEX tx_ended_sender ON tx (sender, id) WHERE final = 1;

-- Room in each page for the changes of its rows.
-- postgres: ALTER TABLE tx SET (fillfactor = 50);
-- postgres: ALTER TABLE attempt SET (fillfactor = 70);

-- Outcomes are only ever looked for by their intent: one index is enough.
CREATE TABLE audit_outcome_by_intent (
    id         TEXT NOT NULL,
    intent     TEXT NOT NULL,
    at         BIGINT NOT NULL,
    digest     BYTEA,
    hash       BYTEA,
    request_id TEXT NOT NULL,
    error      TEXT NOT NULL,
    PRIMARY KEY (intent, id)
);
INSERT INTO audit_outcome_by_intent (id, intent, at, digest, hash, request_id, error)
    SELECT id, intent, at, digest, hash, request_id, error FROM audit_outcome;
DROP TABLE audit_outcome;
ALTER TABLE audit_outcome_by_intent RENAME TO audit_outcome;

-- The daemons that are alive, by process start.
CREATE TABLE replica (
    owner    TEXT PRIMARY KEY, -- as in lease.owner
    url      TEXT NOT NULL,    -- where its peers reach it; empty if they cannot
    token    TEXT NOT NULL,    -- its public key (X25519), in hex
    version  TEXT NOT NULL,
    settings TEXT NOT NULL,    -- fingerprint of what must be the same everywhere
    started  BIGINT NOT NULL,
    seen     BIGINT NOT NULL
);

-- Counts the changes of a wallet's account rows.
CREATE TABLE snapshot (
    wallet  TEXT PRIMARY KEY,
    version BIGINT NOT NULL
);

-- Outbox of webhooks: one row per event and receiver, deleted when delivered.
CREATE TABLE event (
    id      TEXT PRIMARY KEY,
    hook    TEXT NOT NULL,     -- name of the receiver in the configuration
    wallet  TEXT NOT NULL,
    tx      TEXT NOT NULL,
    body    BYTEA NOT NULL,
    created BIGINT NOT NULL,
    due     BIGINT NOT NULL,
    tries   BIGINT NOT NULL,
    error   TEXT NOT NULL      -- of the last try
);
-- One receiver's backlog is never read past to find what is due for another.
CREATE INDEX event_due ON event (hook, due);
