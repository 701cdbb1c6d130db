-- The present shape of the tenant file, for reading: what all migrations make together.
-- Written by `UPDATE=1 cargo test --test it the_schemas_for_reading`; change a migration instead.

CREATE TABLE access_grants (
    id         TEXT PRIMARY KEY,
    subject    TEXT NOT NULL,  -- everyone, user:<id>, group:<id>, role:<name or id>
    body       TEXT NOT NULL,  -- JSON: effect, patterns of permissions, resource, condition
    expires_ms INTEGER,
    created_ms INTEGER NOT NULL,
    updated_ms INTEGER NOT NULL,
    version    INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX access_grants_by_expiry ON access_grants (expires_ms) WHERE expires_ms IS NOT NULL;

CREATE INDEX access_grants_by_subject ON access_grants (subject, id);

CREATE TABLE access_groups (
    id         TEXT PRIMARY KEY,
    name       TEXT NOT NULL UNIQUE,
    body       TEXT NOT NULL,
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

CREATE INDEX access_holdings_by_expiry ON access_holdings (expires_ms) WHERE expires_ms IS NOT NULL;

CREATE INDEX access_holdings_by_role ON access_holdings (role, subject);

CREATE TABLE access_members (
    user_id    TEXT NOT NULL,
    group_id   TEXT NOT NULL REFERENCES access_groups (id),
    created_ms INTEGER NOT NULL,
    PRIMARY KEY (user_id, group_id)
) STRICT, WITHOUT ROWID;

CREATE INDEX access_members_by_group ON access_members (group_id, user_id);

CREATE TABLE access_overseers (
    organization TEXT PRIMARY KEY,  -- an ancestor whose administrators oversee this organization
    created_ms   INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE access_policies (
    id         TEXT PRIMARY KEY,
    name       TEXT NOT NULL UNIQUE,
    body       TEXT NOT NULL,  -- JSON: the text of one Cedar policy
    created_ms INTEGER NOT NULL,
    updated_ms INTEGER NOT NULL,
    version    INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE access_roles (
    id         TEXT PRIMARY KEY,
    name       TEXT NOT NULL UNIQUE,
    body       TEXT NOT NULL,  -- JSON: what it inherits and allows
    created_ms INTEGER NOT NULL,
    updated_ms INTEGER NOT NULL,
    version    INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE audit_events (
    seq           INTEGER PRIMARY KEY,
    id            TEXT NOT NULL UNIQUE,
    at_ms         INTEGER NOT NULL,
    actor_id      TEXT,
    action        TEXT NOT NULL,
    resource_type TEXT NOT NULL,
    resource_id   TEXT,
    outcome       TEXT NOT NULL,
    leaf          BLOB NOT NULL,  -- RFC 8785 canonical JSON; hashed as stored, never re-serialised
    chain         BLOB NOT NULL   -- SHA-256(chain before || SHA-256(0x00 || leaf))
) STRICT;

CREATE TABLE audit_personal (
    seq      INTEGER PRIMARY KEY REFERENCES audit_events (seq),
    salt     BLOB NOT NULL,
    personal BLOB NOT NULL
) STRICT;

CREATE TABLE factors_passkeys (
    id            TEXT PRIMARY KEY,
    user_id       TEXT NOT NULL REFERENCES identity_users (id) ON DELETE CASCADE,
    name          TEXT NOT NULL,
    credential_id TEXT NOT NULL UNIQUE, -- hexadecimal
    credential    TEXT NOT NULL,        -- the public key and what belongs to it, as the edge's library writes it
    counter       INTEGER NOT NULL,     -- signatures so far, as the authenticator counts; 0 when it does not
    backed_up     INTEGER NOT NULL,
    used_ms       INTEGER,
    created_ms    INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX factors_passkeys_by_user ON factors_passkeys (user_id);

CREATE TABLE factors_policy (
    one        INTEGER PRIMARY KEY CHECK (one = 1),
    policy     TEXT NOT NULL,  -- JSON
    updated_ms INTEGER NOT NULL,
    version    INTEGER NOT NULL
) STRICT;

CREATE TABLE factors_recovery (
    user_id TEXT NOT NULL REFERENCES identity_users (id) ON DELETE CASCADE,
    digest  TEXT NOT NULL,  -- keyed digest of a code that was not used yet
    PRIMARY KEY (user_id, digest)
) STRICT, WITHOUT ROWID;

CREATE TABLE factors_spent (
    id       TEXT PRIMARY KEY,
    until_ms INTEGER NOT NULL  -- when the handle would have ended; the row is of no use after
) STRICT, WITHOUT ROWID;

CREATE INDEX factors_spent_by_end ON factors_spent (until_ms);

CREATE TABLE factors_totp (
    id           TEXT PRIMARY KEY,
    user_id      TEXT NOT NULL REFERENCES identity_users (id) ON DELETE CASCADE,
    name         TEXT NOT NULL,
    sealed       BLOB NOT NULL,    -- the secret, sealed at the edge (docs/decisions/0021)
    last_step    INTEGER NOT NULL, -- the newest time step whose code was used
    confirmed_ms INTEGER,          -- none until its first code was shown: it does not count before
    used_ms      INTEGER,
    created_ms   INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX factors_totp_by_user ON factors_totp (user_id);

CREATE TABLE factors_users (
    user_id      TEXT PRIMARY KEY REFERENCES identity_users (id) ON DELETE CASCADE,
    due_ms       INTEGER,          -- until when it may log in without the factor that is asked of it
    attempts     INTEGER NOT NULL, -- to show a second factor, since the last that held
    attempted_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE identity_erasures (
    user_id   TEXT PRIMARY KEY,
    email     TEXT NOT NULL,
    erased_to INTEGER NOT NULL  -- events up to this number hold no trace any more
) STRICT, WITHOUT ROWID;

CREATE TABLE identity_links (
    digest     TEXT PRIMARY KEY,  -- SHA-256 of its secret, hexadecimal
    user_id    TEXT NOT NULL REFERENCES identity_users (id) ON DELETE CASCADE,
    purpose    TEXT NOT NULL,     -- invitation, password
    approved   INTEGER NOT NULL,  -- whether who made it could have approved the user, too
    expires_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX identity_links_by_user ON identity_links (user_id);

CREATE TABLE identity_users (
    id            TEXT PRIMARY KEY,
    email         TEXT NOT NULL UNIQUE,
    username      TEXT UNIQUE,
    first_name    TEXT NOT NULL DEFAULT '',
    last_name     TEXT NOT NULL DEFAULT '',
    role          TEXT NOT NULL,
    password_hash TEXT,
    state         TEXT NOT NULL,              -- invited, pending, active, deactivated
    must_change_password INTEGER NOT NULL DEFAULT 0,
    break_glass   INTEGER NOT NULL DEFAULT 0, -- gets in when nothing else does; every login of it is an alarm
    preferences   TEXT NOT NULL DEFAULT '{}', -- JSON, as the user's client wrote it
    activated_ms  INTEGER NOT NULL DEFAULT 0, -- when it last became active: before that nobody calls it inactive
    last_login_ms INTEGER,
    created_ms    INTEGER NOT NULL,
    updated_ms    INTEGER NOT NULL,
    version       INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

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

CREATE INDEX intel_objects_by_external ON intel_objects (external_id, seq) WHERE is_latest;

CREATE INDEX intel_objects_by_modified ON intel_objects (modified_ms, seq) WHERE is_latest;

CREATE INDEX intel_objects_by_name ON intel_objects (name, seq) WHERE is_latest;

CREATE INDEX intel_objects_by_type ON intel_objects (type, seq) WHERE is_latest;

CREATE UNIQUE INDEX intel_objects_latest ON intel_objects (id) WHERE is_latest;

CREATE TABLE login_domains (
    domain     TEXT PRIMARY KEY,
    challenge  TEXT NOT NULL,  -- what the domain's name server is to say
    method     TEXT,           -- dns, operator; none until proven
    proven_ms  INTEGER,
    created_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE login_failures (
    key        TEXT PRIMARY KEY,
    failures   INTEGER NOT NULL,
    last_ms    INTEGER NOT NULL,
    trusted_ms INTEGER           -- when that source last logged in to that account
) STRICT, WITHOUT ROWID;

CREATE TABLE organizations_children (
    id         TEXT PRIMARY KEY,
    created_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

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

CREATE TABLE quotas_usage (
    resource TEXT NOT NULL,
    period   TEXT NOT NULL,              -- '' for gauges, '2026-11' or '2026-11-23' for counters
    counted  INTEGER NOT NULL DEFAULT 0, -- from rows of this file; a recount must agree
    reported INTEGER NOT NULL DEFAULT 0, -- by other services of the platform, through the API
    warned   INTEGER NOT NULL DEFAULT 0, -- highest threshold already raised in this period: 0, 80, 90, 100
    PRIMARY KEY (resource, period)
) STRICT, WITHOUT ROWID;

CREATE TABLE sessions_open (
    id         TEXT PRIMARY KEY,
    user_id    TEXT NOT NULL REFERENCES identity_users (id) ON DELETE CASCADE,
    created_ms INTEGER NOT NULL,  -- the absolute limit counts from here
    auth_ms    INTEGER NOT NULL,  -- when its user last proved who it is
    seen_ms    INTEGER NOT NULL,  -- the idle limit counts from here; moves at most once a minute
    amr        TEXT NOT NULL,     -- how it was proven: words of RFC 8176, with spaces between
    address    TEXT,
    agent      TEXT,
    refresh    BLOB NOT NULL,     -- SHA-256 of the refresh token that is good
    previous   BLOB,              -- of the one before it, which is good for some seconds more
    rotated_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX sessions_open_by_seen ON sessions_open (seen_ms);

CREATE INDEX sessions_open_by_user ON sessions_open (user_id, id);

CREATE TABLE sessions_policy (
    one            INTEGER PRIMARY KEY CHECK (one = 1),
    idle_minutes   INTEGER NOT NULL,
    absolute_hours INTEGER NOT NULL,
    concurrent_max INTEGER NOT NULL,
    version        INTEGER NOT NULL
) STRICT;

CREATE TABLE spine_outbox (
    id       TEXT PRIMARY KEY,
    at_ms    INTEGER NOT NULL,
    proposal TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE spine_replies (
    request     BLOB PRIMARY KEY,
    at_ms       INTEGER NOT NULL,
    fingerprint BLOB NOT NULL,
    outcome     BLOB NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX spine_replies_by_age ON spine_replies (at_ms);

CREATE TABLE spine_state (
    one    INTEGER PRIMARY KEY CHECK (one = 1),
    mark   INTEGER NOT NULL,  -- index of the last entry applied to this file
    at_ms  INTEGER NOT NULL,  -- stamp of that entry; never falls
    level  INTEGER NOT NULL,  -- migrations that have run
    data_key INTEGER NOT NULL DEFAULT 1, -- number of the newest key it is encrypted under
    sum    BLOB NOT NULL      -- sum of the digests of all other rows (store/sum.rs), compared between replicas
) STRICT;

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

CREATE INDEX workspace_records_by_assignee ON workspace_records (kind, assignee) WHERE assignee IS NOT NULL;

CREATE INDEX workspace_records_by_classification ON workspace_records (kind, classification)
    WHERE classification IS NOT NULL;

CREATE INDEX workspace_records_by_owner ON workspace_records (kind, owner);

CREATE INDEX workspace_records_by_priority ON workspace_records (kind, priority) WHERE priority IS NOT NULL;

CREATE INDEX workspace_records_by_severity ON workspace_records (kind, severity) WHERE severity IS NOT NULL;

CREATE INDEX workspace_records_by_source ON workspace_records (kind, source) WHERE source IS NOT NULL;

CREATE INDEX workspace_records_by_status ON workspace_records (kind, status) WHERE status IS NOT NULL;

CREATE TABLE workspace_terms (
    kind TEXT NOT NULL,
    term TEXT NOT NULL,
    id   TEXT NOT NULL,
    PRIMARY KEY (kind, term, id)
) STRICT, WITHOUT ROWID;
