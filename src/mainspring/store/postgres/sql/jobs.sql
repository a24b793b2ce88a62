-- The hot verbs, each as one statement that commits by itself.

-- name: add
-- Plain jobs that may run at once, and have little to them. No job that has ended may have such an id; one that is
-- live fails the statement, and the jobs are added with a closer look. $8 is the channel, $9 the queues to tell of
-- ('' tells nobody), $10 and $11 the first and last of the ids: the days that these cannot be of are left out.
WITH t AS MATERIALIZED (
    SELECT {schema}.clock() AS now
), ended AS (
    SELECT id FROM {schema}.jobs_done WHERE id = ANY($1::uuid[]) AND id BETWEEN $10::uuid AND $11::uuid
    UNION ALL
    SELECT id FROM {schema}.jobs_kept WHERE id = ANY($1::uuid[])
), added AS (
    INSERT INTO {schema}.jobs (id, created, due, state, queue, task, version, priority, options, payload)
    SELECT n.id, t.now, t.now, 'ready', n.queue, n.task, n.version, n.priority, n.options, n.payload
    FROM t, unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::integer[], $6::json[], $7::json[])
        AS n (id, queue, task, version, priority, options, payload)
    WHERE NOT EXISTS (SELECT FROM ended)
    RETURNING 1
)
SELECT count(*), (SELECT pg_notify($8, $9)::text WHERE $9 <> '') FROM added;

-- name: add_one
-- The same for a single job. $8 is the channel, $9 the queue to tell of.
WITH added AS (
    INSERT INTO {schema}.jobs (id, created, due, state, queue, task, version, priority, options, payload)
    SELECT $1::uuid, t.now, t.now, 'ready', $2::text, $3::text, $4::text, $5::integer, $6::json, $7::json
    FROM (SELECT {schema}.clock() AS now OFFSET 0) t
    WHERE NOT EXISTS (SELECT FROM {schema}.jobs_done d WHERE d.id = $1::uuid)
        AND NOT EXISTS (SELECT FROM {schema}.jobs_kept k WHERE k.id = $1::uuid)
    RETURNING 1
)
SELECT count(*), (SELECT pg_notify($8, $9)::text WHERE $9 <> '') FROM added;

-- name: add_more
-- Plain jobs with all that they can have.
WITH t AS MATERIALIZED (
    SELECT {schema}.clock() AS now
), ended AS (
    SELECT id FROM {schema}.jobs_done WHERE id = ANY($1::uuid[]) AND id BETWEEN $23::uuid AND $24::uuid
    UNION ALL
    SELECT id FROM {schema}.jobs_kept WHERE id = ANY($1::uuid[])
), n AS MATERIALIZED (
    SELECT n.*, t.now, coalesce(to_timestamp(n.run_at), t.now + n.delay * interval '1 s') AS due
    FROM t, unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::integer[], $6::json[], $7::json[], $8::float8[],
        $9::float8[], $10::float8[], $11::float8[], $12::text[], $13::text[], $14::text[], $15::float8[], $16::text[],
        $17::text[], $18::jsonb[], $19::jsonb[], $20::json[])
        AS n (id, queue, task, version, priority, options, payload, delay, run_at, expires_in, expires_at, correlation,
            trace, schedule, slot, parent, root, tags, hooks, metadata)
    WHERE NOT EXISTS (SELECT FROM ended)
), added AS (
    INSERT INTO {schema}.jobs (id, created, due, expires, slot, priority, state, queue, task, version, reason,
        correlation, trace, schedule, parent, root, tags, hooks, metadata, options, payload)
    SELECT id, now, greatest(due, now), coalesce(now + expires_in * interval '1 s', to_timestamp(expires_at)),
        to_timestamp(slot), priority, CASE WHEN due > now THEN 'scheduled' ELSE 'ready' END, queue, task, version,
        CASE WHEN due > now THEN 'delay' ELSE '' END, correlation, trace, schedule, parent, root,
        CASE WHEN tags IS NOT NULL THEN ARRAY(SELECT jsonb_array_elements_text(tags)) END, hooks, metadata, options,
        payload
    FROM n
    RETURNING 1
)
SELECT count(*), (SELECT pg_notify($21, $22)::text WHERE $22 <> '') FROM added;

-- name: claim
-- $1 to $8 are stretches of lanes: from a rank (minus the priority) and a due time on, below a rank; how many to look
-- at, the lane's number and cap. The index has them in order. $9 limit, $10 worker, $11 claim, $12 whether a suspect
-- is wanted. Always at least one row: the time, which jobs had expired, and the job or nulls.
WITH t AS MATERIALIZED (
    SELECT {schema}.clock() AS now
), stretch AS MATERIALIZED (
    SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::integer[], $5::timestamptz[], $6::integer[],
        $7::integer[], $8::integer[]) AS s (queue, task, version, rank, due, below, lane, cap)
    WHERE NOT EXISTS (SELECT FROM {schema}.paused_queues p WHERE p.queue = s.queue)
), head AS MATERIALIZED (
    SELECT h.*, s.lane, s.cap
    FROM stretch s CROSS JOIN LATERAL (
        SELECT j.ctid AS place, j.id, j.priority, j.due, j.expires
        FROM {schema}.jobs j
        WHERE j.state = 'ready' AND NOT j.suspect
            AND j.queue = s.queue AND j.task = s.task AND j.version = s.version
            AND (-j.priority, j.due) >= (s.rank, s.due) AND -j.priority < s.below
        ORDER BY -j.priority, j.due, j.id
        LIMIT least(s.cap, $13::integer)
        FOR UPDATE SKIP LOCKED
    ) h
), suspect AS MATERIALIZED (
    SELECT j.ctid AS place, j.id, j.priority, j.due, j.expires, s.lane, s.cap
    FROM stretch s
    JOIN {schema}.jobs j ON j.suspect AND j.state = 'ready'
        AND j.queue = s.queue AND j.task = s.task AND j.version = s.version
    WHERE $12::boolean AND NOT EXISTS (
        -- A live job that has a worker is running; asked like this, only the suspects are looked at.
        SELECT FROM {schema}.jobs held WHERE held.suspect AND held.worker = $10
    )
    ORDER BY -j.priority, j.due, j.id
    LIMIT 1
    FOR UPDATE OF j SKIP LOCKED
), chosen AS MATERIALIZED (
    SELECT place, id, expires <= t.now AS late
    FROM t, (
        SELECT *, row_number() OVER (PARTITION BY lane ORDER BY -priority, due, id) AS place_in_lane
        FROM (SELECT * FROM head UNION ALL SELECT * FROM suspect) found
    ) ranked
    WHERE place_in_lane <= cap
    ORDER BY -priority, due, id
    LIMIT $9
), claimed AS (
    UPDATE {schema}.jobs j
    SET state = 'running', reason = '', lease = j.lease + 1, attempt = j.attempt + 1, worker = $10, claim = $11,
        claimed = t.now, started = NULL, begun = coalesce(j.begun, t.now), error = NULL
    FROM t
    WHERE j.ctid = ANY(ARRAY(SELECT place FROM chosen WHERE late IS NOT TRUE))
    RETURNING {claimed}
)
SELECT date_part('epoch', t.now), (SELECT array_agg(id) FROM chosen WHERE late), claimed.*
FROM t LEFT JOIN claimed ON true;

-- name: claimed_as
SELECT {live} FROM {schema}.jobs j WHERE j.state = 'running' AND j.worker = $1 AND j.claim = $2;

-- name: complete
-- Jobs whose end concerns nobody else, fenced by their leases: they move over. $1 are their ids, in order; $2 leases,
-- $3 how long they ran, $4 results. Answers with how many it has taken, and which, when these are not all. All these
-- ids have a day in jobs_done.
-- No join: a server with old statistics would choose to compare each with each. `width_bucket` finds an id's place in
-- the ordered $1 by halving; `(SELECT $1)` hides how many there are, so that each is looked up by its id.
WITH gone AS (
    -- A live job that has a worker is running; asked like this, the server does not walk over all that run.
    -- Who holds one of them locked does not hold up the others for long: then they are tried apart.
    DELETE FROM {schema}.jobs j
    WHERE (SELECT set_config('lock_timeout', '100', true)) IS NOT NULL
        AND j.id = ANY((SELECT $1::uuid[])::uuid[]) AND j.lease = ($2::bigint[])[width_bucket(j.id, $1::uuid[])]
        AND j.worker IS NOT NULL AND NOT j.linked
    RETURNING j.*, width_bucket(j.id, $1::uuid[]) AS n
), t AS MATERIALIZED (
    SELECT {schema}.clock() AS now
), done AS (
    INSERT INTO {schema}.jobs_done
    SELECT id, created, due, expires, claimed, t.now - ($3::float8[])[n] * interval '1 s', begun, unique_until, slot,
        lease, lease, claim, priority, attempt, round, crashes, rescues, false, cancel_requested, linked, 'completed',
        queue, task, version, worker, '', unique_key, correlation, trace, schedule, parent, root, waits_on, group_id,
        tags, counters, NULL, hooks, metadata, options, payload, t.now, ($4::json[])[n]
    FROM gone, t
    RETURNING id, queue, task, version
), tallied AS (
    INSERT INTO {schema}.tallies SELECT queue, task, version, 'completed', count(*) FROM done GROUP BY 1, 2, 3
)
SELECT count(*), CASE WHEN count(*) < cardinality($1::uuid[]) THEN array_agg(id) END FROM done;
