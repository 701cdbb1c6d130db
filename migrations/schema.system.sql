-- The present shape of the system file, for reading: what all migrations make together.
-- Written by `UPDATE=1 cargo test --test it the_schemas_for_reading`; change a migration instead.

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

CREATE TABLE backup_drills (
    id     TEXT PRIMARY KEY,
    at_ms  INTEGER NOT NULL,
    passed INTEGER NOT NULL,
    result TEXT NOT NULL          -- JSON
) STRICT, WITHOUT ROWID;

CREATE INDEX backup_drills_by_time ON backup_drills (at_ms);

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

CREATE UNIQUE INDEX backup_restores_by_place ON backup_restores (into_id) WHERE state = 'wanted';

CREATE INDEX backup_restores_by_time ON backup_restores (at_ms);

CREATE TABLE backup_state (
    one           INTEGER PRIMARY KEY CHECK (one = 1),
    lineage       TEXT NOT NULL,
    restored_from TEXT,           -- the history that this one was restored from, up to an entry
    restored_to   INTEGER,
    recovery      BLOB NOT NULL,  -- sealed for the life of the cluster
    policy        TEXT NOT NULL,  -- JSON
    drill_wanted_ms INTEGER       -- somebody asked for a drill that was not made yet
) STRICT;

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

CREATE TABLE keys_generations (
    generation INTEGER PRIMARY KEY,
    step       TEXT NOT NULL,  -- wanted, active, settled
    at_ms      INTEGER NOT NULL,
    digest     TEXT
) STRICT;

CREATE TABLE login_failures (
    key        TEXT PRIMARY KEY,
    failures   INTEGER NOT NULL,
    last_ms    INTEGER NOT NULL,
    trusted_ms INTEGER           -- when that source last logged in to that account
) STRICT, WITHOUT ROWID;

CREATE TABLE login_routes (
    domain       TEXT PRIMARY KEY,
    organization TEXT NOT NULL,
    method       TEXT NOT NULL,  -- dns, operator
    since_ms     INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX login_routes_by_organization ON login_routes (organization);

CREATE TABLE membership_levels (
    level     INTEGER PRIMARY KEY,
    version   TEXT NOT NULL,     -- the first that knows the level
    raised_ms INTEGER NOT NULL,
    raised_by TEXT NOT NULL
) STRICT;

CREATE TABLE membership_retired (
    node       INTEGER PRIMARY KEY,
    retired_ms INTEGER NOT NULL
) STRICT;

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

CREATE TABLE organizations_erased (
    id    TEXT PRIMARY KEY,
    at_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

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

CREATE INDEX organizations_registry_by_parent ON organizations_registry (parent, id);

CREATE TABLE sessions_keys (
    kid      TEXT PRIMARY KEY,
    public   BLOB NOT NULL,
    sealed   BLOB NOT NULL,  -- PKCS#8, sealed under the cluster key
    state    TEXT NOT NULL,  -- next, active, retired
    since_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE UNIQUE INDEX sessions_keys_by_state ON sessions_keys (state) WHERE state <> 'retired';

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
