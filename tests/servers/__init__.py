"""Real servers for tests and benchmarks: PostgreSQL, pgbouncer, and a TCP proxy that misbehaves on demand."""
