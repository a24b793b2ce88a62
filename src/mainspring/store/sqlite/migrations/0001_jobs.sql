-- One table for all jobs (decision 0004). What is looked at on each claim stands first and the large values last, so
-- that a row is read only as far as needed; what few jobs have is packed (`spent`, `more`), so that writing a row,
-- which SQLite always does whole, stays cheap. Times are seconds since 1970.
CREATE TABLE jobs (
    seq INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    state TEXT NOT NULL,
    queue TEXT NOT NULL,
    task TEXT NOT NULL,
    version TEXT NOT NULL,
    priority INTEGER NOT NULL,
    suspect INTEGER NOT NULL DEFAULT 0,
    due REAL NOT NULL,
    created REAL NOT NULL,
    expires REAL,
    lease INTEGER NOT NULL DEFAULT 0,
    settled INTEGER NOT NULL DEFAULT 0,
    attempt INTEGER NOT NULL DEFAULT 0,
    worker TEXT,
    claim INTEGER NOT NULL DEFAULT 0,
    claimed REAL,
    started REAL,
    begun REAL,
    finished REAL,
    cancel_requested INTEGER NOT NULL DEFAULT 0,
    linked INTEGER NOT NULL DEFAULT 0,
    reason TEXT NOT NULL,
    error TEXT,     -- JSON: type, message, traceback
    spent TEXT,     -- JSON: round, crashes, rescues, counters; NULL when nothing is used up
    more TEXT,      -- JSON: tags, hooks, keys and relations; NULL when the job has none
    options BLOB NOT NULL,
    payload BLOB NOT NULL,
    result BLOB
);

-- Conditions are comparisons, not IN lists: for those SQLite builds a table anew for each row that it writes.

-- The order of a claim. It holds only what may run now, so its size never depends on what waits or has ended.
CREATE INDEX jobs_ready ON jobs (queue, task, version, suspect, priority DESC, due, id) WHERE state = 'ready';
CREATE INDEX jobs_scheduled ON jobs (due) WHERE state = 'scheduled';
CREATE INDEX jobs_expires ON jobs (expires)
    WHERE expires IS NOT NULL AND finished IS NULL AND state <> 'running';
CREATE INDEX jobs_running ON jobs (worker, claim) WHERE state = 'running';
CREATE INDEX jobs_finished ON jobs (state, finished) WHERE finished IS NOT NULL;

-- For `find`. Ready, running and completed jobs are the hot path and are found without this one.
CREATE INDEX jobs_state ON jobs (state, id) WHERE state <> 'completed' AND state <> 'ready' AND state <> 'running';
CREATE INDEX jobs_task ON jobs (task, id);

-- What jobs are found by and few jobs have: tag, parent, correlation, schedule, group, waits_on.
CREATE TABLE job_marks (
    kind TEXT NOT NULL,
    value TEXT NOT NULL,
    job TEXT NOT NULL,
    PRIMARY KEY (kind, value, job)
) WITHOUT ROWID;

-- How many jobs there are, kept with every change: counting millions of rows would take seconds.
CREATE TABLE tallies (
    queue TEXT NOT NULL,
    task TEXT NOT NULL,
    version TEXT NOT NULL,
    state TEXT NOT NULL,
    number INTEGER NOT NULL,
    PRIMARY KEY (queue, task, version, state)
) WITHOUT ROWID;

CREATE TABLE attempts (
    job TEXT NOT NULL,
    lease INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    ending TEXT NOT NULL,
    worker TEXT,
    claimed REAL,
    started REAL,
    ended REAL,
    error TEXT,
    PRIMARY KEY (job, lease)
) WITHOUT ROWID;

CREATE TABLE progress (
    job TEXT PRIMARY KEY NOT NULL,
    value BLOB NOT NULL
) WITHOUT ROWID;

CREATE TABLE unique_keys (
    key TEXT PRIMARY KEY NOT NULL,
    job TEXT NOT NULL,
    until REAL
) WITHOUT ROWID;

CREATE TABLE groups (
    id TEXT PRIMARY KEY NOT NULL,
    size INTEGER NOT NULL,
    remaining INTEGER NOT NULL,
    failed INTEGER NOT NULL,
    on_failure TEXT NOT NULL
) WITHOUT ROWID;

CREATE TABLE workers (
    id TEXT PRIMARY KEY NOT NULL,
    name TEXT NOT NULL,
    host TEXT NOT NULL,
    pid INTEGER NOT NULL,
    queues TEXT NOT NULL,
    lease_time REAL NOT NULL,
    joined REAL NOT NULL,
    beat REAL NOT NULL,
    steady_since REAL NOT NULL,
    stalled INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE paused_queues (
    queue TEXT PRIMARY KEY NOT NULL
) WITHOUT ROWID;
