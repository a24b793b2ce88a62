-- What a verb with consequences writes, each kind as one batch. `(SELECT $1)` hides how many there are. Every row is
-- looked up by its id and changed where it was found, whatever the server believes about how many there are: a plan that
-- was made while a table was empty, and joined to it, would walk a whole index. The rows are locked by then, or nobody
-- else changes them: they stay where they are.

-- name: insert
INSERT INTO {schema}.jobs (id, created, due, expires, unique_until, slot, priority, linked, state, queue, task, version,
    reason, unique_key, correlation, trace, schedule, parent, root, waits_on, group_id, tags, hooks, metadata, options,
    payload)
SELECT id, created, due, expires, unique_until, slot, priority, linked, state, queue, task, version, reason, unique_key,
    correlation, trace, schedule, parent, root, waits_on, group_id,
    CASE WHEN tags IS NOT NULL THEN ARRAY(SELECT jsonb_array_elements_text(tags)) END, hooks, metadata, options, payload
FROM unnest($1::uuid[], $2::timestamptz[], $3::timestamptz[], $4::timestamptz[], $5::timestamptz[], $6::timestamptz[],
    $7::integer[], $8::boolean[], $9::text[], $10::text[], $11::text[], $12::text[], $13::text[], $14::text[],
    $15::text[], $16::text[], $17::text[], $18::text[], $19::text[], $20::text[], $21::text[], $22::jsonb[],
    $23::jsonb[], $24::json[], $25::json[], $26::json[])
    AS n (id, created, due, expires, unique_until, slot, priority, linked, state, queue, task, version, reason,
        unique_key, correlation, trace, schedule, parent, root, waits_on, group_id, tags, hooks, metadata, options,
        payload);

-- name: write
UPDATE {schema}.jobs j
SET state = n.state, reason = n.reason, due = n.due, expires = n.expires, lease = n.lease, settled = n.settled,
    attempt = n.attempt, worker = n.worker, claim = n.claim, claimed = n.claimed, started = n.started, begun = n.begun,
    cancel_requested = n.cancel_requested, suspect = n.suspect, linked = n.linked, round = n.round,
    crashes = n.crashes, rescues = n.rescues, counters = n.counters, error = n.error
FROM unnest((SELECT $1::uuid[]), $2::text[], $3::text[], $4::timestamptz[], $5::timestamptz[], $6::bigint[], $7::bigint[],
    $8::integer[], $9::text[], $10::bigint[], $11::timestamptz[], $12::timestamptz[], $13::timestamptz[],
    $14::boolean[], $15::boolean[], $16::boolean[], $17::integer[], $18::integer[], $19::integer[], $20::jsonb[],
    $21::jsonb[])
    AS n (id, state, reason, due, expires, lease, settled, attempt, worker, claim, claimed, started, begun,
        cancel_requested, suspect, linked, round, crashes, rescues, counters, error)
CROSS JOIN LATERAL (SELECT k.ctid AS place FROM {schema}.jobs k WHERE k.id = n.id OFFSET 0) AS k
WHERE j.ctid = k.place;

-- name: end
-- Jobs that have ended move over. $24 and $25: which ids have a day in jobs_done; the others are kept apart.
WITH n AS MATERIALIZED (
    SELECT * FROM unnest((SELECT $1::uuid[]), $2::text[], $3::text[], $4::timestamptz[], $5::timestamptz[], $6::bigint[],
        $7::bigint[], $8::integer[], $9::text[], $10::bigint[], $11::timestamptz[], $12::timestamptz[],
        $13::timestamptz[], $14::boolean[], $15::boolean[], $16::boolean[], $17::integer[], $18::integer[],
        $19::integer[], $20::jsonb[], $21::jsonb[], $22::timestamptz[], $23::json[])
        AS n (id, state, reason, due, expires, lease, settled, attempt, worker, claim, claimed, started, begun,
            cancel_requested, suspect, linked, round, crashes, rescues, counters, error, finished, result)
), ended AS (
    DELETE FROM {schema}.jobs g
    USING n CROSS JOIN LATERAL (SELECT k.ctid AS place FROM {schema}.jobs k WHERE k.id = n.id OFFSET 0) AS k
    WHERE g.ctid = k.place
    RETURNING g.id, g.created, n.due, n.expires, n.claimed, n.started, n.begun, g.unique_until, g.slot, n.lease,
        n.settled, n.claim, g.priority, n.attempt, n.round, n.crashes, n.rescues, n.suspect, n.cancel_requested,
        n.linked, n.state, g.queue, g.task, g.version, n.worker, n.reason, g.unique_key, g.correlation, g.trace,
        g.schedule, g.parent, g.root, g.waits_on, g.group_id, g.tags, n.counters, n.error, g.hooks, g.metadata,
        g.options, g.payload, n.finished, n.result
), kept AS (
    INSERT INTO {schema}.jobs_kept SELECT * FROM ended WHERE id < $24::uuid OR id >= $25::uuid
), tallied AS (
    INSERT INTO {schema}.tallies SELECT queue, task, version, state, count(*) FROM ended GROUP BY 1, 2, 3, 4
)
INSERT INTO {schema}.jobs_done SELECT * FROM ended WHERE id >= $24::uuid AND id < $25::uuid;

-- name: revive
-- Jobs that had ended live again, as they were; `write` then says how they stand.
WITH done AS (
    DELETE FROM {schema}.jobs_done j WHERE j.id = ANY((SELECT $1::uuid[])::uuid[]) RETURNING j.*
), kept AS (
    DELETE FROM {schema}.jobs_kept j WHERE j.id = ANY((SELECT $1::uuid[])::uuid[]) RETURNING j.*
), back AS (
    SELECT * FROM done UNION ALL SELECT * FROM kept
), tallied AS (
    INSERT INTO {schema}.tallies SELECT queue, task, version, state, -count(*) FROM back GROUP BY 1, 2, 3, 4
), forgotten AS (
    DELETE FROM {schema}.blobs WHERE job = ANY((SELECT $1::uuid[])::uuid[]) AND kind = 'result'
)
INSERT INTO {schema}.jobs
SELECT id, created, due, expires, claimed, started, begun, unique_until, slot, lease, settled, claim, priority, attempt,
    round, crashes, rescues, suspect, cancel_requested, linked, state, queue, task, version, worker, reason, unique_key,
    correlation, trace, schedule, parent, root, waits_on, group_id, tags, counters, error, hooks, metadata, options,
    payload
FROM back;

-- name: note
-- What is still said of jobs that have ended: the reason, and that their end concerns others.
WITH kept AS (
    UPDATE {schema}.jobs_kept j
    SET reason = ($2::text[])[array_position($1::uuid[], j.id)],
        linked = ($3::boolean[])[array_position($1::uuid[], j.id)]
    WHERE j.id = ANY((SELECT $1::uuid[])::uuid[])
)
UPDATE {schema}.jobs_done j
SET reason = ($2::text[])[array_position($1::uuid[], j.id)], linked = ($3::boolean[])[array_position($1::uuid[], j.id)]
WHERE j.id = ANY((SELECT $1::uuid[])::uuid[]);

-- name: remove
WITH done AS (
    DELETE FROM {schema}.jobs_done j WHERE j.id = ANY((SELECT $1::uuid[])::uuid[])
    RETURNING queue, task, version, state, waits_on, group_id
), kept AS (
    DELETE FROM {schema}.jobs_kept j WHERE j.id = ANY((SELECT $1::uuid[])::uuid[])
    RETURNING queue, task, version, state, waits_on, group_id
), gone AS (
    SELECT * FROM done UNION ALL SELECT * FROM kept
), tallied AS (
    INSERT INTO {schema}.tallies SELECT queue, task, version, state, -count(*) FROM gone GROUP BY 1, 2, 3, 4
), attempts AS (
    DELETE FROM {schema}.attempts WHERE job = ANY((SELECT $1::uuid[])::uuid[])
), progress AS (
    DELETE FROM {schema}.progress WHERE job = ANY((SELECT $1::uuid[])::uuid[])
), blobs AS (
    DELETE FROM {schema}.blobs WHERE job = ANY((SELECT $1::uuid[])::uuid[])
)
SELECT DISTINCT waits_on, group_id FROM gone WHERE waits_on IS NOT NULL OR group_id IS NOT NULL;

-- name: lock_groups
-- Who begins to wait on one of these has locked it: the next statement sees what they have added.
SELECT FROM {schema}.groups WHERE id = ANY((SELECT $1::uuid[])::uuid[]) ORDER BY id FOR UPDATE;

-- name: forget_groups
-- A group goes with the last job that waits on it; those on which nobody has waited ($2) with their last member. It has
-- been locked by a statement before.
DELETE FROM {schema}.groups g
WHERE g.id = ANY((SELECT $1::uuid[])::uuid[])
    AND NOT (
        g.id = ANY($2::uuid[]) AND (
            EXISTS (SELECT FROM {schema}.jobs j WHERE j.group_id = g.id::text OFFSET 0)
            OR EXISTS (SELECT FROM {schema}.jobs_done j WHERE j.group_id = g.id::text OFFSET 0)
            OR EXISTS (SELECT FROM {schema}.jobs_kept j WHERE j.group_id = g.id::text OFFSET 0)
        )
    )
    AND NOT EXISTS (SELECT FROM {schema}.jobs j WHERE j.waits_on = g.id::text OFFSET 0)
    AND NOT EXISTS (SELECT FROM {schema}.jobs_done j WHERE j.waits_on = g.id::text OFFSET 0)
    AND NOT EXISTS (SELECT FROM {schema}.jobs_kept j WHERE j.waits_on = g.id::text OFFSET 0);

-- name: blobs
INSERT INTO {schema}.blobs (job, kind, value)
SELECT * FROM unnest((SELECT $1::uuid[]), $2::text[], $3::json[])
ON CONFLICT (job, kind) DO UPDATE SET value = excluded.value;

-- name: append_attempts
INSERT INTO {schema}.attempts (job, lease, attempt, ending, worker, claimed, started, ended, error)
SELECT * FROM unnest((SELECT $1::uuid[]), $2::bigint[], $3::integer[], $4::text[], $5::text[], $6::timestamptz[],
    $7::timestamptz[], $8::timestamptz[], $9::jsonb[])
ON CONFLICT DO NOTHING;

-- name: trim_attempts
-- The newest 100 of each job are kept; a look is enough for a job that has had fewer leases.
DELETE FROM {schema}.attempts a
USING unnest($1::uuid[]) AS long (job)
CROSS JOIN LATERAL (
    SELECT k.ctid AS place FROM {schema}.attempts k WHERE k.job = long.job ORDER BY k.lease DESC OFFSET 100
) AS old
WHERE a.ctid = old.place;

-- name: put_groups
INSERT INTO {schema}.groups (id, size, remaining, failed, on_failure)
SELECT * FROM unnest((SELECT $1::uuid[]), $2::integer[], $3::integer[], $4::integer[], $5::text[])
ON CONFLICT (id) DO UPDATE SET remaining = excluded.remaining, failed = excluded.failed;

-- name: free_keys
DELETE FROM {schema}.unique_keys k
USING unnest($1::text[], $2::uuid[]) AS n (key, job)
CROSS JOIN LATERAL (SELECT h.ctid AS place, h.job FROM {schema}.unique_keys h WHERE h.key = n.key OFFSET 0) AS h
WHERE k.ctid = h.place AND h.job = n.job AND k.job = n.job;

-- name: take_keys
INSERT INTO {schema}.unique_keys (key, job, until)
SELECT * FROM unnest($1::text[], $2::uuid[], $3::timestamptz[])
ON CONFLICT (key) DO UPDATE SET job = excluded.job, until = excluded.until;

-- name: drop_workers
DELETE FROM {schema}.workers WHERE id = ANY($1::text[]);
