"""Stores: where jobs, schedules, steps and signals live. One contract (`store.base`), several backends.

Third parties implement `Store` and run `mainspring.testing.contract` over it.
"""

from mainspring.store.base import Features, Store

__all__ = ["Features", "Store"]
