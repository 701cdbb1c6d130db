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

-- Keys that sign access tokens: published as `next` before one is used, kept as `retired` while its tokens last.
CREATE TABLE sessions_keys (
    kid      TEXT PRIMARY KEY,
    public   BLOB NOT NULL,
    sealed   BLOB NOT NULL,  -- PKCS#8, sealed under the cluster key
    state    TEXT NOT NULL,  -- next, active, retired
    since_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Never two that sign, never two that are next.
CREATE UNIQUE INDEX sessions_keys_by_state ON sessions_keys (state) WHERE state <> 'retired';

-- Where backups go.
CREATE TABLE backup_targets (
    name        TEXT PRIMARY KEY,
    settings    TEXT NOT NULL,   -- JSON, without secrets
    credentials BLOB,            -- JSON, sealed for the life of the cluster
    created_ms  INTEGER NOT NULL,
    -- How far it has come, as its uploader said last.
    archived    INTEGER NOT NULL DEFAULT 0,
    archived_ms INTEGER,
    cut         INTEGER NOT NULL DEFAULT 0,
    cut_ms      INTEGER,
    said_ms     INTEGER,
    failing     TEXT             -- what fails, and nothing while all is well
) STRICT, WITHOUT ROWID;

-- The history that is backed up now, how, and the recovery key of its vault.
CREATE TABLE backup_state (
    one           INTEGER PRIMARY KEY CHECK (one = 1),
    lineage       TEXT NOT NULL,
    restored_from TEXT,           -- the history that this one was restored from, up to an entry
    restored_to   INTEGER,
    recovery      BLOB NOT NULL,  -- sealed for the life of the cluster
    policy        TEXT NOT NULL,  -- JSON
    drill_wanted_ms INTEGER       -- somebody asked for a drill that was not made yet
) STRICT;

-- What drills found: evidence.
CREATE TABLE backup_drills (
    id     TEXT PRIMARY KEY,
    at_ms  INTEGER NOT NULL,
    passed INTEGER NOT NULL,
    result TEXT NOT NULL          -- JSON
) STRICT, WITHOUT ROWID;

CREATE INDEX backup_drills_by_time ON backup_drills (at_ms);

-- Organizations that are to be brought back from a backup while the cluster serves, and what became of each.
CREATE TABLE backup_restores (
    id           TEXT PRIMARY KEY,
    organization TEXT NOT NULL,  -- whose content
    into_id      TEXT NOT NULL,  -- into whose place: its own, or that of another that is new
    target       TEXT NOT NULL,  -- from which target
    upto         TEXT NOT NULL,  -- JSON: to which moment
    at_ms        INTEGER NOT NULL,
    state        TEXT NOT NULL,  -- wanted, done, failed
    ended_ms     INTEGER,
    result       TEXT            -- JSON: what was restored, or why it was not
) STRICT, WITHOUT ROWID;

CREATE INDEX backup_restores_by_time ON backup_restores (at_ms);

-- One at a time in a place.
CREATE UNIQUE INDEX backup_restores_by_place ON backup_restores (into_id) WHERE state = 'wanted';
