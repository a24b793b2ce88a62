"""Jobs in PostgreSQL, for any number of processes on any number of machines."""

from mainspring.store.postgres.store import PostgresStore

__all__ = ["PostgresStore"]
