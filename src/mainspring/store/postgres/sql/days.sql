-- The partitions of jobs_done. `{day}` is the name of one, which is made of its date; `{from}` and `{to}` are ids.

-- name: today
SELECT date_part('epoch', {schema}.clock());

-- name: days
-- Those that are attached, those that are about to leave, and tables that have left and were not dropped.
SELECT c.relname::text, pg_table_size(c.oid), i.inhrelid IS NOT NULL, coalesce(i.inhdetachpending, false)
FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_inherits i ON i.inhrelid = c.oid
WHERE n.nspname = $1 AND c.relkind = 'r' AND c.relname ~ '^jobs_done_\d{8}$'
ORDER BY c.relname;

-- name: lock
-- One process at a time makes days; the others then find them there.
SELECT pg_advisory_xact_lock(hashtext('mainspring days'), hashtext($1));

-- name: make
-- A table apart: CREATE TABLE ... PARTITION OF would stop all who read or write jobs_done.
CREATE TABLE IF NOT EXISTS {schema}.{day} (LIKE {schema}.jobs_done INCLUDING ALL);

-- name: attach
-- Takes SHARE UPDATE EXCLUSIVE on jobs_done, which stops nobody but another of these.
ALTER TABLE {schema}.jobs_done ATTACH PARTITION {schema}.{day} FOR VALUES FROM ('{from}') TO ('{to}');

-- name: detach
-- Outside of a transaction. Waits for those who read jobs_done now; who comes meanwhile does not wait (RULES H11d).
ALTER TABLE {schema}.jobs_done DETACH PARTITION {schema}.{day} CONCURRENTLY;

-- name: finish_detaching
-- What was interrupted between its two halves: nobody sees the day in jobs_done any longer.
ALTER TABLE {schema}.jobs_done DETACH PARTITION {schema}.{day} FINALIZE;

-- name: drop
DROP TABLE {schema}.{day};
