-- What `check` looks at. Nothing here needs a right that the owner of the schema does not have.

-- name: settings
SELECT name, setting FROM pg_settings
WHERE name IN ('autovacuum', 'default_transaction_read_only', 'fsync', 'full_page_writes', 'max_connections',
    'server_version', 'superuser_reserved_connections', 'synchronous_commit', 'track_counts');

-- name: state
SELECT clock_timestamp(), pg_backend_pid()::bigint, pg_is_in_recovery();

-- name: unvacuumed
SELECT c.relname::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = $1 AND 'autovacuum_enabled=false' = ANY(c.reloptions) ORDER BY c.relname;

-- name: open_for_long
-- Only what holds back the removal of dead rows. Of other users' sessions only pid and age may be visible.
SELECT pid::bigint, extract(epoch FROM clock_timestamp() - xact_start)::float8, coalesce(application_name, '')
FROM pg_stat_activity
WHERE xact_start < clock_timestamp() - $1::float8 * interval '1 s' AND pid <> pg_backend_pid()
    AND (backend_xmin IS NOT NULL OR backend_xid IS NOT NULL)
ORDER BY xact_start LIMIT 5;
