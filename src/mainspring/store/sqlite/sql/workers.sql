-- Workers and queues.

-- name: worker
SELECT id, name, host, pid, queues, lease_time, joined, beat, steady_since, stalled FROM workers WHERE id = ?;

-- name: put_worker
INSERT OR REPLACE INTO workers (id, name, host, pid, queues, lease_time, joined, beat, steady_since, stalled)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?);

-- name: drop_worker
DELETE FROM workers WHERE id = ?;

-- name: workers
SELECT id, name, host, pid, queues, lease_time, joined, beat, steady_since, stalled,
    (SELECT count(*) FROM jobs INDEXED BY jobs_running WHERE state = 'running' AND worker = workers.id)
FROM workers
ORDER BY id;

-- name: cancel_requests
SELECT id FROM jobs INDEXED BY jobs_running WHERE state = 'running' AND worker = ? AND cancel_requested = 1;

-- name: paused
SELECT queue FROM paused_queues;

-- name: pause
INSERT OR IGNORE INTO paused_queues (queue) VALUES (?);

-- name: resume
DELETE FROM paused_queues WHERE queue = ?;
