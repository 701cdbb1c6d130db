-- What every file has: its own watermark, remembered replies, effects on their way to other files,
-- the audit trail, and the people who log in to it. First shape.

CREATE TABLE spine_state (
    one    INTEGER PRIMARY KEY CHECK (one = 1),
    mark   INTEGER NOT NULL,  -- index of the last entry applied to this file
    at_ms  INTEGER NOT NULL,  -- stamp of that entry; never falls
    level  INTEGER NOT NULL,  -- migrations that have run
    data_key INTEGER NOT NULL DEFAULT 1, -- number of the newest key it is encrypted under
    sum    BLOB NOT NULL      -- sum of the digests of all other rows (store/sum.rs), compared between replicas
) STRICT;

CREATE TABLE spine_replies (
    request     BLOB PRIMARY KEY,
    at_ms       INTEGER NOT NULL,
    fingerprint BLOB NOT NULL,
    outcome     BLOB NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX spine_replies_by_age ON spine_replies (at_ms);

CREATE TABLE spine_outbox (
    id       TEXT PRIMARY KEY,
    at_ms    INTEGER NOT NULL,
    proposal TEXT NOT NULL
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

-- Personal fields of an event, outside the leaf; the leaf holds HMAC-SHA-256(salt, personal).
-- Deleting the row erases the person and leaves the chain whole.
CREATE TABLE audit_personal (
    seq      INTEGER PRIMARY KEY REFERENCES audit_events (seq),
    salt     BLOB NOT NULL,
    personal BLOB NOT NULL
) STRICT;

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

-- Links that were handed out and not used: invitations and new passwords.
CREATE TABLE identity_links (
    digest     TEXT PRIMARY KEY,  -- SHA-256 of its secret, hexadecimal
    user_id    TEXT NOT NULL REFERENCES identity_users (id) ON DELETE CASCADE,
    purpose    TEXT NOT NULL,     -- invitation, password
    approved   INTEGER NOT NULL,  -- whether who made it could have approved the user, too
    expires_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX identity_links_by_user ON identity_links (user_id);

-- Deleted people whose traces in the trail's personal fields are not all gone yet.
CREATE TABLE identity_erasures (
    user_id   TEXT PRIMARY KEY,
    email     TEXT NOT NULL,
    erased_to INTEGER NOT NULL  -- events up to this number hold no trace any more
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

CREATE INDEX sessions_open_by_user ON sessions_open (user_id, id);
CREATE INDEX sessions_open_by_seen ON sessions_open (seen_ms);

-- How long sessions last; without a row the defaults of the program hold.
CREATE TABLE sessions_policy (
    one            INTEGER PRIMARY KEY CHECK (one = 1),
    idle_minutes   INTEGER NOT NULL,
    absolute_hours INTEGER NOT NULL,
    concurrent_max INTEGER NOT NULL,
    version        INTEGER NOT NULL
) STRICT;

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

CREATE TABLE factors_recovery (
    user_id TEXT NOT NULL REFERENCES identity_users (id) ON DELETE CASCADE,
    digest  TEXT NOT NULL,  -- keyed digest of a code that was not used yet
    PRIMARY KEY (user_id, digest)
) STRICT, WITHOUT ROWID;

CREATE TABLE factors_users (
    user_id      TEXT PRIMARY KEY REFERENCES identity_users (id) ON DELETE CASCADE,
    due_ms       INTEGER,          -- until when it may log in without the factor that is asked of it
    attempts     INTEGER NOT NULL, -- to show a second factor, since the last that held
    attempted_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Handles that were used: each is good once.
CREATE TABLE factors_spent (
    id       TEXT PRIMARY KEY,
    until_ms INTEGER NOT NULL  -- when the handle would have ended; the row is of no use after
) STRICT, WITHOUT ROWID;

CREATE INDEX factors_spent_by_end ON factors_spent (until_ms);

CREATE TABLE factors_policy (
    one        INTEGER PRIMARY KEY CHECK (one = 1),
    policy     TEXT NOT NULL,  -- JSON
    updated_ms INTEGER NOT NULL,
    version    INTEGER NOT NULL
) STRICT;

-- How often logins failed. Keys are digests under the cluster's key: of a source at an account, a source, an account.
CREATE TABLE login_failures (
    key        TEXT PRIMARY KEY,
    failures   INTEGER NOT NULL,
    last_ms    INTEGER NOT NULL,
    trusted_ms INTEGER           -- when that source last logged in to that account
) STRICT, WITHOUT ROWID;
