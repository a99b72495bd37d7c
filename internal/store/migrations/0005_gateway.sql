-- SPDX-License-Identifier: Apache-2.0
-- oldest: 4
--
-- The REST gateway for contracts. A program of schema 4 may go on beside: it never
-- reads or writes any of this.

-- What the gateway was asked for, as JSON: by it the outcome is worded, from the
-- transaction's own row. Empty for what came in by another door.
ALTER TABLE tx ADD COLUMN origin TEXT NOT NULL DEFAULT '';
CREATE INDEX tx_origin ON tx (wallet, credential, id) WHERE origin <> '';

-- Interfaces of contracts, as they were uploaded.
CREATE TABLE abi (
    id          TEXT PRIMARY KEY,
    environment TEXT NOT NULL,
    membership  TEXT NOT NULL,
    name        TEXT NOT NULL,
    description TEXT NOT NULL,
    abi         TEXT NOT NULL,  -- JSON, the array of the Solidity ABI specification
    docs        TEXT NOT NULL,  -- JSON of NatSpec, {devdoc, userdoc}; empty for none
    bytecode    BYTEA,          -- creation code; NULL if it cannot be deployed
    compiler    TEXT NOT NULL,  -- version that made it, if known
    principal   TEXT NOT NULL,  -- who uploaded it
    created     BIGINT NOT NULL
);
CREATE INDEX abi_place ON abi (environment, membership, id);

-- Contracts that were deployed or registered. A name is taken before the
-- deployment that is to have it is sent, and given back if that fails: until then
-- address is empty, and tx and reply say what it waits for.
CREATE TABLE contract (
    id          TEXT PRIMARY KEY,
    environment TEXT NOT NULL,
    membership  TEXT NOT NULL,
    chain       TEXT NOT NULL,  -- chain id, decimal
    address     TEXT NOT NULL,  -- 0x and 40 lowercase hex digits; empty while it is being deployed
    name        TEXT NOT NULL,  -- empty for none
    abi         TEXT NOT NULL,
    kind        TEXT NOT NULL,  -- contract, erc20, erc721
    wallet      TEXT NOT NULL,  -- name of the wallet that deploys it; empty if registered
    credential  TEXT NOT NULL,  -- under which the deployment's idempotency key counts
    reply       TEXT NOT NULL,  -- id of the deployment's reply; empty if registered
    detail      TEXT NOT NULL,  -- JSON: what kind wants remembered, such as a token's options
    principal   TEXT NOT NULL,
    created     BIGINT NOT NULL
);
CREATE UNIQUE INDEX contract_name ON contract (environment, membership, chain, name) WHERE name <> '';
CREATE UNIQUE INDEX contract_address ON contract (environment, membership, chain, address) WHERE address <> '';
CREATE INDEX contract_place ON contract (environment, membership, chain, id);
CREATE INDEX contract_abi ON contract (abi);
CREATE INDEX contract_open ON contract (id) WHERE address = '';

-- Event streams and their subscriptions. Who holds a stream's lease delivers it;
-- a checkpoint is written by the holder of that epoch only.
CREATE TABLE stream (
    id          TEXT PRIMARY KEY,
    environment TEXT NOT NULL,
    membership  TEXT NOT NULL,
    wallet      TEXT NOT NULL,  -- name of the wallet by whose node the chain is read
    name        TEXT NOT NULL,
    settings    TEXT NOT NULL,  -- JSON, without secrets
    secret      BYTEA,          -- webhook headers, sealed
    suspended   BIGINT NOT NULL,
    holder      TEXT NOT NULL,  -- process that delivers it
    epoch       BIGINT NOT NULL,
    until       BIGINT NOT NULL,
    trouble     TEXT NOT NULL,  -- why the last batch was not delivered; empty if it was
    principal   TEXT NOT NULL,
    created     BIGINT NOT NULL,
    updated     BIGINT NOT NULL
);
CREATE INDEX stream_place ON stream (environment, membership, id);
CREATE TABLE subscription (
    id          TEXT PRIMARY KEY,
    stream      TEXT NOT NULL,
    name        TEXT NOT NULL,
    event       TEXT NOT NULL,  -- JSON array of ABI entries: the event, then the functions by which inputs are read
    address     TEXT NOT NULL,  -- empty for all
    from_block  TEXT NOT NULL,  -- latest, or a number
    checkpoint  TEXT NOT NULL,  -- JSON: up to where it is delivered
    principal   TEXT NOT NULL,
    created     BIGINT NOT NULL,
    updated     BIGINT NOT NULL
);
CREATE INDEX subscription_stream ON subscription (stream, id);
