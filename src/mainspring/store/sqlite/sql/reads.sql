-- `find` walks one index, the narrowest that the filter allows, in the order of the ids, and looks at no more than
-- `:scan` entries in one call (RULES M5). Each walk comes in both directions; `page` and `last` are put around it.

-- name: page
SELECT jobs.* FROM ({walk}) AS walk CROSS JOIN jobs ON jobs.seq = walk.seq
WHERE (:states IS NULL OR state IN (SELECT value FROM json_each(:states)))
    AND (:task IS NULL OR task = :task)
    AND (:queue IS NULL OR queue = :queue)
    AND (:created_from IS NULL OR created >= :created_from)
    AND (:created_to IS NULL OR created < :created_to)
    AND NOT EXISTS (
        SELECT 1 FROM json_each(:marks) AS wanted
        WHERE NOT EXISTS (
            SELECT 1 FROM job_marks
            WHERE kind = json_extract(wanted.value, '$[0]') AND job_marks.value = json_extract(wanted.value, '$[1]')
                AND job = jobs.id
        )
    )
LIMIT :limit;

-- name: last
-- The last entry that a full walk looked at, where the next page goes on; nothing when it came to the end.
SELECT id FROM ({walk}) LIMIT 1 OFFSET :scan - 1;

-- name: by_id
SELECT seq, id FROM jobs WHERE id > :cursor ORDER BY id LIMIT :scan;

-- name: by_id_newest
SELECT seq, id FROM jobs WHERE id < :cursor ORDER BY id DESC LIMIT :scan;

-- name: by_task
SELECT seq, id FROM jobs INDEXED BY jobs_task WHERE task = :task AND id > :cursor ORDER BY id LIMIT :scan;

-- name: by_task_newest
SELECT seq, id FROM jobs INDEXED BY jobs_task WHERE task = :task AND id < :cursor ORDER BY id DESC LIMIT :scan;

-- name: by_state
SELECT seq, id FROM jobs INDEXED BY jobs_state
WHERE state = :state AND state <> 'completed' AND state <> 'ready' AND state <> 'running' AND id > :cursor
ORDER BY id LIMIT :scan;

-- name: by_state_newest
SELECT seq, id FROM jobs INDEXED BY jobs_state
WHERE state = :state AND state <> 'completed' AND state <> 'ready' AND state <> 'running' AND id < :cursor
ORDER BY id DESC LIMIT :scan;

-- name: by_ready
-- The index of the claims has another order: few enough are sorted (the caller knows how many there are).
SELECT seq, id FROM jobs INDEXED BY jobs_ready WHERE state = 'ready' AND id > :cursor ORDER BY id LIMIT :scan;

-- name: by_ready_newest
SELECT seq, id FROM jobs INDEXED BY jobs_ready WHERE state = 'ready' AND id < :cursor ORDER BY id DESC LIMIT :scan;

-- name: by_running
SELECT seq, id FROM jobs INDEXED BY jobs_running WHERE state = 'running' AND id > :cursor ORDER BY id LIMIT :scan;

-- name: by_running_newest
SELECT seq, id FROM jobs INDEXED BY jobs_running WHERE state = 'running' AND id < :cursor ORDER BY id DESC LIMIT :scan;

-- name: by_mark
SELECT jobs.seq, jobs.id FROM job_marks CROSS JOIN jobs ON jobs.id = job_marks.job
WHERE job_marks.kind = :kind AND job_marks.value = :value AND job_marks.job > :cursor
ORDER BY job_marks.job LIMIT :scan;

-- name: by_mark_newest
SELECT jobs.seq, jobs.id FROM job_marks CROSS JOIN jobs ON jobs.id = job_marks.job
WHERE job_marks.kind = :kind AND job_marks.value = :value AND job_marks.job < :cursor
ORDER BY job_marks.job DESC LIMIT :scan;

-- name: counts
SELECT queue, task, version, state, number FROM tallies WHERE number <> 0 ORDER BY queue, task, version, state;

-- name: number_in_state
SELECT coalesce(sum(number), 0) FROM tallies WHERE state = ?;

-- name: lanes
SELECT queue, task, version FROM tallies WHERE state = 'ready' AND number > 0 ORDER BY queue, task, version;

-- name: recount
-- What the tallies should be; for `check`.
SELECT count(*) FROM (
    SELECT queue, task, version, state FROM (
        SELECT queue, task, version, state, count(*) AS number FROM jobs GROUP BY queue, task, version, state
        UNION ALL
        SELECT queue, task, version, state, -number FROM tallies
    )
    GROUP BY queue, task, version, state
    HAVING sum(number) <> 0
);

-- name: anything_ready
-- Is there anything for one of these queues (a JSON list)? Asked when another process has written.
SELECT EXISTS (
    SELECT 1 FROM json_each(?) AS wanted CROSS JOIN jobs INDEXED BY jobs_ready
    ON jobs.state = 'ready' AND jobs.queue = wanted.value
);
