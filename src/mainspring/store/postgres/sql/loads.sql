-- What verbs with consequences lock and read, in the order of ids, so that two of them wait for each other in turn.

-- name: now
SELECT date_part('epoch', {schema}.clock());

-- name: jobs
SELECT {live} FROM {schema}.jobs j WHERE j.id = ANY((SELECT $1::uuid[])::uuid[]) ORDER BY j.id FOR NO KEY UPDATE;

-- name: done
SELECT {ended} FROM {schema}.jobs_done j WHERE j.id = ANY((SELECT $1::uuid[])::uuid[]) ORDER BY j.id FOR NO KEY UPDATE;

-- name: kept
SELECT {ended} FROM {schema}.jobs_kept j WHERE j.id = ANY((SELECT $1::uuid[])::uuid[]) ORDER BY j.id FOR NO KEY UPDATE;

-- name: anywhere
-- Which of these there are, in one look, live or ended.
SELECT id FROM {schema}.jobs WHERE id = ANY((SELECT $1::uuid[])::uuid[])
UNION ALL
SELECT id FROM {schema}.jobs_done WHERE id = ANY((SELECT $1::uuid[])::uuid[])
UNION ALL
SELECT id FROM {schema}.jobs_kept WHERE id = ANY((SELECT $1::uuid[])::uuid[]);

-- name: ended
-- Those of these that have ended.
SELECT id FROM {schema}.jobs_done WHERE id = ANY((SELECT $1::uuid[])::uuid[])
UNION ALL
SELECT id FROM {schema}.jobs_kept WHERE id = ANY((SELECT $1::uuid[])::uuid[]);

-- name: groups
SELECT id, size, remaining, failed, on_failure FROM {schema}.groups
WHERE id = ANY((SELECT $1::uuid[])::uuid[]) ORDER BY id FOR NO KEY UPDATE;

-- name: guard_keys
-- The keys that an open transaction of somebody else has in its hands: nobody waits for them (RULES C10).
SELECT key FROM unnest($1::text[]) AS key
WHERE NOT pg_try_advisory_xact_lock(hashtextextended(key, hashtext($2)));

-- name: keys
SELECT key, job, until FROM {schema}.unique_keys WHERE key = ANY((SELECT $1::text[])::text[]);

-- name: workers
SELECT w.id, w.name, w.host, w.pid, w.queues, w.lease_time, w.joined, w.beat, w.steady_since, w.stalled,
    (SELECT count(*) FROM {schema}.jobs j WHERE j.state = 'running' AND j.worker = w.id)
FROM {schema}.workers w ORDER BY w.id;

-- name: dependants
-- Each id with the jobs that wait on it, or with none. Each is looked up by itself, whatever the server believes about
-- how many there are; asked for the state at the same time, it may walk over all that wait.
SELECT waited.id, j.id
FROM unnest($1::text[]) AS waited (id)
LEFT JOIN LATERAL (
    SELECT j.id, j.state FROM {schema}.jobs j WHERE j.waits_on = waited.id OFFSET 0
) AS j ON j.state = 'waiting'
ORDER BY 1, 2;

-- name: all_dependants
-- The same with those that wait on these, and on their groups, and so on.
WITH RECURSIVE below (id) AS (
    SELECT unnest($1::text[]) COLLATE "C"
    UNION
    SELECT next.id
    FROM below
    CROSS JOIN LATERAL (SELECT j.id, j.group_id FROM {schema}.jobs j WHERE j.waits_on = below.id OFFSET 0) AS j
    CROSS JOIN LATERAL unnest(ARRAY[j.id::text, j.group_id]) AS next (id)
    WHERE next.id IS NOT NULL
)
SELECT below.id, j.id
FROM below
LEFT JOIN LATERAL (
    SELECT j.id, j.state FROM {schema}.jobs j WHERE j.waits_on = below.id OFFSET 0
) AS j ON j.state = 'waiting'
ORDER BY 1, 2;

-- name: ended_all_dependants
WITH RECURSIVE ended AS NOT MATERIALIZED (
    SELECT id, waits_on, group_id, state FROM {schema}.jobs_done
    UNION ALL
    SELECT id, waits_on, group_id, state FROM {schema}.jobs_kept
), below (id) AS (
    SELECT unnest($1::text[]) COLLATE "C"
    UNION
    SELECT next.id
    FROM below
    CROSS JOIN LATERAL (SELECT j.id, j.group_id, j.state FROM ended j WHERE j.waits_on = below.id OFFSET 0) AS j
    CROSS JOIN LATERAL unnest(ARRAY[j.id::text, j.group_id]) AS next (id)
    WHERE j.state = 'cancelled' AND next.id IS NOT NULL
)
SELECT below.id, j.id
FROM below
LEFT JOIN LATERAL (
    SELECT j.id, j.state FROM ended j WHERE j.waits_on = below.id OFFSET 0
) AS j ON j.state = 'cancelled'
ORDER BY 1, 2;

-- name: running
-- What somebody else has in its hands just now ends there; a rescue waits for nobody's transaction (RULES H2). In no
-- order: the index that has them in order holds all other jobs as well.
SELECT {live} FROM {schema}.jobs j WHERE j.state = 'running' AND j.worker = $1 FOR NO KEY UPDATE SKIP LOCKED;

-- name: strays
SELECT {live} FROM {schema}.jobs j
WHERE j.state = 'running' AND NOT EXISTS (SELECT FROM {schema}.workers w WHERE w.id = j.worker)
FOR NO KEY UPDATE SKIP LOCKED;

-- name: due
SELECT {live} FROM {schema}.jobs j WHERE j.state = 'scheduled' AND j.due <= (SELECT {schema}.clock()) AND j.due >= $2
ORDER BY j.due LIMIT $1 FOR NO KEY UPDATE SKIP LOCKED;

-- name: late
SELECT {live} FROM {schema}.jobs j WHERE j.expires <= (SELECT {schema}.clock()) AND j.expires >= $2 AND j.state <> 'running'
ORDER BY j.expires LIMIT $1 FOR NO KEY UPDATE SKIP LOCKED;
