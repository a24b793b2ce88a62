-- Schedules and the ledger of their runs. A fire moves `due`, which is indexed: such an update is never a HOT one, and
-- no index is there that a fire would have to feed without need. Room on the page keeps the versions of a row together.

CREATE TABLE {schema}.schedules (
    id text COLLATE "C" PRIMARY KEY,
    next timestamptz,
    due timestamptz,
    fired_to timestamptz NOT NULL,
    begin_at timestamptz NOT NULL,
    created timestamptz NOT NULL,
    changed timestamptz NOT NULL,
    dropped timestamptz,
    revision bigint NOT NULL,
    number bigint NOT NULL,
    runs bigint NOT NULL,
    missed bigint NOT NULL,
    skipped bigint NOT NULL,
    keep bigint NOT NULL,
    keep_for double precision,
    paused text NOT NULL,
    declared_by text COLLATE "C" NOT NULL,
    definition json NOT NULL
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 1000);

COMMENT ON TABLE {schema}.schedules IS 'Stored triggers, each of which adds a job at its times.';
COMMENT ON COLUMN {schema}.schedules.id IS 'Its name, as given';
COMMENT ON COLUMN {schema}.schedules.next IS 'The time that it fires for next; null: it has finished, or waits for the end of a run';
COMMENT ON COLUMN {schema}.schedules.due IS 'When it is to be looked at next; null: it has finished';
COMMENT ON COLUMN {schema}.schedules.fired_to IS 'No time up to this is fired again, whatever is changed; only grows';
COMMENT ON COLUMN {schema}.schedules.begin_at IS 'From when on its trigger counts';
COMMENT ON COLUMN {schema}.schedules.created IS 'When it was put, by the server''s clock';
COMMENT ON COLUMN {schema}.schedules.changed IS 'When people last changed it';
COMMENT ON COLUMN {schema}.schedules.dropped IS 'When it was removed; the row stays for a day, because of fired_to';
COMMENT ON COLUMN {schema}.schedules.revision IS 'Grows with each change that people make';
COMMENT ON COLUMN {schema}.schedules.number IS 'The number of its last run in schedule_runs';
COMMENT ON COLUMN {schema}.schedules.runs IS 'How many of its times became jobs';
COMMENT ON COLUMN {schema}.schedules.missed IS 'How many were too late';
COMMENT ON COLUMN {schema}.schedules.skipped IS 'How many were left out because another run went on';
COMMENT ON COLUMN {schema}.schedules.keep IS 'How many of its runs are kept; as in the definition';
COMMENT ON COLUMN {schema}.schedules.keep_for IS 'For how many seconds they are kept; null: for ever';
COMMENT ON COLUMN {schema}.schedules.paused IS 'Why it does not fire; empty: it does';
COMMENT ON COLUMN {schema}.schedules.declared_by IS 'The code that declares it; empty: it was put at run time';
COMMENT ON COLUMN {schema}.schedules.definition IS 'What people declared: trigger, job and options; bytes are base64';

-- The order of firing. It holds only what may fire.
CREATE INDEX schedules_due ON {schema}.schedules (due, id) WHERE due IS NOT NULL AND paused = '' AND dropped IS NULL;
CREATE INDEX schedules_declared ON {schema}.schedules (declared_by, id) WHERE declared_by <> '' AND dropped IS NULL;
CREATE INDEX schedules_dropped ON {schema}.schedules (dropped) WHERE dropped IS NOT NULL;

CREATE TABLE {schema}.schedule_runs (
    schedule text COLLATE "C" NOT NULL,
    number bigint NOT NULL,
    slot timestamptz,
    last_slot timestamptz,
    fired timestamptz NOT NULL,
    started timestamptz,
    ended timestamptz,
    job uuid,
    group_id uuid,
    count bigint NOT NULL,
    attempts integer NOT NULL,
    kind text COLLATE "C" NOT NULL,
    state text COLLATE "C",
    error text NOT NULL,
    PRIMARY KEY (schedule, number)
) WITH (fillfactor = 90, autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 10000);

COMMENT ON TABLE {schema}.schedule_runs IS 'The ledger of schedules: what became of each of their times.';
COMMENT ON COLUMN {schema}.schedule_runs.schedule IS 'Whose it is';
COMMENT ON COLUMN {schema}.schedule_runs.number IS 'Counts the records of a schedule from 1';
COMMENT ON COLUMN {schema}.schedule_runs.slot IS 'The time that it stands for; null: a person asked for it';
COMMENT ON COLUMN {schema}.schedule_runs.last_slot IS 'The last of the times that were left out together';
COMMENT ON COLUMN {schema}.schedule_runs.fired IS 'When that was decided';
COMMENT ON COLUMN {schema}.schedule_runs.started IS 'When the last attempt of the job began';
COMMENT ON COLUMN {schema}.schedule_runs.ended IS 'When the job ended, as far as it was written down';
COMMENT ON COLUMN {schema}.schedule_runs.job IS 'The job it became; null: none';
COMMENT ON COLUMN {schema}.schedule_runs.group_id IS 'What the next run waits for, where that must wait';
COMMENT ON COLUMN {schema}.schedule_runs.count IS 'How many times were left out together';
COMMENT ON COLUMN {schema}.schedule_runs.attempts IS 'How many attempts the job had';
COMMENT ON COLUMN {schema}.schedule_runs.kind IS 'slot, trigger (by a person), missed (too late) or skipped (another run went on)';
COMMENT ON COLUMN {schema}.schedule_runs.state IS 'How the job ended, removed if nobody saw its end; null: nothing was written down yet';
COMMENT ON COLUMN {schema}.schedule_runs.error IS 'Its last error';

-- Open runs: each has a job, and no end.
CREATE INDEX schedule_runs_open ON {schema}.schedule_runs (schedule, number) WHERE job IS NOT NULL AND ended IS NULL;
