-- One organization: its profile, who above it may act in it, its quotas, its intelligence and its workspace. First shape.

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

CREATE TABLE access_overseers (
    organization TEXT PRIMARY KEY,  -- an ancestor whose administrators oversee this organization
    created_ms   INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE access_roles (
    id         TEXT PRIMARY KEY,
    name       TEXT NOT NULL UNIQUE,
    body       TEXT NOT NULL,  -- JSON: what it inherits and allows
    created_ms INTEGER NOT NULL,
    updated_ms INTEGER NOT NULL,
    version    INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE access_holdings (
    subject    TEXT NOT NULL,  -- user:<id> or group:<id>
    role       TEXT NOT NULL REFERENCES access_roles (id),
    expires_ms INTEGER,
    created_ms INTEGER NOT NULL,
    PRIMARY KEY (subject, role)
) STRICT, WITHOUT ROWID;

CREATE INDEX access_holdings_by_role ON access_holdings (role, subject);
CREATE INDEX access_holdings_by_expiry ON access_holdings (expires_ms) WHERE expires_ms IS NOT NULL;

CREATE TABLE access_groups (
    id         TEXT PRIMARY KEY,
    name       TEXT NOT NULL UNIQUE,
    body       TEXT NOT NULL,
    created_ms INTEGER NOT NULL,
    updated_ms INTEGER NOT NULL,
    version    INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE access_members (
    user_id    TEXT NOT NULL,
    group_id   TEXT NOT NULL REFERENCES access_groups (id),
    created_ms INTEGER NOT NULL,
    PRIMARY KEY (user_id, group_id)
) STRICT, WITHOUT ROWID;

CREATE INDEX access_members_by_group ON access_members (group_id, user_id);

CREATE TABLE access_grants (
    id         TEXT PRIMARY KEY,
    subject    TEXT NOT NULL,  -- everyone, user:<id>, group:<id>, role:<name or id>
    body       TEXT NOT NULL,  -- JSON: effect, patterns of permissions, resource, condition
    expires_ms INTEGER,
    created_ms INTEGER NOT NULL,
    updated_ms INTEGER NOT NULL,
    version    INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX access_grants_by_subject ON access_grants (subject, id);
CREATE INDEX access_grants_by_expiry ON access_grants (expires_ms) WHERE expires_ms IS NOT NULL;

CREATE TABLE access_policies (
    id         TEXT PRIMARY KEY,
    name       TEXT NOT NULL UNIQUE,
    body       TEXT NOT NULL,  -- JSON: the text of one Cedar policy
    created_ms INTEGER NOT NULL,
    updated_ms INTEGER NOT NULL,
    version    INTEGER NOT NULL
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

-- Investigations, cases and activities. What rules and filters look at has a column; the rest is in the body.
CREATE TABLE workspace_records (
    kind       TEXT NOT NULL,     -- investigation, case, activity
    id         TEXT NOT NULL,     -- UUIDv7: newest last
    owner      TEXT NOT NULL,     -- who created it; may be gone
    assignee   TEXT,
    status     TEXT,
    priority   TEXT,
    classification TEXT,
    severity   TEXT,
    source     TEXT,
    closed_ms  INTEGER,
    created_ms INTEGER NOT NULL,
    updated_ms INTEGER NOT NULL,
    version    INTEGER NOT NULL,
    body       TEXT NOT NULL,     -- JSON: the record's content
    PRIMARY KEY (kind, id)
) STRICT, WITHOUT ROWID;

-- Each ends with the id by itself, which is the order of lists.
CREATE INDEX workspace_records_by_owner ON workspace_records (kind, owner);
CREATE INDEX workspace_records_by_assignee ON workspace_records (kind, assignee) WHERE assignee IS NOT NULL;
CREATE INDEX workspace_records_by_status ON workspace_records (kind, status) WHERE status IS NOT NULL;
CREATE INDEX workspace_records_by_priority ON workspace_records (kind, priority) WHERE priority IS NOT NULL;
CREATE INDEX workspace_records_by_classification ON workspace_records (kind, classification)
    WHERE classification IS NOT NULL;
CREATE INDEX workspace_records_by_severity ON workspace_records (kind, severity) WHERE severity IS NOT NULL;
CREATE INDEX workspace_records_by_source ON workspace_records (kind, source) WHERE source IS NOT NULL;

-- By which words and tags (with # before them) a record is found: they follow from its content.
CREATE TABLE workspace_terms (
    kind TEXT NOT NULL,
    term TEXT NOT NULL,
    id   TEXT NOT NULL,
    PRIMARY KEY (kind, term, id)
) STRICT, WITHOUT ROWID;

CREATE TABLE workspace_collaborators (
    investigation TEXT NOT NULL,
    user_id       TEXT NOT NULL,
    level         TEXT NOT NULL,  -- viewer, collaborator, owner
    created_ms    INTEGER NOT NULL,
    PRIMARY KEY (investigation, user_id)
) STRICT, WITHOUT ROWID;

CREATE INDEX workspace_collaborators_by_user ON workspace_collaborators (user_id, investigation);

CREATE TABLE workspace_notes (
    investigation TEXT NOT NULL,
    id            TEXT NOT NULL,
    parent        TEXT,
    depth         INTEGER NOT NULL, -- 1 for a note that answers none
    author        TEXT NOT NULL,
    kind          TEXT NOT NULL,    -- comment, hypothesis, finding, action
    private       INTEGER NOT NULL,
    removed       INTEGER NOT NULL DEFAULT 0, -- emptied, and kept for those that answer it
    created_ms    INTEGER NOT NULL,
    updated_ms    INTEGER NOT NULL,
    version       INTEGER NOT NULL,
    body          TEXT NOT NULL,
    PRIMARY KEY (investigation, id)
) STRICT, WITHOUT ROWID;

CREATE INDEX workspace_notes_by_parent ON workspace_notes (investigation, parent) WHERE parent IS NOT NULL;
