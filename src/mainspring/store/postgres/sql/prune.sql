-- Removing ended jobs whose retention is over, and what belongs to them. `{table}` is jobs_kept or a day of jobs_done.

-- name: turn
-- One process prunes at a time; the others have something else to do.
SELECT pg_try_advisory_xact_lock(hashtext('mainspring prune'), hashtext($1));

-- name: spared
-- What its flow still needs, of a row j: a job whose root has not ended; one that was cancelled because what it waited
-- on failed ($3), as long as that is there; one that completed, whose root was cancelled so. Replaying the one that
-- failed needs them all. OFFSET 0 keeps each look a look by key: planned as a join it would read whole tables.
CASE WHEN j.root IS NULL AND j.waits_on IS NULL THEN false ELSE
    EXISTS (SELECT FROM {schema}.jobs r WHERE r.id = {root} OFFSET 0)
    OR j.state = 'completed' AND EXISTS (
        SELECT FROM {ended_jobs} r WHERE r.id = {root} AND r.state = 'cancelled' AND r.reason = $3 OFFSET 0
    )
    OR j.state = 'cancelled' AND j.reason = $3 AND (
        EXISTS (SELECT FROM {schema}.jobs f WHERE f.id = {waits_on} OFFSET 0)
        OR EXISTS (SELECT FROM {schema}.jobs f WHERE f.group_id = j.waits_on OFFSET 0)
        OR 'completed' <> ANY (SELECT f.state FROM {ended_jobs} f WHERE f.id = {waits_on} OFFSET 0)
        OR 'completed' <> ANY (SELECT f.state FROM {ended_jobs} f WHERE f.group_id = j.waits_on OFFSET 0)
    )
END;

-- name: ended_jobs
(
    SELECT id, state, reason, group_id FROM {schema}.jobs_done
    UNION ALL
    SELECT id, state, reason, group_id FROM {schema}.jobs_kept
);

-- name: as_id
-- An id in a column of text; null for what is none.
CASE WHEN {column} ~ '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$' THEN {column}::uuid END;

-- name: prune
-- $1 and $2: states, and before which time a job must have ended in them. The oldest first, none that somebody has in
-- hand. How the run of a schedule has ended is written down with it, if it is not yet (`ended_run`): the job alone
-- knows it. Answers with how many went, on what those had waited, and in which groups they were.
WITH old AS MATERIALIZED (
    SELECT j.place, j.id, j.unique_key
    FROM unnest($1::text[], $2::timestamptz[]) AS age (state, before)
    CROSS JOIN LATERAL (
        SELECT j.ctid AS place, j.id, j.unique_key
        FROM {schema}.{table} j
        WHERE j.state = age.state AND j.finished < age.before {window} AND NOT {spared}
        ORDER BY j.finished
        LIMIT {limit}
        FOR UPDATE SKIP LOCKED
    ) AS j
    LIMIT {limit}
), gone AS (
    DELETE FROM {schema}.{table} j WHERE j.ctid = ANY (ARRAY(SELECT place FROM old))
    RETURNING j.id, j.queue, j.task, j.version, j.state, j.waits_on, j.group_id, j.schedule, j.attempt, j.error, j.finished,
        coalesce(j.started, j.claimed) AS started
), open_runs AS MATERIALIZED (
    SELECT r.place, r.job
    FROM (SELECT DISTINCT schedule FROM gone WHERE schedule IS NOT NULL) AS s
    CROSS JOIN LATERAL (
        SELECT r.ctid AS place, r.job
        FROM {schema}.schedule_runs r
        WHERE r.schedule = s.schedule AND r.job IS NOT NULL AND r.ended IS NULL
        OFFSET 0
    ) AS r
), ended AS (
    UPDATE {schema}.schedule_runs r
    SET state = g.state, started = g.started, ended = g.finished, attempts = g.attempt,
        error = coalesce((g.error->>'type') || ': ' || (g.error->>'message'), '')
    FROM open_runs o JOIN gone g ON g.id = o.job
    WHERE r.ctid = o.place AND r.ended IS NULL
), tallied AS (
    INSERT INTO {schema}.tallies (queue, task, version, state, number)
    SELECT queue, task, version, state, -count(*) FROM gone GROUP BY queue, task, version, state
), keys AS (
    DELETE FROM {schema}.unique_keys k
    WHERE k.key = ANY (ARRAY(SELECT unique_key FROM old WHERE unique_key IS NOT NULL))
        AND k.job = ANY (ARRAY(SELECT id FROM old))
), attempts AS (
    DELETE FROM {schema}.attempts a WHERE a.job = ANY (ARRAY(SELECT id FROM gone))
), progress AS (
    DELETE FROM {schema}.progress p WHERE p.job = ANY (ARRAY(SELECT id FROM gone))
), blobs AS (
    DELETE FROM {schema}.blobs b WHERE b.job = ANY (ARRAY(SELECT id FROM gone))
)
SELECT count(*), array_agg(DISTINCT waits_on) FILTER (WHERE waits_on IS NOT NULL),
    array_agg(DISTINCT group_id) FILTER (WHERE group_id IS NOT NULL)
FROM gone;

-- name: within
-- A stretch of blocks, so that what one call reads is bounded.
AND j.ctid >= '({from},0)'::tid AND j.ctid < '({to},0)'::tid;

-- name: any
-- Whether a day has anything as old as $1: its summary of stretches says so, mostly without a look at jobs.
SELECT EXISTS (SELECT FROM {schema}.{table} WHERE finished < $1);

-- name: blocks
SELECT (pg_relation_size('{schema}.{table}') / current_setting('block_size')::integer)::integer;

-- name: sort_out
-- A stretch of a day that is to be dropped, in the order of ids beyond $4: what is not to go yet moves to jobs_kept.
-- What goes stays, but for jobs with a key or a flow, and those of a schedule with a group or with a run whose end is not
-- written down: these are pruned singly. Answers with the last id, with how many were looked at, and with those to be
-- pruned singly.
WITH walked AS MATERIALIZED (
    SELECT j.place, j.id, age.before IS NULL OR j.finished >= age.before OR {spared} AS stays,
        j.unique_key IS NOT NULL OR j.waits_on IS NOT NULL
            OR j.schedule IS NOT NULL AND (
                j.group_id IS NOT NULL
                OR j.id IN (SELECT r.job FROM {schema}.schedule_runs r WHERE r.job IS NOT NULL AND r.ended IS NULL)
            ) AS singly
    FROM (SELECT j.ctid AS place, j.* FROM {schema}.{table} j WHERE j.id > $4 ORDER BY j.id LIMIT {limit}) AS j
    LEFT JOIN unnest($1::text[], $2::timestamptz[]) AS age (state, before) ON age.state = j.state
), moved AS (
    DELETE FROM {schema}.{table} j WHERE j.ctid = ANY (ARRAY(SELECT place FROM walked WHERE stays)) RETURNING j.*
), kept AS (
    INSERT INTO {schema}.jobs_kept SELECT * FROM moved
)
SELECT (SELECT id FROM walked ORDER BY id DESC LIMIT 1), (SELECT count(*) FROM walked),
    ARRAY(SELECT id FROM walked WHERE singly AND NOT stays);

-- name: is_empty
SELECT NOT EXISTS (SELECT FROM {schema}.{table});

-- name: forget
-- What belongs to the ended jobs of a day, ids $1 to $2, that is about to be dropped; live and kept jobs keep theirs.
DELETE FROM {schema}.{belongings}
WHERE ctid = ANY (ARRAY(
    SELECT b.ctid
    FROM {schema}.{belongings} b
    WHERE b.job >= $1 AND b.job < $2
        AND NOT EXISTS (SELECT FROM {schema}.jobs j WHERE j.id = b.job OFFSET 0)
        AND NOT EXISTS (SELECT FROM {schema}.jobs_kept j WHERE j.id = b.job OFFSET 0)
    LIMIT {limit}
));

-- name: keep_the_rest
-- Of a day that has been detached: what came into it after it had been sorted out.
INSERT INTO {schema}.jobs_kept
SELECT j.*
FROM {schema}.{table} j
LEFT JOIN unnest($1::text[], $2::timestamptz[]) AS age (state, before) ON age.state = j.state
WHERE (age.before IS NULL OR j.finished >= age.before)
ON CONFLICT (id) DO NOTHING;

-- name: tally_the_day
-- Those that go with the day that is dropped in this transaction; answers with how many.
WITH gone AS MATERIALIZED (
    SELECT j.queue, j.task, j.version, j.state, count(*) AS number
    FROM {schema}.{table} j
    JOIN unnest($1::text[], $2::timestamptz[]) AS age (state, before) ON age.state = j.state AND j.finished < age.before
    GROUP BY j.queue, j.task, j.version, j.state
), tallied AS (
    INSERT INTO {schema}.tallies (queue, task, version, state, number)
    SELECT queue, task, version, state, -number FROM gone
)
SELECT coalesce(sum(number), 0)::bigint FROM gone;

-- name: fold
-- Many small tallies become few. Each row is locked by one who adds it up; who finds less than $1 leaves them.
WITH taken AS MATERIALIZED (
    SELECT t.ctid AS place FROM {schema}.tallies t LIMIT $2 FOR UPDATE SKIP LOCKED
), folded AS (
    DELETE FROM {schema}.tallies t
    WHERE t.ctid = ANY (ARRAY(SELECT place FROM taken WHERE (SELECT count(*) FROM taken) >= $1))
    RETURNING t.queue, t.task, t.version, t.state, t.number
), sums AS (
    INSERT INTO {schema}.tallies (queue, task, version, state, number)
    SELECT queue, task, version, state, sum(number)::bigint
    FROM folded
    GROUP BY queue, task, version, state
    HAVING sum(number) <> 0
    RETURNING 1
)
SELECT (SELECT count(*) FROM folded), (SELECT count(*) FROM sums);
