"""Services that must stay up, under a supervisor that restarts and stops them. Needs no app and no store."""

from __future__ import annotations

from mainspring.service.health import Health, State
from mainspring.service.restarts import Restarts
from mainspring.service.service import Service
from mainspring.service.supervisor import OnFailure, Supervisor

__all__ = ["Health", "OnFailure", "Restarts", "Service", "State", "Supervisor"]
