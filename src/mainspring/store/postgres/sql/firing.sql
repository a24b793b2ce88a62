-- The usual fire: one look without a lock, and one statement that writes while nothing has changed since. `{schedule}`
-- and `{run}` are the columns that `schedule_records` reads, of rows s and r; `{now}` stands for the store's now. The
-- last of these are parts of one statement, of which `moved` is the first.

-- name: look
-- All that a fire of these schedules is decided on: each as it is, its open runs with how their jobs stand, and the two
-- newest runs where a run goes on, or slots were missed ($2). `xmin` tells whether a run was written since. At least one
-- row.
SELECT {now}, s.*
FROM (SELECT {schema}.clock() AS now OFFSET 0) AS t
LEFT JOIN LATERAL (
    SELECT s.*, o.runs, o.going, w.runs
    FROM unnest($1::text[], $2::boolean[]) AS n (id, missed)
    CROSS JOIN LATERAL (SELECT {schedule} FROM {schema}.schedules s WHERE s.id = n.id OFFSET 0) AS s
    LEFT JOIN LATERAL (
        SELECT json_agg(json_build_array(json_build_array({run}), r.xmin::text::bigint, CASE WHEN job.state IS NOT NULL THEN
                json_build_array(job.state, job.schedule, job.claimed, job.started, job.attempt, job.error::text,
                    job.finished) END)) AS runs,
            bool_or(job.state IS NOT NULL AND job.finished IS NULL) AS going
        FROM {schema}.schedule_runs r
        LEFT JOIN LATERAL ({standing}) AS job ON true
        WHERE r.schedule = n.id AND r.job IS NOT NULL AND r.ended IS NULL
    ) AS o ON true
    LEFT JOIN LATERAL (
        SELECT json_agg(json_build_array({run})) AS runs
        FROM {schema}.schedule_runs r
        WHERE r.schedule = n.id AND r.number > s.number - 2 AND (n.missed OR o.going)
    ) AS w ON true
) AS s ON true;

-- name: moved
-- Schedules that are still as they were seen, $12 to $15, and that nobody has in hand: nobody is waited for, and every
-- other part is about these alone. A row that somebody writes while this statement begins is locked as it has become,
-- but not found to be changed: it is left alone. Only a job of the same id in an open transaction can hold this up.
UPDATE {schema}.schedules s
SET next = n.next, due = n.due, fired_to = n.fired_to, changed = n.changed, revision = n.revision, number = n.number,
    runs = n.runs, missed = n.missed, skipped = n.skipped, paused = n.paused
FROM (
    SELECT n.*, k.place
    FROM unnest((SELECT $1::text[]), $2::timestamptz[], $3::timestamptz[], $4::timestamptz[], $5::timestamptz[],
        $6::bigint[], $7::bigint[], $8::bigint[], $9::bigint[], $10::bigint[], $11::text[], $12::bigint[],
        $13::timestamptz[], $14::timestamptz[], $15::bigint[])
        AS n (id, next, due, fired_to, changed, revision, number, runs, missed, skipped, paused, seen_revision, seen_due,
            seen_fired_to, seen_number)
    CROSS JOIN LATERAL (
        SELECT k.ctid AS place
        FROM {schema}.schedules k
        WHERE k.id = n.id AND k.revision = n.seen_revision AND k.due = n.seen_due AND k.fired_to = n.seen_fired_to
            AND k.number = n.seen_number AND k.paused = '' AND k.dropped IS NULL
        FOR NO KEY UPDATE SKIP LOCKED
    ) AS k
    OFFSET 0
) AS n
WHERE (SELECT set_config('lock_timeout', '2000', true)) IS NOT NULL AND s.ctid = n.place
RETURNING s.id;

-- name: end_runs
-- How runs ended, as far as they are as they were seen ($8): a run that somebody has reopened goes on. One that somebody
-- has in hand is left for the next fire; nobody is waited for.
UPDATE {schema}.schedule_runs r
SET started = n.started, ended = n.ended, attempts = n.attempts, state = n.state, error = n.error
FROM (
    SELECT n.*, k.place
    FROM unnest((SELECT $1::text[]), $2::bigint[], $3::timestamptz[], $4::timestamptz[], $5::integer[], $6::text[],
        $7::text[], $8::bigint[]) AS n (schedule, number, started, ended, attempts, state, error, seen)
    CROSS JOIN LATERAL (
        SELECT k.ctid AS place
        FROM {schema}.schedule_runs k
        WHERE k.schedule = n.schedule AND k.number = n.number AND k.xmin::text::bigint = n.seen AND k.ended IS NULL
        FOR NO KEY UPDATE SKIP LOCKED
    ) AS k
    WHERE {won}
    OFFSET 0
) AS n
WHERE r.ctid = n.place;

-- name: drop_runs
-- The same of runs that would not be kept: they go instead.
DELETE FROM {schema}.schedule_runs r
USING (
    SELECT k.place
    FROM unnest((SELECT $1::text[]), $2::bigint[], $3::bigint[]) AS n (schedule, number, seen)
    CROSS JOIN LATERAL (
        SELECT k.ctid AS place
        FROM {schema}.schedule_runs k
        WHERE k.schedule = n.schedule AND k.number = n.number AND k.xmin::text::bigint = n.seen AND k.ended IS NULL
        FOR UPDATE SKIP LOCKED
    ) AS k
    WHERE {won}
    OFFSET 0
) AS n
WHERE r.ctid = n.place;

-- name: trim_runs
DELETE FROM {schema}.schedule_runs r
USING (
    SELECT k.place
    FROM unnest((SELECT $1::text[]), $2::bigint[]) AS n (schedule, below)
    CROSS JOIN LATERAL (
        SELECT k.ctid AS place
        FROM {schema}.schedule_runs k
        WHERE k.schedule = n.schedule AND k.number < n.below AND (k.job IS NULL OR k.ended IS NOT NULL)
        FOR UPDATE SKIP LOCKED
    ) AS k
    WHERE {won}
    OFFSET 0
) AS n
WHERE r.ctid = n.place;

-- name: add_groups
-- What later runs of a schedule ($4) wait for. They are new.
INSERT INTO {schema}.groups (id, size, remaining, failed, on_failure)
SELECT n.id, n.size, n.size, 0, n.on_failure
FROM unnest($1::uuid[], $2::integer[], $3::text[], $4::text[]) AS n (id, size, on_failure, schedule)
WHERE {won};
