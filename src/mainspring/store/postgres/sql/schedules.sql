-- Schedules and their runs. `{schedule}` and `{run}` are the columns that `schedule_records` reads, of rows s and r;
-- `{now}` stands for the store's now, `{won}` for what a fire without locks asks (firing.sql). Each row is looked up by
-- its key and changed where it was found, as in flush.sql.

-- name: get
SELECT {now}, s.*
FROM (SELECT {schema}.clock() AS now OFFSET 0) AS t
LEFT JOIN LATERAL (
    SELECT s.*
    FROM unnest($1::text[]) AS n (id)
    CROSS JOIN LATERAL (SELECT {schedule} FROM {schema}.schedules s WHERE s.id = n.id OFFSET 0) AS s
) AS s ON true
ORDER BY s.id;

-- name: list
SELECT {now}, s.*
FROM (SELECT {schema}.clock() AS now OFFSET 0) AS t
LEFT JOIN LATERAL (
    SELECT {schedule}
    FROM {schema}.schedules s
    WHERE s.id > $1 AND s.dropped IS NULL AND ($3::text[] IS NULL OR s.declared_by = ANY($3::text[]))
    ORDER BY s.id
    LIMIT $2
) AS s ON true;

-- name: list_declared
-- Of some code, by its index: of a hundred thousand that were put at run time none is looked at. As a stretch of that
-- index, and not as an equality: with one the planner may think of walking along the ids instead.
SELECT {now}, s.*
FROM (SELECT {schema}.clock() AS now OFFSET 0) AS t
LEFT JOIN LATERAL (
    SELECT s.*
    FROM unnest($3::text[]) AS code (name)
    CROSS JOIN LATERAL (
        SELECT {schedule}
        FROM {schema}.schedules s
        WHERE (s.declared_by, s.id) > (code.name, $1) AND s.declared_by <= code.name AND s.declared_by <> ''
            AND s.dropped IS NULL
        ORDER BY s.declared_by, s.id
        LIMIT $2
    ) AS s
    ORDER BY s.id
    LIMIT $2
) AS s ON true;

-- name: put
-- Each row is written while it is as its writer saw it: $19 to $22, nulls where there was none. Sorted by id by who
-- calls, and all that are there before all that are new: two of these wait for each other in turn. Answers with the
-- ids that were written. $23 is the channel, $24 what to tell there.
WITH n AS MATERIALIZED (
    SELECT * FROM unnest((SELECT $1::text[]), $2::timestamptz[], $3::timestamptz[], $4::timestamptz[],
        $5::timestamptz[], $6::timestamptz[], $7::timestamptz[], $8::timestamptz[], $9::bigint[], $10::bigint[],
        $11::bigint[], $12::bigint[], $13::bigint[], $14::bigint[], $15::float8[], $16::text[], $17::text[],
        $18::json[], $19::bigint[], $20::timestamptz[], $21::bigint[], $22::boolean[])
        AS n (id, next, due, fired_to, begin_at, created, changed, dropped, revision, number, runs, missed, skipped,
            keep, keep_for, paused, declared_by, definition, seen_revision, seen_fired_to, seen_number, seen_dropped)
), changed AS (
    UPDATE {schema}.schedules s
    SET next = n.next, due = n.due, fired_to = n.fired_to, begin_at = n.begin_at, created = n.created,
        changed = n.changed, dropped = n.dropped, revision = n.revision, number = n.number, runs = n.runs,
        missed = n.missed, skipped = n.skipped, keep = n.keep, keep_for = n.keep_for, paused = n.paused,
        declared_by = n.declared_by, definition = n.definition
    FROM (
        SELECT n.*, k.place
        FROM n CROSS JOIN LATERAL (
            SELECT k.ctid AS place
            FROM {schema}.schedules k
            WHERE k.id = n.id AND k.revision = n.seen_revision AND k.fired_to = n.seen_fired_to
                AND k.number = n.seen_number AND (k.dropped IS NOT NULL) = n.seen_dropped
            OFFSET 0
        ) AS k
        OFFSET 0
    ) AS n
    -- Asked once more: of a row that somebody has changed since, this sees what it has become.
    WHERE s.ctid = n.place AND s.revision = n.seen_revision AND s.fired_to = n.seen_fired_to
        AND s.number = n.seen_number AND (s.dropped IS NOT NULL) = n.seen_dropped
    RETURNING s.id
), added AS (
    INSERT INTO {schema}.schedules (id, next, due, fired_to, begin_at, created, changed, dropped, revision, number, runs,
        missed, skipped, keep, keep_for, paused, declared_by, definition)
    SELECT id, next, due, fired_to, begin_at, created, changed, dropped, revision, number, runs, missed, skipped, keep,
        keep_for, paused, declared_by, definition
    FROM n
    WHERE seen_revision IS NULL
    ON CONFLICT (id) DO NOTHING
    RETURNING id
), written AS MATERIALIZED (
    SELECT id FROM changed UNION ALL SELECT id FROM added
)
SELECT ARRAY(SELECT id FROM written),
    (SELECT pg_notify($23, $24)::text WHERE $24 <> '' AND EXISTS (SELECT FROM written));

-- name: move
-- What fires, triggers and drops change: of rows that are locked.
UPDATE {schema}.schedules s
SET next = n.next, due = n.due, fired_to = n.fired_to, changed = n.changed, dropped = n.dropped, revision = n.revision,
    number = n.number, runs = n.runs, missed = n.missed, skipped = n.skipped, paused = n.paused
FROM unnest((SELECT $1::text[]), $2::timestamptz[], $3::timestamptz[], $4::timestamptz[], $5::timestamptz[],
    $6::timestamptz[], $7::bigint[], $8::bigint[], $9::bigint[], $10::bigint[], $11::bigint[], $12::text[])
    AS n (id, next, due, fired_to, changed, dropped, revision, number, runs, missed, skipped, paused)
CROSS JOIN LATERAL (SELECT k.ctid AS place FROM {schema}.schedules k WHERE k.id = n.id OFFSET 0) AS k
WHERE s.ctid = k.place;

-- name: take
-- Those of $1, in this order, that nobody else has in hand; the others are fired by whoever has them. At least one row.
SELECT {now}, {schedule}
FROM (SELECT {schema}.clock() AS now OFFSET 0) AS t
LEFT JOIN LATERAL (
    SELECT s.*
    FROM unnest($1::text[]) AS n (id)
    CROSS JOIN LATERAL (
        SELECT s.* FROM {schema}.schedules s WHERE s.id = n.id FOR NO KEY UPDATE SKIP LOCKED
    ) AS s
) AS s ON true;

-- name: lock
-- In the order of $1, which is sorted: two of us wait for each other in turn.
SELECT {schedule}
FROM unnest($1::text[]) AS n (id)
CROSS JOIN LATERAL (SELECT s.* FROM {schema}.schedules s WHERE s.id = n.id FOR NO KEY UPDATE) AS s;

-- name: there
SELECT s.id
FROM unnest($1::text[]) AS n (id)
CROSS JOIN LATERAL (SELECT s.id FROM {schema}.schedules s WHERE s.id = n.id OFFSET 0) AS s;

-- name: open_runs
-- Locked: a replay reopens a run, and one of us may be about to write down its end.
SELECT {run}
FROM unnest($1::text[]) AS n (schedule)
CROSS JOIN LATERAL (
    SELECT r.*
    FROM {schema}.schedule_runs r
    WHERE r.schedule = n.schedule AND r.job IS NOT NULL AND r.ended IS NULL
    ORDER BY r.schedule, r.number
    FOR NO KEY UPDATE
) AS r;

-- name: these_runs
-- The open ones of these, as far as nobody else has them in hand.
SELECT {run}
FROM unnest($1::text[], $2::bigint[]) AS n (schedule, number)
CROSS JOIN LATERAL (
    SELECT r.*
    FROM {schema}.schedule_runs r
    WHERE r.schedule = n.schedule AND r.number = n.number AND r.job IS NOT NULL AND r.ended IS NULL
    FOR NO KEY UPDATE SKIP LOCKED
) AS r;

-- name: newest_runs
-- Those above a number, so that no more are read than are wanted, whatever the server believes about how many there are.
SELECT {run}
FROM unnest($1::text[], $2::bigint[]) AS n (schedule, above)
CROSS JOIN LATERAL (
    SELECT r.* FROM {schema}.schedule_runs r WHERE r.schedule = n.schedule AND r.number > n.above OFFSET 0
) AS r;

-- name: standing
-- How the job of an id stands, in one look over all places (RULES H11a). What the end of a run says, and no more.
SELECT j.state, j.schedule, date_part('epoch', j.claimed) AS claimed, date_part('epoch', j.started) AS started, j.attempt,
    j.error, NULL::float8 AS finished
FROM {schema}.jobs j WHERE j.id = {id}
UNION ALL
SELECT j.state, j.schedule, date_part('epoch', j.claimed), date_part('epoch', j.started), j.attempt, j.error,
    date_part('epoch', j.finished)
FROM {schema}.jobs_done j WHERE j.id = {id}
UNION ALL
SELECT j.state, j.schedule, date_part('epoch', j.claimed), date_part('epoch', j.started), j.attempt, j.error,
    date_part('epoch', j.finished)
FROM {schema}.jobs_kept j WHERE j.id = {id};

-- name: standings
SELECT n.id, j.* FROM unnest($1::uuid[]) AS n (id) CROSS JOIN LATERAL ({standing}) AS j;

-- name: due
-- The earliest, from $3 on, but for the ids $2, one more than $1; when the first of those ids is due, and when the first
-- after now that is not one of them. Where the trigger counts from the end of a run (`next` is null): how many go on,
-- and when the last one ended.
WITH t AS MATERIALIZED (
    SELECT {schema}.clock() AS now
)
SELECT {now}, (
        SELECT date_part('epoch', min(s.due))
        FROM unnest($2::text[]) AS n (id)
        CROSS JOIN LATERAL (
            SELECT s.due FROM {schema}.schedules s WHERE s.id = n.id AND s.paused = '' AND s.dropped IS NULL OFFSET 0
        ) AS s
    ), (
        SELECT date_part('epoch', s.due)
        FROM {schema}.schedules s
        WHERE s.due > (SELECT now FROM t) AND s.paused = '' AND s.dropped IS NULL AND s.id <> ALL($2::text[])
        ORDER BY s.due, s.id
        LIMIT 1
    ), CASE WHEN s.next IS NULL THEN ({ends}) END, {schedule}
FROM t
LEFT JOIN LATERAL (
    SELECT s.*
    FROM {schema}.schedules s
    WHERE s.due <= t.now AND s.due >= $3 AND s.paused = '' AND s.dropped IS NULL AND s.id <> ALL($2::text[])
    ORDER BY s.due, s.id
    LIMIT $1 + 1
) AS s ON true
ORDER BY s.due, s.id;

-- name: ends
-- Of the newest and the open runs of a schedule: how many jobs go on, and the last end.
SELECT ARRAY[
        count(*) FILTER (WHERE job.state IS NOT NULL AND job.finished IS NULL),
        max(CASE WHEN r.ended IS NOT NULL THEN date_part('epoch', r.ended) WHEN job.state IS NULL THEN {now} ELSE job.finished END)
    ]::float8[]
FROM (
    SELECT r.job, r.ended
    FROM {schema}.schedule_runs r
    WHERE r.schedule = s.id AND r.number > s.number - {looked_back} AND r.job IS NOT NULL
    UNION ALL
    SELECT r.job, r.ended
    FROM {schema}.schedule_runs r
    WHERE r.schedule = s.id AND r.job IS NOT NULL AND r.ended IS NULL
) AS r
LEFT JOIN LATERAL ({standing}) AS job ON true;

-- name: runs
-- The newest, with how the jobs of open ones stand.
SELECT {now}, r.*, job.*
FROM (SELECT {schema}.clock() AS now OFFSET 0) AS t
CROSS JOIN LATERAL (
    SELECT {run}, r.ended AS end_of_run
    FROM {schema}.schedule_runs r
    WHERE r.schedule = $1 AND r.number >= $2
    ORDER BY r.schedule DESC, r.number DESC
    LIMIT $3
) AS r
LEFT JOIN LATERAL ({standing}) AS job ON true
ORDER BY r.number;

-- name: add_runs
INSERT INTO {schema}.schedule_runs (schedule, number, slot, last_slot, fired, started, ended, job, group_id, count, attempts,
    kind, state, error)
SELECT * FROM unnest($1::text[], $2::bigint[], $3::timestamptz[], $4::timestamptz[], $5::timestamptz[],
    $6::timestamptz[], $7::timestamptz[], $8::uuid[], $9::uuid[], $10::bigint[], $11::integer[], $12::text[],
    $13::text[], $14::text[])
    AS n (schedule, number, slot, last_slot, fired, started, ended, job, group_id, count, attempts, kind, state, error)
WHERE {won};

-- name: grow_runs
-- Records of times that were left out, of which there are more now. One that was pruned just now is there again.
INSERT INTO {schema}.schedule_runs (schedule, number, slot, last_slot, fired, started, ended, job, group_id, count, attempts,
    kind, state, error)
SELECT * FROM unnest($1::text[], $2::bigint[], $3::timestamptz[], $4::timestamptz[], $5::timestamptz[],
    $6::timestamptz[], $7::timestamptz[], $8::uuid[], $9::uuid[], $10::bigint[], $11::integer[], $12::text[],
    $13::text[], $14::text[])
    AS n (schedule, number, slot, last_slot, fired, started, ended, job, group_id, count, attempts, kind, state, error)
WHERE {won}
ON CONFLICT (schedule, number) DO UPDATE
SET last_slot = excluded.last_slot, fired = excluded.fired, ended = excluded.ended, count = excluded.count;

-- name: change_runs
-- How runs ended, or that they go on again. Of rows that are locked.
UPDATE {schema}.schedule_runs r
SET started = n.started, ended = n.ended, attempts = n.attempts, state = n.state, error = n.error
FROM unnest((SELECT $1::text[]), $2::bigint[], $3::timestamptz[], $4::timestamptz[], $5::integer[], $6::text[],
    $7::text[])
    AS n (schedule, number, started, ended, attempts, state, error)
CROSS JOIN LATERAL (
    SELECT k.ctid AS place FROM {schema}.schedule_runs k WHERE k.schedule = n.schedule AND k.number = n.number OFFSET 0
) AS k
WHERE r.ctid = k.place;

-- name: trim_runs
DELETE FROM {schema}.schedule_runs r
USING unnest((SELECT $1::text[]), $2::bigint[]) AS n (schedule, below)
CROSS JOIN LATERAL (
    SELECT k.ctid AS place
    FROM {schema}.schedule_runs k
    WHERE k.schedule = n.schedule AND k.number < n.below AND (k.job IS NULL OR k.ended IS NOT NULL)
    OFFSET 0
) AS k
WHERE r.ctid = k.place AND (r.job IS NULL OR r.ended IS NOT NULL);

-- name: drop_runs
-- Runs whose end would be written down, if they were kept. Of rows that are locked.
DELETE FROM {schema}.schedule_runs r
USING unnest((SELECT $1::text[]), $2::bigint[]) AS n (schedule, number)
CROSS JOIN LATERAL (
    SELECT k.ctid AS place FROM {schema}.schedule_runs k WHERE k.schedule = n.schedule AND k.number = n.number OFFSET 0
) AS k
WHERE r.ctid = k.place;

-- name: runs_of
-- The runs of jobs that are replayed. Locked, whether they are open or not: who is about to write down their end has
-- to wait for us, or we for them, and then see what they have written.
SELECT {run}
FROM unnest($1::text[], $2::uuid[]) AS n (schedule, job)
CROSS JOIN LATERAL (
    SELECT r.* FROM {schema}.schedule_runs r WHERE r.schedule = n.schedule AND r.job = n.job FOR NO KEY UPDATE
) AS r;

-- name: ended_runs
-- Of a page of open runs, in their order from behind ($1, $2): those whose job is not live any more, and the last one.
-- Answers with the place of each in the page as well.
SELECT p.schedule, p.number, p.place, p.ended
FROM (
    SELECT p.schedule, p.number, row_number() OVER (ORDER BY p.schedule, p.number) AS place, count(*) OVER () AS number_of,
        NOT EXISTS (SELECT FROM {schema}.jobs j WHERE j.id = p.job OFFSET 0) AS ended
    FROM (
        SELECT r.schedule, r.number, r.job
        FROM {schema}.schedule_runs r
        WHERE (r.schedule, r.number) > ($1, $2) AND r.job IS NOT NULL AND r.ended IS NULL
        ORDER BY r.schedule, r.number
        LIMIT $3
    ) AS p
) AS p
WHERE p.ended OR p.place = p.number_of
ORDER BY p.place;

-- name: prune_page
-- From behind an id, so many schedules, and those that were dropped long ago: their runs that are not to be kept go.
-- The oldest one says whether any is too old. Answers with the last id, how many were looked at, and how many went.
WITH t AS MATERIALIZED (
    SELECT {schema}.clock() AS now
), page AS MATERIALIZED (
    SELECT s.id, s.number - s.keep AS last, s.keep_for
    FROM {schema}.schedules s
    WHERE s.id > $1
    ORDER BY s.id
    LIMIT $2
), gone AS MATERIALIZED (
    SELECT s.id
    FROM t CROSS JOIN LATERAL (
        SELECT s.id FROM {schema}.schedules s WHERE s.dropped < t.now - $4 * interval '1 s' ORDER BY s.dropped LIMIT $3
    ) AS s
), old AS MATERIALIZED (
    SELECT r.place
    FROM page p CROSS JOIN LATERAL (
        SELECT r.ctid AS place
        FROM {schema}.schedule_runs r
        WHERE r.schedule = p.id AND r.number <= p.last AND (r.job IS NULL OR r.ended IS NOT NULL)
        ORDER BY r.schedule, r.number
        LIMIT $3
        FOR NO KEY UPDATE SKIP LOCKED
    ) AS r
    UNION ALL
    SELECT r.place
    FROM t CROSS JOIN page p CROSS JOIN LATERAL (
        SELECT r.ctid AS place
        FROM {schema}.schedule_runs r
        WHERE r.schedule = p.id AND r.number > p.last AND (r.job IS NULL OR r.ended IS NOT NULL)
            AND r.fired < t.now - p.keep_for * interval '1 s'
            AND (
                SELECT o.fired FROM {schema}.schedule_runs o WHERE o.schedule = p.id AND o.number > p.last
                ORDER BY o.schedule, o.number LIMIT 1
            ) < t.now - p.keep_for * interval '1 s'
        ORDER BY r.schedule, r.number
        LIMIT $3
        FOR NO KEY UPDATE SKIP LOCKED
    ) AS r
    WHERE p.keep_for IS NOT NULL
    UNION ALL
    SELECT r.place
    FROM gone g CROSS JOIN LATERAL (
        SELECT r.ctid AS place
        FROM {schema}.schedule_runs r
        WHERE r.schedule = g.id AND (r.job IS NULL OR r.ended IS NOT NULL)
        ORDER BY r.schedule, r.number
        LIMIT $3
        FOR NO KEY UPDATE SKIP LOCKED
    ) AS r
), removed AS (
    DELETE FROM {schema}.schedule_runs r WHERE r.ctid = ANY(ARRAY(SELECT place FROM old LIMIT $3)) RETURNING 1
)
SELECT (SELECT id FROM page ORDER BY id DESC LIMIT 1), (SELECT count(*) FROM page), (SELECT count(*) FROM removed);

-- name: remove_dropped
-- The rows of schedules that were dropped long ago and have no runs left.
WITH old AS MATERIALIZED (
    SELECT s.place
    FROM (SELECT {schema}.clock() AS now OFFSET 0) AS t CROSS JOIN LATERAL (
        SELECT s.ctid AS place
        FROM {schema}.schedules s
        WHERE s.dropped < t.now - $2 * interval '1 s'
            AND NOT EXISTS (SELECT FROM {schema}.schedule_runs r WHERE r.schedule = s.id OFFSET 0)
        ORDER BY s.dropped
        LIMIT $1
        FOR NO KEY UPDATE SKIP LOCKED
    ) AS s
)
DELETE FROM {schema}.schedules s WHERE s.ctid = ANY(ARRAY(SELECT place FROM old));
