"""The verbs of stores with one writer (memory, SQLite), written once over a small storage interface."""
