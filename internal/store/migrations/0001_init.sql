-- SPDX-License-Identifier: Apache-2.0
--
-- One text for SQLite and PostgreSQL. Times are microseconds since 1970, UTC;
-- amounts are decimal text, since wei outgrows 64 bits; booleans are 0 or 1.

-- One row per accepted transaction. live and final follow from state (Go
-- writes all three, TxState.Live and TxState.Final); they are columns so that
-- the partial indexes stay small and need no list of states.
CREATE TABLE tx (
    id              TEXT PRIMARY KEY,
    wallet          TEXT NOT NULL,
    credential      TEXT NOT NULL,
    idempotency_key TEXT NOT NULL,
    request_hash    BYTEA NOT NULL,
    intent          TEXT NOT NULL,
    sender          TEXT NOT NULL,
    nonce           BIGINT,
    explicit        BIGINT NOT NULL,
    kind            TEXT NOT NULL,
    payload         BYTEA NOT NULL,
    state           TEXT NOT NULL,
    live            BIGINT NOT NULL,
    final           BIGINT NOT NULL,
    fee_ceiling     TEXT,
    replaces        TEXT NOT NULL,
    expires         BIGINT,
    created         BIGINT NOT NULL,
    updated         BIGINT NOT NULL,
    hash            BYTEA,
    block           BIGINT,
    block_hash      BYTEA,
    succeeded       BIGINT NOT NULL,
    error           TEXT NOT NULL
);
-- A nonce of a sender belongs to one live row.
CREATE UNIQUE INDEX tx_nonce ON tx (sender, nonce) WHERE live = 1;
-- What is still to be done; small however many rows are final.
CREATE INDEX tx_open ON tx (sender) WHERE final = 0;
-- What Prune may remove, oldest first.
CREATE INDEX tx_final ON tx (updated) WHERE final = 1;
-- Lists of one wallet, newest first.
CREATE INDEX tx_wallet ON tx (wallet, id);

-- Outlives the tx row: the columns from state on are filled when that row is
-- pruned, and NULL before.
CREATE TABLE idempotency (
    wallet       TEXT NOT NULL,
    credential   TEXT NOT NULL,
    key          TEXT NOT NULL,
    request_hash BYTEA NOT NULL,
    tx           TEXT NOT NULL,
    created      BIGINT NOT NULL,
    state        TEXT,
    hash         BYTEA,
    error        TEXT,
    PRIMARY KEY (wallet, credential, key)
);
CREATE INDEX idempotency_created ON idempotency (created);

-- Signed encodings of a transaction. Never updated but to store the signature
-- and the outcome.
CREATE TABLE attempt (
    id      TEXT PRIMARY KEY,
    tx      TEXT NOT NULL REFERENCES tx (id) ON DELETE CASCADE,
    sender  TEXT NOT NULL,
    nonce   BIGINT NOT NULL,
    kind    TEXT NOT NULL,
    digest  BYTEA NOT NULL,
    payload BYTEA,
    raw     BYTEA,
    hash    BYTEA,
    epoch   BIGINT NOT NULL,
    outcome TEXT NOT NULL,
    created BIGINT NOT NULL
);
CREATE INDEX attempt_tx ON attempt (tx);
CREATE INDEX attempt_hash ON attempt (hash) WHERE hash IS NOT NULL;

-- Rows are never deleted, so that an epoch is never given twice.
CREATE TABLE lease (
    sender  TEXT PRIMARY KEY,
    owner   TEXT NOT NULL,
    epoch   BIGINT NOT NULL,
    expires BIGINT NOT NULL
);

CREATE TABLE sender (
    id               TEXT PRIMARY KEY,
    chain_id         BIGINT NOT NULL,
    genesis          BYTEA NOT NULL,
    instance         TEXT NOT NULL,
    address          BYTEA NOT NULL,
    membership       TEXT NOT NULL,
    proven           BIGINT NOT NULL,
    parked           TEXT NOT NULL,
    confirmed_number BIGINT NOT NULL,
    confirmed_hash   BYTEA
);

-- The last good snapshot of a wallet's accounts.
CREATE TABLE account (
    wallet     TEXT NOT NULL,
    address    BYTEA NOT NULL,
    ref        TEXT NOT NULL,
    name       TEXT NOT NULL,
    protection TEXT NOT NULL,
    state      TEXT NOT NULL,
    reason     TEXT NOT NULL,
    tags       TEXT NOT NULL,
    seen       BIGINT,
    PRIMARY KEY (wallet, address)
);

-- The audit trail: append-only, never pruned.
CREATE TABLE audit_intent (
    id        TEXT PRIMARY KEY,
    at        BIGINT NOT NULL,
    principal TEXT NOT NULL,
    wallet    TEXT NOT NULL,
    address   BYTEA NOT NULL,
    action    TEXT NOT NULL,
    subject   TEXT NOT NULL,
    verdict   TEXT NOT NULL
);
CREATE TABLE audit_outcome (
    id         TEXT PRIMARY KEY,
    intent     TEXT NOT NULL,
    at         BIGINT NOT NULL,
    digest     BYTEA,
    hash       BYTEA,
    request_id TEXT NOT NULL,
    error      TEXT NOT NULL
);
CREATE INDEX audit_outcome_intent ON audit_outcome (intent);

-- What the database knows of itself.
CREATE TABLE meta (
    name  TEXT PRIMARY KEY,
    value TEXT NOT NULL
);
