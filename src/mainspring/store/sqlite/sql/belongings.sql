-- What belongs to jobs: history, groups, unique keys, progress.

-- name: append_attempt
INSERT OR IGNORE INTO attempts (job, lease, attempt, ending, worker, claimed, started, ended, error)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?);

-- name: trim_attempts
-- Keep the newest of a job: twice its id, then how many.
DELETE FROM attempts
WHERE job = ?
    AND lease <= (SELECT lease FROM attempts WHERE job = ? ORDER BY lease DESC LIMIT 1 OFFSET ?);

-- name: attempts
SELECT job, lease, attempt, ending, worker, claimed, started, ended, error FROM attempts WHERE job = ? ORDER BY lease;

-- name: groups
SELECT id, size, remaining, failed, on_failure FROM groups WHERE id IN (SELECT value FROM json_each(?));

-- name: put_group
INSERT OR REPLACE INTO groups (id, size, remaining, failed, on_failure) VALUES (?, ?, ?, ?, ?);

-- name: key
SELECT job, until FROM unique_keys WHERE key = ?;

-- name: take_key
INSERT OR REPLACE INTO unique_keys (key, job, until) VALUES (?, ?, ?);

-- name: free_key
DELETE FROM unique_keys WHERE key = ? AND job = ?;

-- name: set_progress
-- Only for jobs that are there: a report may come later than the end of its job.
INSERT OR REPLACE INTO progress (job, value) SELECT id, ? FROM jobs WHERE id = ?;

-- name: progress
SELECT value FROM progress WHERE job = ?;
