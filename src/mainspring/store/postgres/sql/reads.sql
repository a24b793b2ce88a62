-- Reads. `{live}` and `{ended}` are what `records.job_of` reads of a row of jobs, or of jobs_done and jobs_kept: one
-- statement over all three, since a job may move while two would look (RULES H11a).

-- name: get
-- By one id, so that one day of jobs_done is looked into.
SELECT {live} FROM {schema}.jobs j WHERE j.id = {id}
UNION ALL
SELECT {ended} FROM {schema}.jobs_done j WHERE j.id = {id}
UNION ALL
SELECT {ended} FROM {schema}.jobs_kept j WHERE j.id = {id};

-- name: get_each
SELECT job.* FROM unnest($1::uuid[]) AS wanted (id) CROSS JOIN LATERAL ({get}) AS job;

-- name: fits
-- What `find` asks of a job, whatever index led to it.
($2::text[] IS NULL OR j.state = ANY ($2::text[]))
AND ($3::text IS NULL OR j.task = $3::text)
AND ($4::text IS NULL OR j.queue = $4::text)
AND ($5::timestamptz IS NULL OR j.created >= $5::timestamptz)
AND ($6::timestamptz IS NULL OR j.created < $6::timestamptz)
AND ($7::text[] IS NULL OR j.tags @> $7::text[])
AND ($8::text IS NULL OR j.parent = $8::text)
AND ($9::text IS NULL OR j.group_id = $9::text)
AND ($10::text IS NULL OR j.correlation = $10::text)
AND ($11::text IS NULL OR j.schedule = $11::text);

-- name: page
-- The first {limit} jobs that fit among the first {scan} that the walks come by, in the order of the ids; and the last
-- of these, fitting or not, where the next page goes on (RULES M5).
SELECT walked.id, walked.place, job.*
FROM (
    SELECT id, fits, place
    FROM (
        SELECT id, fits, row_number() OVER (ORDER BY id {direction}) AS place
        FROM (SELECT id, fits FROM ({walks}) AS walk ORDER BY id {direction} LIMIT {scan}) AS walks
    ) AS placed
    WHERE fits OR place = {scan}
    ORDER BY id {direction}
    LIMIT {limit}
) AS walked
LEFT JOIN LATERAL ({get}) AS job ON walked.fits
ORDER BY walked.id {direction};

-- name: by_id
SELECT j.id, {fits} AS fits
FROM {schema}.{table} j
WHERE j.id {beyond} $1
ORDER BY j.id {direction}
LIMIT {scan};

-- name: by_key
-- By an index on ({key}, id). As a stretch of that index, and not as an equality: with one the planner may think of
-- walking along the ids instead, past everything else that there is.
SELECT j.id, {fits} AS fits
FROM {schema}.{table} j
WHERE (j.{key}, j.id) {beyond} ({value}, $1) AND (j.{key}, j.id) {within} ({value}, '{end}')
    AND j.id {beyond} $1 {where}
ORDER BY j.{key} {direction}, j.id {direction}
LIMIT {scan};

-- name: gathered
-- By an index in another order, and sorted: for what is known to be few. The order and the limit keep to the index.
SELECT id, true AS fits
FROM (
    SELECT j.id
    FROM (SELECT * FROM {schema}.{table} j WHERE {where} ORDER BY {order} LIMIT {few}) AS j
    WHERE j.id {beyond} $1 AND {fits}
) AS few
ORDER BY id {direction}
LIMIT {scan};

-- name: tagged
-- The same for tags, whose index has no order.
SELECT id, true AS fits
FROM (SELECT j.id FROM {schema}.{table} j WHERE j.tags @> $7::text[] AND j.id {beyond} $1 AND {fits} OFFSET 0) AS few
ORDER BY id {direction}
LIMIT {scan};

-- name: number
-- How many a walk would gather, but no more than {few}. The filter itself does not matter.
SELECT count(*)
FROM (
    SELECT FROM {schema}.{table} j WHERE {where} AND ({fits} OR j.id {beyond} $1 OR true) LIMIT {few} + 1
) AS few;

-- name: attempts
SELECT job, lease, attempt, ending, worker, claimed, started, ended, error
FROM {schema}.attempts WHERE job = $1 ORDER BY lease;

-- name: groups
SELECT id, size, remaining, failed, on_failure FROM {schema}.groups WHERE id = ANY ($1::uuid[]);

-- name: progress
SELECT value FROM {schema}.progress WHERE job = $1;

-- name: workers
SELECT w.id, w.name, w.host, w.pid, w.queues, w.lease_time, date_part('epoch', w.joined), date_part('epoch', w.beat),
    w.stalled, (SELECT count(*) FROM {schema}.jobs j WHERE j.state = 'running' AND j.worker = w.id)
FROM {schema}.workers w
ORDER BY w.id;

-- name: paused
SELECT queue FROM {schema}.paused_queues ORDER BY queue COLLATE "C";

-- name: lanes
-- From lane to lane along the index, so that the cost is that of the lanes and not of their jobs.
{from_lane_to_lane}
SELECT queue, task, version FROM lane
UNION
SELECT queue, task, version FROM {schema}.jobs WHERE suspect AND state = 'ready'
ORDER BY queue, task, version;

-- name: from_lane_to_lane
WITH RECURSIVE lane AS (
    (
        SELECT queue, task, version
        FROM {schema}.jobs
        WHERE state = 'ready' AND NOT suspect
        ORDER BY queue, task, version
        LIMIT 1
    )
    UNION ALL
    SELECT next.queue, next.task, next.version
    FROM lane
    CROSS JOIN LATERAL (
        SELECT j.queue, j.task, j.version
        FROM {schema}.jobs j
        WHERE j.state = 'ready' AND NOT j.suspect
            AND (j.queue, j.task, j.version) > (lane.queue, lane.task, lane.version)
        ORDER BY j.queue, j.task, j.version
        LIMIT 1
    ) AS next
);

-- name: counts
-- Ended jobs by their tallies, live ones by the indexes, and no further than a ceiling (RULES M5): {counted} of each state,
-- for ready jobs of each lane, or less where there are many lanes. The last column: whether that was all.
{from_lane_to_lane}, ceiling AS (
    SELECT greatest(least({counted}, {ready} / greatest(count(*), 1)), {least}) AS number FROM lane
)
SELECT queue, task, version, state, sum(number)::bigint, true
FROM {schema}.tallies
GROUP BY queue, task, version, state
HAVING sum(number) <> 0
UNION ALL
SELECT lane.queue, lane.task, lane.version, 'ready', head.number, head.number < ceiling.number
FROM ceiling
CROSS JOIN lane
CROSS JOIN LATERAL (
    SELECT count(*) AS number
    FROM (
        SELECT FROM {schema}.jobs j
        WHERE j.state = 'ready' AND NOT j.suspect
            AND j.queue = lane.queue AND j.task = lane.task AND j.version = lane.version
        LIMIT ceiling.number
    ) AS ready
) AS head
UNION ALL
SELECT queue, task, version, state, count(*), sum(count(*)) OVER (PARTITION BY state) < {counted}
FROM (
    (SELECT queue, task, version, state FROM {schema}.jobs WHERE suspect AND state = 'ready' LIMIT {counted})
    UNION ALL
    (SELECT queue, task, version, state FROM {schema}.jobs WHERE state = 'running' ORDER BY worker LIMIT {counted})
    UNION ALL
    (SELECT queue, task, version, state FROM {schema}.jobs WHERE state = 'scheduled' ORDER BY due LIMIT {counted})
    UNION ALL
    (SELECT queue, task, version, state FROM {schema}.jobs WHERE state = 'waiting' ORDER BY state, id LIMIT {counted})
) AS others
GROUP BY queue, task, version, state;

-- name: keep_to_the_index
-- For the transaction. A few entries at the head of an index are wanted, and the planner, who cannot know how few fit,
-- may think of collecting all there are. $1 is off, or on where an index has no order.
SELECT set_config('enable_seqscan', 'off', true), set_config('enable_bitmapscan', $1, true);
