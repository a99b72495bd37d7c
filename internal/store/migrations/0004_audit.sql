-- SPDX-License-Identifier: Apache-2.0
-- oldest: 4
--
-- Policy, approvals, the stop switch, and the log over the audit trail. A program
-- of schema 3 would sign without asking the policy, and write records that the
-- log does not vouch for: it may not run on this.

-- The audit trail. mac is a keyed hash of the record as it was written; the log
-- takes in nothing else, but for what was there before the log.
ALTER TABLE audit_intent ADD COLUMN detail TEXT NOT NULL DEFAULT '';
ALTER TABLE audit_intent ADD COLUMN mac BYTEA;
ALTER TABLE audit_outcome ADD COLUMN mac BYTEA;

-- What happened that is no signature: changes of resources, sign-ins, approvals,
-- freezes. detail is JSON.
CREATE TABLE audit_event (
    id          TEXT PRIMARY KEY,
    at          BIGINT NOT NULL,
    principal   TEXT NOT NULL,
    kind        TEXT NOT NULL,
    consortium  TEXT NOT NULL,
    environment TEXT NOT NULL,
    membership  TEXT NOT NULL,
    wallet      TEXT NOT NULL,
    subject     TEXT NOT NULL,
    detail      TEXT NOT NULL,
    mac         BYTEA
);

-- The log, one row. What stands in it is only ever a hint of where to look: the
-- signatures are what counts.
CREATE TABLE audit_log (
    id    BIGINT PRIMARY KEY, -- 1
    size  BIGINT NOT NULL,    -- records in it
    swept TEXT NOT NULL,      -- below this id no row is missing
    began BIGINT              -- place of the record that the log began with; NULL while it takes in what was there before
);
-- Which record has which place. One row for the records that were taken in
-- together.
CREATE TABLE audit_batch (
    first   BIGINT PRIMARY KEY, -- place of its first record, from 0
    records BIGINT NOT NULL,
    at      BIGINT NOT NULL,
    low     TEXT NOT NULL,      -- lowest of their ids
    high    TEXT NOT NULL,      -- highest
    entries BYTEA NOT NULL,     -- kind, id and hash of each
    proof   BYTEA NOT NULL      -- what shows for each record by itself that the log's key vouched for it
);
CREATE INDEX audit_batch_high ON audit_batch (high);
-- Its Merkle tree, 256 hashes of a level to a row.
CREATE TABLE audit_tile (
    level  BIGINT NOT NULL,
    number BIGINT NOT NULL,
    hashes BYTEA NOT NULL,
    PRIMARY KEY (level, number)
);
-- Its signed states, one for each batch.
CREATE TABLE audit_checkpoint (
    size BIGINT PRIMARY KEY,
    note TEXT NOT NULL,
    at   BIGINT NOT NULL
);
-- How far each witness has seen it.
CREATE TABLE audit_witness (
    name  TEXT PRIMARY KEY,
    size  BIGINT NOT NULL,
    at    BIGINT NOT NULL,
    note  TEXT NOT NULL, -- the checkpoint as the witness has signed it; empty if it signs none
    error TEXT NOT NULL
);

-- What policy allowed a transaction by (package judge); empty if nothing is to be
-- remembered.
ALTER TABLE tx ADD COLUMN clearance TEXT NOT NULL DEFAULT '';
-- Those that ended without being mined, until what they had reserved is settled.
CREATE INDEX tx_unsettled ON tx (id) WHERE clearance <> '' AND ended IN ('failed', 'replaced', 'displaced');

-- How much of each limit is used.
CREATE TABLE allowance (
    name  TEXT PRIMARY KEY,
    state TEXT NOT NULL -- JSON
);

-- The rules, every version of them.
CREATE TABLE policy (
    scope    TEXT NOT NULL,   -- deployment, consortium:<id>, membership:<id>, service:<id>, credential:<id>
    version  BIGINT NOT NULL,
    state    TEXT NOT NULL,   -- proposed, active, past, rejected
    document TEXT NOT NULL,
    author   TEXT NOT NULL,
    approver TEXT NOT NULL,
    comment  TEXT NOT NULL,
    created  BIGINT NOT NULL,
    decided  BIGINT,
    mac      BYTEA NOT NULL,  -- keyed hash of all of it
    PRIMARY KEY (scope, version)
);

-- Requests that wait for people.
CREATE TABLE approval (
    id           TEXT PRIMARY KEY,
    consortium   TEXT NOT NULL,
    environment  TEXT NOT NULL,
    membership   TEXT NOT NULL,
    wallet       TEXT NOT NULL,
    principal    TEXT NOT NULL,
    action       TEXT NOT NULL,
    address      BYTEA NOT NULL,
    request_hash BYTEA NOT NULL, -- finds the request again when it is repeated
    request      TEXT NOT NULL, -- JSON, all of it
    rules        TEXT NOT NULL, -- JSON: what is asked for
    state        TEXT NOT NULL, -- pending, approved, rejected, expired, used, failed
    open         BIGINT NOT NULL, -- 1 while pending or approved
    told         BIGINT NOT NULL, -- 1 once its caller has been given the outcome
    result       TEXT NOT NULL, -- transaction id, or why it failed
    created      BIGINT NOT NULL,
    expires      BIGINT NOT NULL,
    decided      BIGINT,
    mac          BYTEA NOT NULL -- keyed hash of all of it but told
);
CREATE UNIQUE INDEX approval_open ON approval (wallet, request_hash) WHERE open = 1;
CREATE INDEX approval_request ON approval (wallet, request_hash, id);
CREATE INDEX approval_waits ON approval (state, id) WHERE open = 1;
CREATE INDEX approval_wallet ON approval (wallet, id);
CREATE TABLE approval_vote (
    approval  TEXT NOT NULL,
    approver  TEXT NOT NULL, -- principal, or address
    verdict   TEXT NOT NULL, -- approve, reject
    roles     TEXT NOT NULL, -- JSON: what the approver had where the request stands
    comment   TEXT NOT NULL,
    signature BYTEA,         -- EIP-712; NULL if by sign-in
    at        BIGINT NOT NULL,
    mac       BYTEA NOT NULL,
    PRIMARY KEY (approval, approver)
);

-- What is stopped.
CREATE TABLE frozen (
    scope     TEXT PRIMARY KEY, -- everything, membership:<id>, wallet:<name>, account:<wallet>:<address>
    reason    TEXT NOT NULL,
    principal TEXT NOT NULL,
    authority TEXT NOT NULL, -- in whose name: empty for the deployment's, consortium:<id>, membership:<id>
    at        BIGINT NOT NULL
);

-- Counts the changes of policy, approval and freeze, so that every replica sees
-- them soon.
CREATE TABLE change (
    name  TEXT PRIMARY KEY,
    value BIGINT NOT NULL
);
