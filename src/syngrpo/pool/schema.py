"""The tables of a pool.

``samples`` never change once written. What changes about a sample (state, visits, diversity) lives
in the narrow table ``standing``, so that reading a million of them does not touch their bodies.
``standing.changed`` is the number of the write transaction that last touched the row: a reader
that remembers the highest one it saw catches up by reading only what is above it. ``tallies`` are
counts kept by triggers, so that statistics and limits cost the same for ten samples and a million.
A sample's dataset stands in ``standing``, where every draw reads it, as a number; all that
descends from a seed has the seed's.
"""

from __future__ import annotations

VERSION = 3
UPGRADES = {
    2: """
ALTER TABLE jobs ADD COLUMN policy_version INTEGER;
ALTER TABLE jobs ADD COLUMN response TEXT;
CREATE INDEX jobs_queued_for ON jobs (generator, number) WHERE state = 'queued';
CREATE TABLE mirrored (source TEXT PRIMARY KEY, cursor INTEGER NOT NULL) WITHOUT ROWID;
""",
}
"""What makes a pool of an older version one of the next."""

APPLICATION_ID = 0x53594E47  # "SYNG"

SCHEMA = """
CREATE TABLE datasets (
    number INTEGER PRIMARY KEY,
    name   TEXT NOT NULL UNIQUE
);
INSERT INTO datasets VALUES (0, '');

CREATE TABLE samples (
    number  INTEGER PRIMARY KEY,            -- order of admission
    id      TEXT NOT NULL UNIQUE,
    parent  INTEGER REFERENCES samples (number),
    job     TEXT UNIQUE,                    -- the job that made it; NULL for a seed
    image   TEXT NOT NULL,                  -- sha256 of the encoded bytes
    body    TEXT NOT NULL,                  -- everything else of the sample, JSON
    created REAL NOT NULL
);
CREATE INDEX samples_parent ON samples (parent) WHERE parent IS NOT NULL;

CREATE TABLE standing (
    number         INTEGER PRIMARY KEY REFERENCES samples (number),
    root           INTEGER NOT NULL REFERENCES samples (number),  -- the seed it descends from
    depth          INTEGER NOT NULL,                              -- 0 for a seed
    dataset        INTEGER NOT NULL DEFAULT 0 REFERENCES datasets (number),
    state          TEXT NOT NULL CHECK (state IN ('active', 'retired', 'quarantined')),
    reason         TEXT,
    visits         INTEGER NOT NULL DEFAULT 0,
    diversity_mean REAL,
    diversity_last REAL,
    changed        INTEGER NOT NULL
);
CREATE INDEX standing_changed ON standing (changed);
CREATE INDEX standing_family ON standing (root) WHERE depth > 0 AND state = 'active';

CREATE TABLE observations (
    number         INTEGER PRIMARY KEY,
    sample         INTEGER NOT NULL REFERENCES samples (number),
    step           INTEGER NOT NULL,
    policy_version INTEGER NOT NULL,
    diversity      REAL NOT NULL,
    accuracy       REAL NOT NULL,
    UNIQUE (sample, step, policy_version)
);

CREATE TABLE jobs (
    number      INTEGER PRIMARY KEY,        -- order of submission
    id          TEXT NOT NULL UNIQUE,       -- sha256 of the idempotency key
    parent      INTEGER NOT NULL REFERENCES samples (number),
    root        INTEGER NOT NULL REFERENCES samples (number),
    description TEXT NOT NULL,
    seed        INTEGER NOT NULL,
    generator   TEXT NOT NULL,
    state       TEXT NOT NULL
                CHECK (state IN ('queued', 'leased', 'admitted', 'rejected', 'dead')),
    attempts    INTEGER NOT NULL DEFAULT 0,
    worker      TEXT,
    lease_until REAL,                       -- seconds since the epoch
    error       TEXT,                       -- of the last failed attempt
    reason      TEXT,                       -- why the gate rejected it
    scores      TEXT,                       -- gate scores, JSON
    cursor      INTEGER,                    -- order of completion
    policy_version INTEGER,                 -- of the policy that wrote the description
    response    TEXT                        -- the whole of what it wrote
);
CREATE INDEX jobs_queued ON jobs (number) WHERE state = 'queued';
CREATE INDEX jobs_queued_for ON jobs (generator, number) WHERE state = 'queued';
CREATE INDEX jobs_leased ON jobs (lease_until) WHERE state = 'leased';
CREATE INDEX jobs_family ON jobs (root) WHERE state IN ('queued', 'leased');
CREATE UNIQUE INDEX jobs_cursor ON jobs (cursor) WHERE cursor IS NOT NULL;

-- How far the ended jobs of other pools have been recorded here.
CREATE TABLE mirrored (source TEXT PRIMARY KEY, cursor INTEGER NOT NULL) WITHOUT ROWID;

CREATE TABLE tallies (name TEXT PRIMARY KEY, count INTEGER NOT NULL) WITHOUT ROWID;

CREATE TRIGGER standing_inserted AFTER INSERT ON standing BEGIN
    INSERT INTO tallies VALUES
        (CASE WHEN NEW.depth > 0 THEN 'synthetic/' ELSE 'seed/' END || NEW.state, 1),
        ('unmeasured', NEW.depth > 0 AND NEW.visits = 0 AND NEW.state = 'active'),
        ('depth', NEW.depth * (NEW.state = 'active'))
    ON CONFLICT (name) DO UPDATE SET count = count + excluded.count;
END;

CREATE TRIGGER standing_updated AFTER UPDATE OF state, visits ON standing
WHEN OLD.state <> NEW.state OR (OLD.visits = 0) <> (NEW.visits = 0) BEGIN
    INSERT INTO tallies VALUES
        (CASE WHEN NEW.depth > 0 THEN 'synthetic/' ELSE 'seed/' END || OLD.state, -1),
        (CASE WHEN NEW.depth > 0 THEN 'synthetic/' ELSE 'seed/' END || NEW.state, 1),
        ('unmeasured', (NEW.depth > 0 AND NEW.visits = 0 AND NEW.state = 'active')
                     - (OLD.depth > 0 AND OLD.visits = 0 AND OLD.state = 'active')),
        ('depth', NEW.depth * ((NEW.state = 'active') - (OLD.state = 'active')))
    ON CONFLICT (name) DO UPDATE SET count = count + excluded.count;
END;

CREATE TRIGGER jobs_inserted AFTER INSERT ON jobs BEGIN
    INSERT INTO tallies VALUES ('job/' || NEW.state, 1)
    ON CONFLICT (name) DO UPDATE SET count = count + 1;
END;

CREATE TRIGGER jobs_updated AFTER UPDATE OF state ON jobs WHEN OLD.state <> NEW.state BEGIN
    INSERT INTO tallies VALUES ('job/' || OLD.state, -1), ('job/' || NEW.state, 1)
    ON CONFLICT (name) DO UPDATE SET count = count + excluded.count;
END;

CREATE TRIGGER jobs_rejected AFTER UPDATE OF state ON jobs WHEN NEW.state = 'rejected' BEGIN
    INSERT INTO tallies VALUES ('rejected/' || NEW.reason, 1)
    ON CONFLICT (name) DO UPDATE SET count = count + 1;
END;
"""
