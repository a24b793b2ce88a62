"""The tasks that a process knows how to run, by name and version."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from mainspring.engine.arguments import Parameters
from mainspring.errors import TaskDefinitionError, TaskNotFound
from mainspring.retries.policy import Retry

Mode = Literal["async", "sync", "process"]


@dataclass(frozen=True, slots=True)
class Registered:
    """A task as the engine sees it.

    `mode`: on the loop, in a thread, in a child process. `queue`, `priority`, `retry`, `timeout` (seconds) are the
    defaults of its jobs; `concurrency` is how many of them one process runs at once (None: as many as it has room
    for). `takes_context`: the function's first parameter is the Context. `transaction`: attempts run inside a transaction of
    the store.
    """

    name: str
    fn: Callable[..., object]
    mode: Mode
    parameters: Parameters
    takes_context: bool = False
    version: str = ""
    queue: str = "default"
    priority: int = 0
    retry: Retry | None = None
    timeout: float | None = None
    concurrency: int | None = None
    store_result: bool = True
    transaction: bool = False


class Registry:
    """Tasks by (name, version). A name is registered once."""

    def __init__(self) -> None:
        self._tasks: dict[tuple[str, str], Registered] = {}

    def add(self, task: Registered) -> None:
        """Make a task known. Raises TaskDefinitionError when another one has its name and version."""
        there = self._tasks.get((task.name, task.version))
        if there is not None and there is not task:
            raise TaskDefinitionError(f"there is a task {task.name!r} already; give one of them another name=")
        self._tasks[task.name, task.version] = task

    def get(self, name: str, version: str = "") -> Registered:
        """The task. Raises TaskNotFound."""
        task = self._tasks.get((name, version))
        if task is None:
            known = ", ".join(sorted(each for each, _ in self._tasks)) or "none"
            raise TaskNotFound(f"no task {name!r} is registered here; known: {known}")
        return task

    def knows(self, name: str, version: str = "") -> bool:
        """Whether there is such a task."""
        return (name, version) in self._tasks

    def __iter__(self) -> Iterator[Registered]:
        """All tasks, by name."""
        return iter([self._tasks[key] for key in sorted(self._tasks)])

    def __len__(self) -> int:
        return len(self._tasks)

    def __contains__(self, name: str) -> bool:
        return any(each == name for each, _ in self._tasks)
