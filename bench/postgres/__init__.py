"""The rows on PostgreSQL: every contestant on the same server, in the same rounds, measured from outside alike."""
