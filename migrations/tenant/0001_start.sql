-- One organization: its profile, who above it may act in it, its quotas and its intelligence. First shape.

CREATE TABLE organizations_profile (
    one        INTEGER PRIMARY KEY CHECK (one = 1),
    id         TEXT NOT NULL,
    slug       TEXT NOT NULL,
    domain     TEXT NOT NULL,
    plan       TEXT NOT NULL,
    status     TEXT NOT NULL,
    parent     TEXT,
    region     TEXT NOT NULL,
    details    TEXT NOT NULL,  -- JSON: what members may change (name, contact, settings ...)
    trial_ends_ms INTEGER,
    created_ms INTEGER NOT NULL,
    updated_ms INTEGER NOT NULL,
    version    INTEGER NOT NULL
) STRICT;

CREATE TABLE organizations_children (
    id         TEXT PRIMARY KEY,
    created_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE access_grants (
    organization TEXT PRIMARY KEY,  -- an ancestor whose administrators oversee this organization
    created_ms   INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE quotas_usage (
    resource TEXT NOT NULL,
    period   TEXT NOT NULL,              -- '' for gauges, '2026-11' or '2026-11-23' for counters
    counted  INTEGER NOT NULL DEFAULT 0, -- from rows of this file; a recount must agree
    reported INTEGER NOT NULL DEFAULT 0, -- by other services of the platform, through the API
    warned   INTEGER NOT NULL DEFAULT 0, -- highest threshold already raised in this period: 0, 80, 90, 100
    PRIMARY KEY (resource, period)
) STRICT, WITHOUT ROWID;

CREATE TABLE intel_objects (
    seq          INTEGER PRIMARY KEY,
    id           TEXT NOT NULL,
    version      TEXT NOT NULL,  -- `modified`, else `created`, else ''
    type         TEXT NOT NULL,
    name         TEXT,           -- its first 256 characters
    external_id  TEXT,
    modified_ms  INTEGER,        -- the moment that `version` names
    is_latest    INTEGER NOT NULL,
    body         TEXT NOT NULL,  -- the object's own JSON text without insignificant white space
    UNIQUE (id, version)
) STRICT;

-- One latest version of each id: a second is a fault, not a row.
CREATE UNIQUE INDEX intel_objects_latest ON intel_objects (id) WHERE is_latest;
CREATE INDEX intel_objects_by_type ON intel_objects (type, seq) WHERE is_latest;
CREATE INDEX intel_objects_by_name ON intel_objects (name, seq) WHERE is_latest;
CREATE INDEX intel_objects_by_external ON intel_objects (external_id, seq) WHERE is_latest;
CREATE INDEX intel_objects_by_modified ON intel_objects (modified_ms, seq) WHERE is_latest;

CREATE TABLE intel_imports (
    id         TEXT PRIMARY KEY,
    digest     TEXT NOT NULL,
    bundle_id  TEXT NOT NULL,
    state      TEXT NOT NULL,     -- running, stopped, done
    total      INTEGER NOT NULL,  -- objects in the bundle
    seen       INTEGER NOT NULL,  -- objects applied, from the front of the bundle
    added      INTEGER NOT NULL,
    updated    INTEGER NOT NULL,
    unchanged  INTEGER NOT NULL,
    reason     TEXT,              -- JSON of the refusal that stopped it
    created_ms INTEGER NOT NULL,
    updated_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE UNIQUE INDEX intel_imports_by_digest ON intel_imports (digest);

-- Domains that the organization says are its own.
CREATE TABLE login_domains (
    domain     TEXT PRIMARY KEY,
    challenge  TEXT NOT NULL,  -- what the domain's name server is to say
    method     TEXT,           -- dns, operator; none until proven
    proven_ms  INTEGER,
    created_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
