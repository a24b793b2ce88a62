-- Jobs. `SELECT jobs.*` is in the order of the columns of the schema, which is that of `records.Row`.

-- name: by_id
SELECT jobs.* FROM jobs WHERE id = ?1;

-- name: by_ids
-- ?1: a JSON list of ids.
SELECT jobs.* FROM jobs WHERE id IN (SELECT value FROM json_each(?1));

-- name: present
-- Which of these ids are taken. Read from the index of the ids alone.
SELECT id FROM jobs WHERE id IN (SELECT value FROM json_each(?1));

-- name: insert
INSERT INTO jobs (id, state, queue, task, version, priority, suspect, due, created, expires, linked, reason, more,
    options, payload)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?);

-- name: mark
INSERT OR IGNORE INTO job_marks (kind, value, job) VALUES (?, ?, ?);

-- name: write
-- Everything that a verb may change. `linked` is only ever switched on.
UPDATE jobs
SET state = ?2, reason = ?3, due = ?4, expires = ?5, lease = ?6, settled = ?7, attempt = ?8, worker = ?9, claim = ?10,
    claimed = ?11, started = ?12, begun = ?13, finished = ?14, cancel_requested = ?15, suspect = ?16,
    linked = max(linked, ?17), error = ?18, spent = ?19, result = ?20
WHERE id = ?1;

-- name: claim
-- ?4: a JSON list of the places (`seq`) of ready jobs. One statement for all: they become the same.
UPDATE jobs
SET state = 'running', reason = '', lease = lease + 1, attempt = attempt + 1, worker = ?1, claim = ?2, claimed = ?3,
    started = NULL, begun = coalesce(begun, ?3), error = NULL, finished = NULL
WHERE seq IN (SELECT value FROM json_each(?4));

-- name: complete
-- The end of a plain job: one that nothing hangs on. By its place, which saves a search for the id; the id and the
-- lease are the fence.
UPDATE jobs
SET state = 'completed', reason = ?4, settled = lease, started = ?5, finished = ?6, suspect = 0, error = NULL,
    result = ?7
WHERE seq = ?1 AND id = ?2 AND lease = ?3 AND state = 'running' AND linked = 0;

-- name: link
UPDATE jobs SET linked = 1 WHERE linked = 0 AND id IN (SELECT value FROM json_each(?1));

-- name: heads
-- The head of a lane, straight from the index.
SELECT jobs.* FROM jobs INDEXED BY jobs_ready
WHERE state = 'ready' AND queue = ?1 AND task = ?2 AND version = ?3 AND suspect = ?4
ORDER BY priority DESC, due, id
LIMIT ?5;

-- name: claimed_as
SELECT jobs.* FROM jobs INDEXED BY jobs_running WHERE state = 'running' AND worker = ?1 AND claim = ?2;

-- name: running
SELECT jobs.* FROM jobs INDEXED BY jobs_running WHERE state = 'running' AND worker = ?1 LIMIT ?2;

-- name: strays
-- Running jobs whose worker has no row. It walks the index of the running ones only.
SELECT jobs.* FROM jobs INDEXED BY jobs_running
WHERE state = 'running' AND worker NOT IN (SELECT id FROM workers)
LIMIT ?1;

-- name: due
SELECT jobs.* FROM jobs INDEXED BY jobs_scheduled WHERE state = 'scheduled' AND due <= ?1 ORDER BY due LIMIT ?2;

-- name: late
SELECT jobs.* FROM jobs INDEXED BY jobs_expires
WHERE expires IS NOT NULL AND finished IS NULL AND state <> 'running' AND expires <= ?1
ORDER BY expires
LIMIT ?2;

-- name: next_due
SELECT min(at) FROM (
    SELECT min(due) AS at FROM jobs INDEXED BY jobs_scheduled WHERE state = 'scheduled'
    UNION ALL
    SELECT min(expires) FROM jobs INDEXED BY jobs_expires
    WHERE expires IS NOT NULL AND finished IS NULL AND state <> 'running'
);

-- name: dependants
-- ?1: a JSON list of ids of jobs and groups.
SELECT jobs.*
FROM json_each(?1) AS parent
CROSS JOIN job_marks ON job_marks.kind = 'waits_on' AND job_marks.value = parent.value
CROSS JOIN jobs ON jobs.id = job_marks.job
WHERE jobs.state = ?2;

-- name: prunable
-- ?4: the reason of those that were cancelled because what they waited on failed. Such a job is kept as long as that
-- is there, and what its flow has completed as long as it: replaying the one that failed needs them all. The root is
-- in `more`; a root that is gone counts as ended.
SELECT jobs.* FROM jobs INDEXED BY jobs_finished
WHERE state = ?1 AND finished IS NOT NULL AND finished < ?2
    AND NOT EXISTS (
        SELECT 1 FROM jobs AS root
        WHERE root.id = json_extract(jobs.more, '$.root')
            AND (root.finished IS NULL
                OR jobs.state = 'completed' AND root.state = 'cancelled' AND root.reason = ?4)
    )
    AND NOT (
        jobs.state = 'cancelled' AND jobs.reason = ?4
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
LIMIT ?3;

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
DELETE FROM groups WHERE id = ?1 AND NOT EXISTS (SELECT 1 FROM job_marks WHERE kind = 'waits_on' AND value = ?1);

-- name: tally
INSERT INTO tallies (queue, task, version, state, number) VALUES (?, ?, ?, ?, ?)
ON CONFLICT DO UPDATE SET number = number + excluded.number;
