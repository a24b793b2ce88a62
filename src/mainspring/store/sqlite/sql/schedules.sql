-- Schedules and their runs. `SELECT schedules.*` and `SELECT schedule_runs.*` are in the order of the columns of the
-- schema, which is that of `schedule_records`.

-- name: schedule
SELECT schedules.* FROM schedules WHERE id = ?;

-- name: schedules
-- A JSON list of ids.
SELECT schedules.* FROM schedules WHERE id IN (SELECT value FROM json_each(?));

-- name: put
INSERT INTO schedules (id, revision, next, due, fired_to, runs, missed, skipped, number, begin_at, paused, created,
    changed, dropped, declared_by, keep, keep_for, definition)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (id) DO UPDATE SET revision = excluded.revision, next = excluded.next, due = excluded.due,
    fired_to = excluded.fired_to, runs = excluded.runs, missed = excluded.missed, skipped = excluded.skipped,
    number = excluded.number, begin_at = excluded.begin_at, paused = excluded.paused, created = excluded.created,
    changed = excluded.changed, dropped = excluded.dropped, declared_by = excluded.declared_by,
    keep = excluded.keep, keep_for = excluded.keep_for, definition = excluded.definition;

-- name: move
-- What a fire changes. By its place, which was read in the same transaction.
UPDATE schedules SET next = ?, due = ?, fired_to = ?, runs = ?, missed = ?, skipped = ?, number = ? WHERE seq = ?;

-- name: touch
-- Of one whose definition cannot be read, and so stays as it is. By its place, as above.
UPDATE schedules SET revision = ?, paused = ?, changed = ?, dropped = ? WHERE seq = ?;

-- name: changed
UPDATE schedule_changes SET number = number + 1;

-- name: changes
SELECT number FROM schedule_changes;

-- name: due
-- The third parameter, a JSON list of ids that are left out.
SELECT schedules.* FROM schedules INDEXED BY schedules_due
WHERE due IS NOT NULL AND paused = '' AND dropped IS NULL AND due <= ?
    AND id NOT IN (SELECT value FROM json_each(?))
ORDER BY due, id
LIMIT ?;

-- name: next_due
SELECT due FROM schedules INDEXED BY schedules_due
WHERE due IS NOT NULL AND paused = '' AND dropped IS NULL AND due > ?
    AND id NOT IN (SELECT value FROM json_each(?))
ORDER BY due, id
LIMIT 1;

-- name: list
SELECT schedules.* FROM schedules WHERE id > ? AND dropped IS NULL ORDER BY id LIMIT ?;

-- name: list_declared
-- A JSON list of who declared them, without the empty one. They are few: those of one application.
SELECT schedules.* FROM schedules INDEXED BY schedules_declared
WHERE declared_by <> '' AND dropped IS NULL AND declared_by IN (SELECT value FROM json_each(?)) AND id > ?
ORDER BY id
LIMIT ?;

-- name: list_filtered
-- The same when those that nobody declared are wanted too, which are found by nothing else.
SELECT schedules.* FROM schedules
WHERE declared_by IN (SELECT value FROM json_each(?)) AND id > ? AND dropped IS NULL
ORDER BY id
LIMIT ?;

-- name: put_run
INSERT INTO schedule_runs (schedule, number, kind, slot, last_slot, count, job, group_id, fired, state, started, ended,
    attempts, error, until)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (schedule, number) DO UPDATE SET kind = excluded.kind, slot = excluded.slot,
    last_slot = excluded.last_slot, count = excluded.count, job = excluded.job, group_id = excluded.group_id,
    fired = excluded.fired, state = excluded.state, started = excluded.started, ended = excluded.ended,
    attempts = excluded.attempts, error = excluded.error, until = excluded.until;

-- name: open_run
-- The open runs of one schedule.
SELECT schedule_runs.* FROM schedule_runs INDEXED BY schedule_runs_open
WHERE schedule = ? AND job IS NOT NULL AND ended IS NULL
ORDER BY number;

-- name: open_runs
-- A JSON list of schedules.
SELECT schedule_runs.* FROM json_each(?) AS wanted
CROSS JOIN schedule_runs INDEXED BY schedule_runs_open
ON schedule_runs.schedule = wanted.value AND job IS NOT NULL AND ended IS NULL;

-- name: all_open_runs
SELECT schedule_runs.* FROM schedule_runs INDEXED BY schedule_runs_open
WHERE job IS NOT NULL AND ended IS NULL AND (schedule, number) > (?, ?)
ORDER BY schedule, number
LIMIT ?;

-- name: newest_runs
SELECT schedule_runs.* FROM schedule_runs WHERE schedule = ? AND number >= ? ORDER BY number DESC LIMIT ?;

-- name: trim
DELETE FROM schedule_runs WHERE schedule = ? AND number < ? AND (job IS NULL OR ended IS NOT NULL);

-- name: reopen
UPDATE schedule_runs SET state = NULL, started = NULL, ended = NULL, attempts = 0, error = ''
WHERE schedule = ? AND job = ?;

-- name: keeping
-- What schedules keep, of a JSON list.
SELECT id, number, keep, keep_for FROM schedules WHERE id IN (SELECT value FROM json_each(?));

-- name: keep
-- A schedule keeps its runs in another way now: no run up to a number, and the others for so long.
UPDATE schedule_runs SET until = CASE WHEN number <= ? THEN -1 ELSE fired + ? END WHERE schedule = ?;

-- name: old_runs
SELECT schedule, number FROM schedule_runs INDEXED BY schedule_runs_until
WHERE until IS NOT NULL AND until < ? AND (job IS NULL OR ended IS NOT NULL)
LIMIT ?;

-- name: orphaned_runs
-- Those of schedules that were dropped before this time.
SELECT schedule_runs.schedule, schedule_runs.number FROM schedules INDEXED BY schedules_dropped
CROSS JOIN schedule_runs ON schedule_runs.schedule = schedules.id
WHERE schedules.dropped IS NOT NULL AND schedules.dropped < ?
    AND (schedule_runs.job IS NULL OR schedule_runs.ended IS NOT NULL)
LIMIT ?;

-- name: remove_run
DELETE FROM schedule_runs WHERE schedule = ? AND number = ?;

-- name: remove_dropped
DELETE FROM schedules WHERE seq IN (
    SELECT seq FROM schedules INDEXED BY schedules_dropped
    WHERE dropped IS NOT NULL AND dropped < ?
        AND NOT EXISTS (SELECT 1 FROM schedule_runs WHERE schedule_runs.schedule = schedules.id)
    LIMIT ?
);
