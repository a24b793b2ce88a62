"""The benchmark: what Mainspring does, beside a bare loop on the same tables and beside its best peer, in one run."""
