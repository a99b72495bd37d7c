-- SPDX-License-Identifier: Apache-2.0
-- oldest: 2
--
-- The management resources, whose rules are package platform's, and what proves
-- who somebody is. A program of schema 2 reads and writes none of it.

CREATE TABLE resource (
    id          TEXT PRIMARY KEY,
    kind        TEXT NOT NULL,
    consortium  TEXT NOT NULL, -- what it stands in; empty if it stands in none
    environment TEXT NOT NULL,
    membership  TEXT NOT NULL, -- whose it is; empty if it is everybody's there
    name        TEXT NOT NULL,
    state       TEXT NOT NULL,
    reason      TEXT NOT NULL, -- why the state is that; for people
    revision    BIGINT NOT NULL,
    created     BIGINT NOT NULL,
    updated     BIGINT NOT NULL,
    data        TEXT NOT NULL, -- JSON: what may be shown
    sealed      BYTEA,         -- by package seal; never shown
    verifier    BYTEA          -- keyed hash of a credential's secret
);
CREATE INDEX resource_kind ON resource (kind, consortium, environment, id);

-- What a resource cannot do without. It keeps the other from being deleted.
CREATE TABLE resource_use (
    resource TEXT NOT NULL,
    uses     TEXT NOT NULL,
    PRIMARY KEY (resource, uses)
);
CREATE INDEX resource_use_uses ON resource_use (uses);

-- Counts the changes of both, so that every replica sees them soon; one row,
-- once there was a change.
CREATE TABLE resource_version (
    id      BIGINT PRIMARY KEY,
    version BIGINT NOT NULL
);

-- Keys of the deployment itself, sealed.
CREATE TABLE sealed_key (
    name   TEXT PRIMARY KEY,
    sealed BYTEA NOT NULL
);

-- People who have signed in. hash is a keyed hash of what their cookie holds.
CREATE TABLE sign_in (
    hash    BYTEA PRIMARY KEY,
    subject TEXT NOT NULL,
    name    TEXT NOT NULL,
    grants  TEXT NOT NULL,   -- JSON
    created BIGINT NOT NULL,
    expires BIGINT NOT NULL
);
CREATE INDEX sign_in_expires ON sign_in (expires);

-- What people call an account. Beside the account's own row, which discovery
-- writes anew.
CREATE TABLE account_label (
    wallet  TEXT NOT NULL,
    address BYTEA NOT NULL,
    label   TEXT NOT NULL,
    PRIMARY KEY (wallet, address)
);
