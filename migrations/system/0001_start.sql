-- The registry of organizations, the cluster's sealed secrets, and one-time join tokens. First shape.

CREATE TABLE organizations_registry (
    id         TEXT PRIMARY KEY,
    slug       TEXT NOT NULL UNIQUE,
    domain     TEXT NOT NULL UNIQUE,
    name       TEXT NOT NULL,
    plan       TEXT NOT NULL,
    status     TEXT NOT NULL,
    region     TEXT NOT NULL,
    parent     TEXT REFERENCES organizations_registry (id),
    depth      INTEGER NOT NULL,
    version    INTEGER NOT NULL DEFAULT 1,  -- of the profile that name, plan and status were taken from
    created_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Organizations whose key was destroyed: nothing but the fact remains.
CREATE TABLE organizations_erased (
    id    TEXT PRIMARY KEY,
    at_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX organizations_registry_by_parent ON organizations_registry (parent, id);

CREATE TABLE membership_secrets (
    name   TEXT PRIMARY KEY,
    sealed BLOB NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE membership_tokens (
    id         TEXT PRIMARY KEY,
    digest     BLOB NOT NULL UNIQUE,
    expires_ms INTEGER NOT NULL,
    spent_ms   INTEGER
) STRICT, WITHOUT ROWID;

-- How far each generation of the cluster key is; the keys themselves never lie here.
CREATE TABLE keys_generations (
    generation INTEGER PRIMARY KEY,
    step       TEXT NOT NULL,  -- wanted, active, settled
    at_ms      INTEGER NOT NULL,
    digest     TEXT
) STRICT;

-- Numbers of nodes that were removed: never given again.
CREATE TABLE membership_retired (
    node       INTEGER PRIMARY KEY,
    retired_ms INTEGER NOT NULL
) STRICT;

-- Levels that came into force. Stays as it is at every level: a binary that is too old reads what it would need.
CREATE TABLE membership_levels (
    level     INTEGER PRIMARY KEY,
    version   TEXT NOT NULL,     -- the first that knows the level
    raised_ms INTEGER NOT NULL,
    raised_by TEXT NOT NULL
) STRICT;

-- Where e-mail addresses lead that log in without naming an organization: domains that were proven.
CREATE TABLE login_routes (
    domain       TEXT PRIMARY KEY,
    organization TEXT NOT NULL,
    method       TEXT NOT NULL,  -- dns, operator
    since_ms     INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX login_routes_by_organization ON login_routes (organization);
