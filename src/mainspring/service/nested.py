"""What a supervisor shows to the supervisor above it."""

from __future__ import annotations

from abc import ABC, abstractmethod

from mainspring.service.health import Health


class Nested(ABC):
    """A supervisor as the `fn` of a service: stopped and looked at by the one above it."""

    @abstractmethod
    async def run(self) -> None:
        """Run until all its services have ended."""

    @abstractmethod
    def health(self) -> tuple[Health, ...]:
        """How its services are doing."""

    @abstractmethod
    def hurry(self) -> None:
        """End the grace of its services now; nothing when it does not run."""

    @property
    @abstractmethod
    def overdue(self) -> tuple[str, ...]:
        """Its services that had to end, and go on."""

    @property
    @abstractmethod
    def unwinding(self) -> float:
        """Seconds that it may need after `hurry`."""
