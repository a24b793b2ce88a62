-- Workers and their beats, and what a sweep looks at.

-- name: join
WITH t AS MATERIALIZED (
    SELECT {schema}.clock() AS now
), joined AS (
    INSERT INTO {schema}.workers (id, name, host, pid, queues, lease_time, joined, beat, steady_since)
    SELECT $1, $2, $3, $4, $5::text[], $6, now, now, now FROM t
    ON CONFLICT (id) DO NOTHING
)
SELECT date_part('epoch', now) FROM t;

-- name: beat
-- A gap of more than half a lease time, or a clock that stepped back, ends the steadiness (RULES C1). A live job that has
-- a worker is running; that is not said, or the index of all that run might be walked, which may hold many dead entries.
-- Every job is looked up by its id, and updated where it was found: a plan that was made while `jobs` was empty, and
-- joined to it, would walk a whole index for each.
WITH t AS MATERIALIZED (
    SELECT {schema}.clock() AS now
), beaten AS (
    UPDATE {schema}.workers w
    SET steady_since = CASE
            WHEN t.now - w.beat BETWEEN interval '0' AND w.lease_time / 2 * interval '1 s' THEN w.steady_since
            ELSE t.now
        END,
        beat = t.now, stalled = $2
    FROM t WHERE w.id = $1
    RETURNING w.id
), told AS (
    INSERT INTO {schema}.progress (job, value)
    SELECT n.job, n.value FROM unnest($3::uuid[], $4::json[]) AS n (job, value)
    WHERE EXISTS (SELECT FROM beaten)
        AND (EXISTS (SELECT FROM {schema}.jobs j WHERE j.id = n.job OFFSET 0)
            OR EXISTS (SELECT FROM {schema}.jobs_done d WHERE d.id = n.job OFFSET 0)
            OR EXISTS (SELECT FROM {schema}.jobs_kept k WHERE k.id = n.job OFFSET 0))
    ON CONFLICT (job) DO UPDATE SET value = excluded.value
), started AS (
    -- The start is the first thing that was told of it; a lease that has gone has nothing to tell. A beat waits for
    -- nobody: what somebody else has in hand keeps its start to itself.
    UPDATE {schema}.jobs j SET started = t.now - n.ran * interval '1 s'
    FROM t, unnest($5::uuid[], $6::bigint[], $7::float8[]) AS n (job, lease, ran)
    CROSS JOIN LATERAL (
        SELECT k.ctid AS place
        FROM {schema}.jobs k
        WHERE k.id = n.job AND k.lease = n.lease AND k.worker = $1 AND k.started IS NULL
        FOR NO KEY UPDATE SKIP LOCKED
    ) AS k
    WHERE j.ctid = k.place AND EXISTS (SELECT FROM beaten)
)
SELECT date_part('epoch', t.now), EXISTS (SELECT FROM beaten),
    ARRAY(SELECT j.id FROM {schema}.jobs j WHERE j.worker = $1 AND j.cancel_requested),
    ARRAY(SELECT p.queue FROM {schema}.paused_queues p ORDER BY p.queue)
FROM t;

-- name: held
-- Sorted apart, or the index that has them in order might be walked from end to end.
SELECT * FROM (
    SELECT id, lease FROM {schema}.jobs WHERE state = 'running' AND worker = $1 OFFSET 0
) AS mine ORDER BY id;

-- name: look
-- Whether there is anything to promote or expire, and the first of each; $1 and $2: from when on to look. Materialized:
-- both are asked for several times, and looked for once.
WITH t AS MATERIALIZED (
    SELECT {schema}.clock() AS now
), n AS MATERIALIZED (
    SELECT (SELECT min(due) FROM {schema}.jobs WHERE state = 'scheduled' AND due >= $1) AS due,
        (SELECT min(expires) FROM {schema}.jobs WHERE expires >= $2 AND state <> 'running') AS expires
)
SELECT date_part('epoch', t.now), coalesce(n.due <= t.now OR n.expires <= t.now, false), date_part('epoch', n.due),
    date_part('epoch', n.expires)
FROM t, n;

-- name: watch
-- Whether this worker may judge others (RULES C1), and whether one of them is silent.
SELECT EXISTS (
        SELECT FROM {schema}.workers w
        WHERE w.id = $1
            AND t.now - w.beat BETWEEN interval '0' AND w.lease_time / 2 * interval '1 s'
            AND t.now - w.steady_since >= w.lease_time * interval '1 s'
    ), EXISTS (
        SELECT FROM {schema}.workers w
        WHERE w.id <> $1 AND NOT t.now - w.beat BETWEEN interval '0' AND w.lease_time * interval '1 s'
    )
FROM (SELECT {schema}.clock() AS now OFFSET 0) t;

-- name: strays
SELECT EXISTS (
    SELECT FROM {schema}.jobs j
    WHERE j.state = 'running' AND NOT EXISTS (SELECT FROM {schema}.workers w WHERE w.id = j.worker)
);

-- name: drop_worker
DELETE FROM {schema}.workers WHERE id = $1;

-- name: pause
INSERT INTO {schema}.paused_queues (queue) VALUES ($1) ON CONFLICT DO NOTHING;

-- name: resume
DELETE FROM {schema}.paused_queues WHERE queue = $1;

-- name: now
SELECT date_part('epoch', {schema}.clock());
