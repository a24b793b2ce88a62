-- Live jobs are narrow and few; what has ended lies apart (decision 0008). `{schema}` is the schema's name, quoted.
-- JSON that only the engine reads is `json`, not `jsonb`: it comes back as it was given.

-- The one place from which time is read. Tests replace it.
CREATE FUNCTION {schema}.clock() RETURNS timestamptz LANGUAGE sql VOLATILE AS 'SELECT clock_timestamp()';

CREATE TABLE {schema}.jobs (
    id uuid NOT NULL,
    created timestamptz NOT NULL,
    due timestamptz NOT NULL,
    expires timestamptz,
    claimed timestamptz,
    started timestamptz,
    begun timestamptz,
    unique_until timestamptz,
    slot timestamptz,
    lease bigint NOT NULL DEFAULT 0,
    settled bigint NOT NULL DEFAULT 0,
    claim bigint NOT NULL DEFAULT 0,
    priority integer NOT NULL,
    attempt integer NOT NULL DEFAULT 0,
    round integer NOT NULL DEFAULT 0,
    crashes integer NOT NULL DEFAULT 0,
    rescues integer NOT NULL DEFAULT 0,
    suspect boolean NOT NULL DEFAULT false,
    cancel_requested boolean NOT NULL DEFAULT false,
    linked boolean NOT NULL DEFAULT false,
    state text COLLATE "C" NOT NULL,
    queue text COLLATE "C" NOT NULL,
    task text COLLATE "C" NOT NULL,
    version text COLLATE "C" NOT NULL,
    worker text COLLATE "C",
    reason text NOT NULL DEFAULT '',
    unique_key text COLLATE "C",
    correlation text COLLATE "C",
    trace text,
    schedule text COLLATE "C",
    parent text COLLATE "C",
    root text COLLATE "C",
    waits_on text COLLATE "C",
    group_id text COLLATE "C",
    tags text[] COLLATE "C",
    counters jsonb,
    error jsonb,
    hooks jsonb,
    metadata json,
    options json,
    payload json,
    PRIMARY KEY (id)
) WITH (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 10000);

COMMENT ON TABLE {schema}.jobs IS 'Jobs that have not ended. Those that have are in jobs_done and jobs_kept.';
COMMENT ON COLUMN {schema}.jobs.id IS 'UUIDv7, made by whoever enqueued it';
COMMENT ON COLUMN {schema}.jobs.created IS 'When it was added, by the server''s clock';
COMMENT ON COLUMN {schema}.jobs.due IS 'From when on it may run; within a priority the earlier one runs first';
COMMENT ON COLUMN {schema}.jobs.expires IS 'After this it is not started any more';
COMMENT ON COLUMN {schema}.jobs.claimed IS 'When its worker was given it';
COMMENT ON COLUMN {schema}.jobs.started IS 'When its function was started, as far as the worker has told';
COMMENT ON COLUMN {schema}.jobs.begun IS 'When the first attempt of this life was handed out: give_up_after counts from it';
COMMENT ON COLUMN {schema}.jobs.unique_until IS 'Until when its unique key stays taken; null: until it ends';
COMMENT ON COLUMN {schema}.jobs.slot IS 'The time of its schedule that it stands for';
COMMENT ON COLUMN {schema}.jobs.lease IS 'The right to settle it; grows with each claim';
COMMENT ON COLUMN {schema}.jobs.settled IS 'The lease whose settlement was accepted last';
COMMENT ON COLUMN {schema}.jobs.claim IS 'The number of the claim of its worker that got it';
COMMENT ON COLUMN {schema}.jobs.priority IS 'Higher runs first';
COMMENT ON COLUMN {schema}.jobs.attempt IS 'Runs so far; given back by snooze, sleep, wait and release';
COMMENT ON COLUMN {schema}.jobs.round IS 'Lives of its steps: repeat opens a new one';
COMMENT ON COLUMN {schema}.jobs.crashes IS 'How often it was suspect of its process''s death, and charged';
COMMENT ON COLUMN {schema}.jobs.rescues IS 'How often it was taken from a dead worker';
COMMENT ON COLUMN {schema}.jobs.suspect IS 'It was running when its worker died';
COMMENT ON COLUMN {schema}.jobs.cancel_requested IS 'Somebody wants it ended: it leaves running into an end only';
COMMENT ON COLUMN {schema}.jobs.linked IS 'Its end concerns others: a unique key, a group, jobs that wait for it';
COMMENT ON COLUMN {schema}.jobs.state IS 'scheduled, waiting, ready or running';
COMMENT ON COLUMN {schema}.jobs.queue IS 'Workers choose by it';
COMMENT ON COLUMN {schema}.jobs.task IS 'The name of the function to run';
COMMENT ON COLUMN {schema}.jobs.version IS 'Only workers that know this version of the task may run it; usually empty';
COMMENT ON COLUMN {schema}.jobs.worker IS 'Who has it, or had it last';
COMMENT ON COLUMN {schema}.jobs.reason IS 'Why it is in this state';
COMMENT ON COLUMN {schema}.jobs.unique_key IS 'As given; who holds it is in unique_keys';
COMMENT ON COLUMN {schema}.jobs.correlation IS 'What its user calls the matter that it belongs to';
COMMENT ON COLUMN {schema}.jobs.trace IS 'The trace that it continues';
COMMENT ON COLUMN {schema}.jobs.schedule IS 'The schedule that has added it';
COMMENT ON COLUMN {schema}.jobs.parent IS 'The job that has added it';
COMMENT ON COLUMN {schema}.jobs.root IS 'The first of its ancestors';
COMMENT ON COLUMN {schema}.jobs.waits_on IS 'The job or group whose end lets it go';
COMMENT ON COLUMN {schema}.jobs.group_id IS 'The group that counts its end';
COMMENT ON COLUMN {schema}.jobs.tags IS 'What its user looks for it by';
COMMENT ON COLUMN {schema}.jobs.counters IS 'What its retry rules have used up';
COMMENT ON COLUMN {schema}.jobs.error IS 'The last error: type, message, traceback';
COMMENT ON COLUMN {schema}.jobs.hooks IS 'Follow-ups by the state in which it ends';
COMMENT ON COLUMN {schema}.jobs.metadata IS 'Whatever its user wants to keep with it';
COMMENT ON COLUMN {schema}.jobs.options IS 'What the engine keeps of its options; null: nothing';
COMMENT ON COLUMN {schema}.jobs.payload IS 'Its arguments by name; null: they are large, and in blobs';

-- The order of a claim. It holds only what may run now, so its size never depends on what waits or runs.
CREATE INDEX jobs_ready ON {schema}.jobs (queue, task, version, (-priority), due, id)
    WHERE state = 'ready' AND NOT suspect;
CREATE INDEX jobs_suspects ON {schema}.jobs (state, queue, task, version) WHERE suspect;
CREATE INDEX jobs_running ON {schema}.jobs (worker) WHERE state = 'running';
-- A beat asks for these; those that run have too many dead entries while somebody's transaction keeps them.
CREATE INDEX jobs_cancelling ON {schema}.jobs (worker) WHERE cancel_requested;
CREATE INDEX jobs_scheduled ON {schema}.jobs (due) WHERE state = 'scheduled';
CREATE INDEX jobs_waiting ON {schema}.jobs (state, id) WHERE state = 'waiting';
CREATE INDEX jobs_expires ON {schema}.jobs (expires) WHERE expires IS NOT NULL AND state <> 'running';
CREATE INDEX jobs_waits_on ON {schema}.jobs (waits_on) WHERE waits_on IS NOT NULL;
CREATE INDEX jobs_parent ON {schema}.jobs (parent, id) WHERE parent IS NOT NULL;
CREATE INDEX jobs_correlation ON {schema}.jobs (correlation, id) WHERE correlation IS NOT NULL;
CREATE INDEX jobs_schedule ON {schema}.jobs (schedule, id) WHERE schedule IS NOT NULL;
CREATE INDEX jobs_group ON {schema}.jobs (group_id, id) WHERE group_id IS NOT NULL;
CREATE INDEX jobs_root ON {schema}.jobs (root) WHERE root IS NOT NULL;

-- One partition for each day of ids: `get` looks into one, and old days are dropped whole. No default partition,
-- which would forbid to detach one while others work: ids of no day here are in jobs_kept.
CREATE TABLE {schema}.jobs_done (
    LIKE {schema}.jobs INCLUDING DEFAULTS INCLUDING COMMENTS,
    finished timestamptz NOT NULL,
    result json,
    PRIMARY KEY (id)
) PARTITION BY RANGE (id);

COMMENT ON TABLE {schema}.jobs_done IS 'Jobs that have ended, by the day of their ids.';
COMMENT ON COLUMN {schema}.jobs_done.state IS 'completed, dead, cancelled or expired';
COMMENT ON COLUMN {schema}.jobs_done.finished IS 'When it ended';
COMMENT ON COLUMN {schema}.jobs_done.result IS 'What its function returned; null without a result, or when it is large and in blobs';

CREATE INDEX jobs_done_finished ON {schema}.jobs_done USING brin (finished);
-- All have a task. Without a condition it would be taken for looks by id, while a day is empty, and ever after.
CREATE INDEX jobs_done_task ON {schema}.jobs_done (task, id) WHERE task <> '';
CREATE INDEX jobs_done_state ON {schema}.jobs_done (state, id) WHERE state <> 'completed';
CREATE INDEX jobs_done_waits_on ON {schema}.jobs_done (waits_on) WHERE waits_on IS NOT NULL;
CREATE INDEX jobs_done_parent ON {schema}.jobs_done (parent, id) WHERE parent IS NOT NULL;
CREATE INDEX jobs_done_correlation ON {schema}.jobs_done (correlation, id) WHERE correlation IS NOT NULL;
CREATE INDEX jobs_done_schedule ON {schema}.jobs_done (schedule, id) WHERE schedule IS NOT NULL;
CREATE INDEX jobs_done_group ON {schema}.jobs_done (group_id, id) WHERE group_id IS NOT NULL;
CREATE INDEX jobs_done_tags ON {schema}.jobs_done USING gin (tags) WHERE tags IS NOT NULL;

CREATE TABLE {schema}.jobs_kept (LIKE {schema}.jobs_done INCLUDING ALL);
CREATE INDEX jobs_kept_state_finished ON {schema}.jobs_kept (state, finished);
COMMENT ON TABLE {schema}.jobs_kept IS 'Ended jobs that are kept longer than their day, or whose ids are of no day.';

CREATE TABLE {schema}.blobs (
    job uuid NOT NULL,
    kind text COLLATE "C" NOT NULL,
    value json NOT NULL,
    PRIMARY KEY (job, kind)
);
COMMENT ON TABLE {schema}.blobs IS 'Large payloads and results: written once, never moved.';
COMMENT ON COLUMN {schema}.blobs.job IS 'Whose it is';
COMMENT ON COLUMN {schema}.blobs.kind IS 'payload or result';
COMMENT ON COLUMN {schema}.blobs.value IS 'The JSON itself';

CREATE TABLE {schema}.attempts (
    job uuid NOT NULL,
    lease bigint NOT NULL,
    attempt integer NOT NULL,
    ending text COLLATE "C" NOT NULL,
    worker text COLLATE "C",
    claimed timestamptz,
    started timestamptz,
    ended timestamptz,
    error jsonb,
    PRIMARY KEY (job, lease)
);
COMMENT ON TABLE {schema}.attempts IS 'Attempts that did not end their job; the last one is on the job itself.';
COMMENT ON COLUMN {schema}.attempts.job IS 'Whose it is';
COMMENT ON COLUMN {schema}.attempts.lease IS 'The lease it had: no two attempts share one';
COMMENT ON COLUMN {schema}.attempts.attempt IS 'Its number; may come again after a snooze, a sleep or a release';
COMMENT ON COLUMN {schema}.attempts.ending IS 'How it ended';
COMMENT ON COLUMN {schema}.attempts.worker IS 'Who had it';
COMMENT ON COLUMN {schema}.attempts.claimed IS 'When its worker was given it';
COMMENT ON COLUMN {schema}.attempts.started IS 'When the function was started, as far as the worker has told';
COMMENT ON COLUMN {schema}.attempts.ended IS 'When it ended';
COMMENT ON COLUMN {schema}.attempts.error IS 'Its error: type, message, traceback';

CREATE TABLE {schema}.progress (
    job uuid PRIMARY KEY,
    value json NOT NULL
);
COMMENT ON TABLE {schema}.progress IS 'What running jobs have last told of themselves.';
COMMENT ON COLUMN {schema}.progress.job IS 'Whose it is';
COMMENT ON COLUMN {schema}.progress.value IS 'What its function has said';

CREATE TABLE {schema}.unique_keys (
    key text COLLATE "C" PRIMARY KEY,
    job uuid NOT NULL,
    until timestamptz
);
COMMENT ON TABLE {schema}.unique_keys IS 'Who holds a unique key; until null: as long as the job has not ended.';
COMMENT ON COLUMN {schema}.unique_keys.key IS 'As given, compared byte by byte';
COMMENT ON COLUMN {schema}.unique_keys.job IS 'Who holds it';
COMMENT ON COLUMN {schema}.unique_keys.until IS 'Until when it stays taken, whether the job has ended or not; null: until it ends; infinity: until it is removed';

CREATE TABLE {schema}.groups (
    id uuid PRIMARY KEY,
    size integer NOT NULL,
    remaining integer NOT NULL,
    failed integer NOT NULL,
    on_failure text COLLATE "C" NOT NULL
);
COMMENT ON TABLE {schema}.groups IS 'Fan-ins: how many of their jobs have not ended yet.';
COMMENT ON COLUMN {schema}.groups.id IS 'Its jobs have it as group_id';
COMMENT ON COLUMN {schema}.groups.size IS 'How many jobs it has';
COMMENT ON COLUMN {schema}.groups.remaining IS 'How many of them have not ended yet';
COMMENT ON COLUMN {schema}.groups.failed IS 'How many of them have not ended well';
COMMENT ON COLUMN {schema}.groups.on_failure IS 'stop: the first that fails ends what waits for the group; wait: that goes on when all have ended';

CREATE TABLE {schema}.workers (
    id text COLLATE "C" PRIMARY KEY,
    name text NOT NULL,
    host text NOT NULL,
    pid integer NOT NULL,
    queues text[] NOT NULL,
    lease_time double precision NOT NULL,
    joined timestamptz NOT NULL,
    beat timestamptz NOT NULL,
    steady_since timestamptz NOT NULL,
    stalled boolean NOT NULL DEFAULT false
) WITH (fillfactor = 50);
COMMENT ON TABLE {schema}.workers IS 'Worker processes that have joined and not left.';
COMMENT ON COLUMN {schema}.workers.id IS 'A new one at each start';
COMMENT ON COLUMN {schema}.workers.name IS 'What people call it';
COMMENT ON COLUMN {schema}.workers.host IS 'The machine it runs on';
COMMENT ON COLUMN {schema}.workers.pid IS 'Its process there';
COMMENT ON COLUMN {schema}.workers.queues IS 'The queues it works; empty: all';
COMMENT ON COLUMN {schema}.workers.lease_time IS 'Seconds for which it may be silent before others run its jobs';
COMMENT ON COLUMN {schema}.workers.joined IS 'When it came';
COMMENT ON COLUMN {schema}.workers.beat IS 'When it was last heard of';
COMMENT ON COLUMN {schema}.workers.steady_since IS 'Since when its beats have come without a gap: only then it may judge others';
COMMENT ON COLUMN {schema}.workers.stalled IS 'Its event loop stands still; its process lives';

CREATE TABLE {schema}.paused_queues (
    queue text COLLATE "C" PRIMARY KEY
);
COMMENT ON TABLE {schema}.paused_queues IS 'Queues from which nothing is claimed now.';
COMMENT ON COLUMN {schema}.paused_queues.queue IS 'Its name';

CREATE TABLE {schema}.tallies (
    queue text COLLATE "C" NOT NULL,
    task text COLLATE "C" NOT NULL,
    version text COLLATE "C" NOT NULL,
    state text COLLATE "C" NOT NULL,
    number bigint NOT NULL
);
COMMENT ON TABLE {schema}.tallies IS 'Ended jobs by state: the sum of the numbers. Each batch appends its own, upkeep adds them up.';
COMMENT ON COLUMN {schema}.tallies.queue IS 'As in jobs';
COMMENT ON COLUMN {schema}.tallies.task IS 'As in jobs';
COMMENT ON COLUMN {schema}.tallies.version IS 'As in jobs';
COMMENT ON COLUMN {schema}.tallies.state IS 'completed, dead, cancelled or expired';
COMMENT ON COLUMN {schema}.tallies.number IS 'So many more, or fewer where jobs were removed or replayed';

COMMENT ON TABLE {schema}.migrations IS 'Which changes of this schema were made here.';
COMMENT ON COLUMN {schema}.migrations.number IS 'In this order';
COMMENT ON COLUMN {schema}.migrations.name IS 'The name of its file';
COMMENT ON COLUMN {schema}.migrations.applied IS 'When it was made';
