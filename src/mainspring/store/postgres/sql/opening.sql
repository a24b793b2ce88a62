-- The schema, and how far it has come.

-- name: look
-- Whether there are migrations of ours, and anything at all. One statement: to_regclass sees at least what the
-- statement's snapshot does, so a schema that is being made by another process is never taken for a stranger's.
SELECT to_regclass($1) IS NOT NULL, EXISTS (
    SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = $2
);

-- name: done
SELECT number, name FROM {schema}.migrations ORDER BY number;

-- name: turn
-- One process at a time; the lock ends with the transaction, so a pooler may stand between.
SELECT pg_advisory_xact_lock(hashtextextended($1, 0));

-- name: schema_exists
SELECT to_regnamespace($1) IS NOT NULL;

-- name: create_schema
CREATE SCHEMA {schema};

-- name: describe_schema
COMMENT ON SCHEMA {schema} IS 'Jobs of Mainspring';

-- name: create_migrations
CREATE TABLE IF NOT EXISTS {schema}.migrations (
    number integer PRIMARY KEY,
    name text COLLATE "C" NOT NULL,
    applied timestamptz NOT NULL DEFAULT now()
);

-- name: note
INSERT INTO {schema}.migrations (number, name) VALUES ($1, $2);
