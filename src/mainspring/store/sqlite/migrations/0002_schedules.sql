-- Schedules and the record of their runs. Times are seconds since 1970. What each fire writes stands first; what
-- people declared is one JSON value, for only they change it.
CREATE TABLE schedules (
    seq INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    revision INTEGER NOT NULL,
    next REAL,
    due REAL,
    fired_to REAL NOT NULL,
    runs INTEGER NOT NULL,
    missed INTEGER NOT NULL,
    skipped INTEGER NOT NULL,
    number INTEGER NOT NULL,
    begin_at REAL NOT NULL,
    paused TEXT NOT NULL,
    created REAL NOT NULL,
    changed REAL NOT NULL,
    dropped REAL,
    declared_by TEXT NOT NULL,
    keep INTEGER NOT NULL,      -- as in the definition
    keep_for REAL,              -- the same
    definition TEXT NOT NULL    -- JSON
);

-- The order of firing. It holds only what may fire, so it costs nothing to start with however many schedules.
CREATE INDEX schedules_due ON schedules (due, id) WHERE due IS NOT NULL AND paused = '' AND dropped IS NULL;
CREATE INDEX schedules_declared ON schedules (declared_by, id) WHERE declared_by <> '' AND dropped IS NULL;
CREATE INDEX schedules_dropped ON schedules (dropped) WHERE dropped IS NOT NULL;

-- The ledger: what became of each slot. An open run has a job, and no end. `until`: when it may be removed, if ever; -1
-- for one that is beyond what its schedule keeps. In the order in which they come, so that a fire of many schedules
-- touches few pages.
CREATE TABLE schedule_runs (
    seq INTEGER PRIMARY KEY,
    schedule TEXT NOT NULL,
    number INTEGER NOT NULL,
    kind TEXT NOT NULL,
    slot REAL,
    last_slot REAL,
    count INTEGER NOT NULL,
    job TEXT,
    group_id TEXT,
    fired REAL NOT NULL,
    state TEXT,
    started REAL,
    ended REAL,
    attempts INTEGER NOT NULL,
    error TEXT NOT NULL,
    until REAL,
    UNIQUE (schedule, number)
);

CREATE INDEX schedule_runs_open ON schedule_runs (schedule, number) WHERE job IS NOT NULL AND ended IS NULL;
CREATE INDEX schedule_runs_until ON schedule_runs (until) WHERE until IS NOT NULL;

-- How often people have changed a schedule: what the schedulers of other processes look at, instead of all schedules.
CREATE TABLE schedule_changes (number INTEGER NOT NULL);
INSERT INTO schedule_changes (number) VALUES (0);
