"""The SQLite store: one file, one writing thread for each process, group commit, liveness by OS locks."""

from mainspring.store.sqlite.store import SqliteStore

__all__ = ["SqliteStore"]
