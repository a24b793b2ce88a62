-- Jobs. `SELECT jobs.*` is in the order of the columns of the schema, which is that of `records.Row`.

-- name: by_id
SELECT jobs.* FROM jobs WHERE id = ?;

-- name: by_ids
-- A JSON list of ids.
SELECT jobs.* FROM jobs WHERE id IN (SELECT value FROM json_each(?));

-- name: present
-- Which of these ids are taken. Read from the index of the ids alone.
SELECT id FROM jobs WHERE id IN (SELECT value FROM json_each(?));

-- name: insert
INSERT INTO jobs (id, state, queue, task, version, priority, suspect, due, created, expires, linked, reason, more,
    options, payload)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?);

-- name: mark
INSERT OR IGNORE INTO job_marks (kind, value, job) VALUES (?, ?, ?);

-- name: write
-- Everything that a verb may change. `linked` is only ever switched on.
UPDATE jobs
SET state = ?, reason = ?, due = ?, expires = ?, lease = ?, settled = ?, attempt = ?, worker = ?, claim = ?,
    claimed = ?, started = ?, begun = ?, finished = ?, cancel_requested = ?, suspect = ?,
    linked = max(linked, ?), error = ?, spent = ?, result = ?
WHERE id = ?;

-- name: claim
-- The last parameter: a JSON list of the places (`seq`) of ready jobs. One statement for all: they become the same.
UPDATE jobs
SET state = 'running', reason = '', lease = lease + 1, attempt = attempt + 1, worker = ?, claim = ?, claimed = ?,
    started = NULL, begun = coalesce(begun, ?), error = NULL, finished = NULL
WHERE seq IN (SELECT value FROM json_each(?));

-- name: complete
-- The end of a plain job: one that nothing hangs on. By its place, which saves a search for the id; the id and the
-- lease are the fence.
UPDATE jobs
SET state = 'completed', reason = ?, settled = lease, started = ?, finished = ?, suspect = 0, error = NULL,
    result = ?
WHERE seq = ? AND id = ? AND lease = ? AND state = 'running' AND linked = 0;

-- name: link
UPDATE jobs SET linked = 1 WHERE linked = 0 AND id IN (SELECT value FROM json_each(?));

-- name: heads
-- The head of a lane, straight from the index.
SELECT jobs.* FROM jobs INDEXED BY jobs_ready
WHERE state = 'ready' AND queue = ? AND task = ? AND version = ? AND suspect = ?
ORDER BY priority DESC, due, id
LIMIT ?;

-- name: claimed_as
SELECT jobs.* FROM jobs INDEXED BY jobs_running WHERE state = 'running' AND worker = ? AND claim = ?;

-- name: running
SELECT jobs.* FROM jobs INDEXED BY jobs_running WHERE state = 'running' AND worker = ? LIMIT ?;

-- name: strays
-- Running jobs whose worker has no row. It walks the index of the running ones only.
SELECT jobs.* FROM jobs INDEXED BY jobs_running
WHERE state = 'running' AND worker NOT IN (SELECT id FROM workers)
LIMIT ?;

-- name: due
SELECT jobs.* FROM jobs INDEXED BY jobs_scheduled WHERE state = 'scheduled' AND due <= ? ORDER BY due LIMIT ?;

-- name: late
SELECT jobs.* FROM jobs INDEXED BY jobs_expires
WHERE expires IS NOT NULL AND finished IS NULL AND state <> 'running' AND expires <= ?
ORDER BY expires
LIMIT ?;

-- name: next_due
SELECT min(at) FROM (
    SELECT min(due) AS at FROM jobs INDEXED BY jobs_scheduled WHERE state = 'scheduled'
    UNION ALL
    SELECT min(expires) FROM jobs INDEXED BY jobs_expires
    WHERE expires IS NOT NULL AND finished IS NULL AND state <> 'running'
);

-- name: dependants
-- A JSON list of ids of jobs and groups, and their state.
SELECT jobs.*
FROM json_each(?) AS parent
CROSS JOIN job_marks ON job_marks.kind = 'waits_on' AND job_marks.value = parent.value
CROSS JOIN jobs ON jobs.id = job_marks.job
WHERE jobs.state = ?;

-- name: prunable
-- The third and fourth parameter: the reason of those that were cancelled because what they waited on failed. Such a
-- job is kept as long as that
-- is there, and what its flow has completed as long as it: replaying the one that failed needs them all. The root is
-- in `more`; a root that is gone counts as ended.
SELECT jobs.* FROM jobs INDEXED BY jobs_finished
WHERE state = ? AND finished IS NOT NULL AND finished < ?
    AND NOT EXISTS (
        SELECT 1 FROM jobs AS root
        WHERE root.id = json_extract(jobs.more, '$.root')
            AND (root.finished IS NULL
                OR jobs.state = 'completed' AND root.state = 'cancelled' AND root.reason = ?)
    )
    AND NOT (
        jobs.state = 'cancelled' AND jobs.reason = ?
        AND (
            EXISTS (
                SELECT 1 FROM jobs AS failed
                WHERE failed.id = json_extract(jobs.more, '$.waits_on') AND failed.state <> 'completed'
            )
            OR EXISTS (
                SELECT 1 FROM job_marks CROSS JOIN jobs AS failed ON failed.id = job_marks.job
                WHERE job_marks.kind = 'group' AND job_marks.value = json_extract(jobs.more, '$.waits_on')
                    AND failed.state <> 'completed'
            )
        )
    )
ORDER BY finished
LIMIT ?;

-- name: remove
DELETE FROM jobs WHERE id = ?;

-- name: unmark
DELETE FROM job_marks WHERE kind = ? AND value = ? AND job = ?;

-- name: forget_attempts
DELETE FROM attempts WHERE job = ?;

-- name: forget_progress
DELETE FROM progress WHERE job = ?;

-- name: forget_group
-- A group goes with the last job that waits on it.
DELETE FROM groups WHERE id = ? AND NOT EXISTS (SELECT 1 FROM job_marks WHERE kind = 'waits_on' AND value = ?);

-- name: forget_lonely_group
-- A group on which nobody waits goes with its last member.
DELETE FROM groups
WHERE id = ?
    AND NOT EXISTS (SELECT 1 FROM job_marks WHERE kind = 'waits_on' AND value = groups.id)
    AND NOT EXISTS (SELECT 1 FROM job_marks WHERE kind = 'group' AND value = groups.id);

-- name: tally
INSERT INTO tallies (queue, task, version, state, number) VALUES (?, ?, ?, ?, ?)
ON CONFLICT DO UPDATE SET number = number + excluded.number;
