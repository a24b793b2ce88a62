"""Our own process pool: one pipe per child, one job per child at a time, one death hurts one job (RULES H17)."""

from mainspring.engine.processes.pool import ProcessPool

__all__ = ["ProcessPool"]
