"""The parts of one worker, wired: what claims, starts, settles, beats and sweeps."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import Callable, Sequence
from functools import partial

from mainspring.clock import Clock
from mainspring.engine.attempt import Attempts, Processes
from mainspring.engine.beat import Beats
from mainspring.engine.buffer import Buffer
from mainspring.engine.context import Surroundings
from mainspring.engine.drain import Ladder
from mainspring.engine.events import WorkerStalled
from mainspring.engine.fetch import Fetch
from mainspring.engine.gate import Gate
from mainspring.engine.history import History
from mainspring.engine.leases import Leases
from mainspring.engine.limits import Limits
from mainspring.engine.liveness import Liveness, in_virtual_time
from mainspring.engine.patient import LOOP_RETRY, patiently
from mainspring.engine.registry import Registry
from mainspring.engine.runner import Runners
from mainspring.engine.running import Register
from mainspring.engine.scheduler import Scheduler
from mainspring.engine.settings import WorkerSettings
from mainspring.engine.settler import Settler
from mainspring.engine.stand_in import EVERY, StandIn
from mainspring.engine.threads import Threads
from mainspring.engine.upkeep import Pruning, Sweeps
from mainspring.engine.watchdog import Overdue, Watchdog
from mainspring.events import Hub
from mainspring.ids import IdSource
from mainspring.model.trigger_kinds import TriggerKinds
from mainspring.service import Service, Supervisor
from mainspring.store.base import Store
from mainspring.store.base import Worker as Joining

log = logging.getLogger("mainspring.engine")

COMPARED_EVERY = 60.0
"""Seconds between two comparisons of leases when there is no other reason for one."""

OVERDUE_EVERY = 1.0
"""Seconds between two looks for jobs that go on after their timeout."""

OVERDUE_RARELY = 60.0
"""The same in virtual time, where hours pass in no time, and would be made of little else."""


class Parts:
    """Everything that a worker consists of, made in its running loop. `start` puts the loops under a supervisor."""

    def __init__(
        self,
        store: Store,
        registry: Registry,
        settings: WorkerSettings,
        *,
        worker: str,
        around: Surroundings,
        hub: Hub,
        clock: Clock,
        processes: Processes | None,
        random: Callable[[], float],
        ids: IdSource,
        triggers: TriggerKinds,
    ) -> None:
        loop = asyncio.get_running_loop()
        self._loop = loop
        self._store = store
        self._settings = settings
        self._around = around
        self._hub = hub
        self._clock = clock
        self._random = random
        self._worker = worker
        self._watchdog: Watchdog | None = None
        self._supervisor: Supervisor | None = None
        self._loops: set[str] = set()
        self._mine: dict[str, int] = {}
        around.history = History(store, loop) if store.features.schedules else None
        self.scheduler = self._make_scheduler(ids, triggers, registry)
        """None when the store has no schedules, or this worker is not to fire them."""
        self.limits = Limits(registry, settings)
        self._buffer = Buffer()
        self.register = Register(loop)
        self._threads = Threads(settings.concurrency)
        self._liveness = Liveness(settings.lease_time, clock)
        self._sweeps = self._make_sweeps()
        self._settler = self._make_settler()
        self._gate = Gate(
            register=self.register,
            liveness=self._liveness,
            full=self._full,
            go=self._go,
            doubt=self._compare,
        )
        self._runners = self._make_runners(Attempts(store, self._threads, processes))
        self._beats = self._make_beats()
        self._fetch = self._make_fetch()
        self.ladder = Ladder(
            store,
            worker,
            grace=settings.grace,
            around=around,
            gate=self._gate,
            register=self.register,
            fetch=self._fetch,
            settler=self._settler,
            end_loops=self._end_loops,
        )

    @property
    def stalled(self) -> bool:
        """Whether the loop stands still."""
        return self._watchdog is not None and self._watchdog.stalled

    async def join(self) -> None:
        """Make the worker known to the store."""
        now = await patiently(partial(self._store.join, self._joining()), "join")
        self._around.offset = now - self._loop.time()

    def start(self, supervisor: Supervisor) -> None:
        """Start all loops, and the thread that watches them unless time is virtual (RULES H10)."""
        settings = self._settings
        self._supervisor = supervisor
        overdue = Overdue(settings.stall_limit, self.register)
        look_every = OVERDUE_RARELY if in_virtual_time(self._loop) else OVERDUE_EVERY
        beat_every = settings.lease_time * EVERY
        pruning = Pruning(self._store, settings.retention)
        services = [
            Service("beat", self._beats.send, every=beat_every, retry=LOOP_RETRY),
            Service("hints", self._fetch.run_hints, retry=LOOP_RETRY),
            Service("sweep", self._sweeps.run, retry=LOOP_RETRY),
            Service("prune", pruning.run, every=settings.prune_every, retry=LOOP_RETRY, delay=self._prune_delay()),
            Service("compare", self._compare_again, every=COMPARED_EVERY, retry=LOOP_RETRY, delay=COMPARED_EVERY),
            Service("overdue", overdue.look, every=look_every, retry=LOOP_RETRY),
            Service("fetch", self._fetch.run, retry=LOOP_RETRY),
        ]
        if self.scheduler is not None:
            services += [
                Service("schedule hints", self.scheduler.run_hints, retry=LOOP_RETRY),
                Service("schedules", self.scheduler.run, retry=LOOP_RETRY),
            ]
        for service in services:
            supervisor.add(service)
            self._loops.add(service.name)
        self._fetch.hint()
        if not in_virtual_time(self._loop):
            self._watchdog = self._make_watchdog()
            self._watchdog.start()

    def notice(self, queue: str, task: str, version: str, due: float | None) -> None:
        """A job was added in this process."""
        self.limits.learn(queue, task, version)
        if due is None:
            self._fetch.notice(queue)
        else:
            self._sweeps.due_in(max(due - self._loop.time() - self._around.offset, 0.0))

    def cancel(self, jobs: Sequence[str]) -> None:
        """Somebody wants these jobs cancelled: end those that run here, start none of those in the buffer."""
        self.register.end(jobs, "cancel")
        self._gate.cancel(jobs, self._buffer)

    def paused(self) -> frozenset[str]:
        """The queues that are paused, as far as this worker has heard."""
        return self._fetch.paused

    def close(self) -> None:
        """Let go of threads and timers."""
        if self._watchdog is not None:
            self._watchdog.stop()
        self._threads.close()
        self.register.close()

    # The parts know of each other by these.

    def _hint(self) -> None:
        self._fetch.hint()

    def _room(self) -> None:
        self._fetch.room()

    def _compare(self) -> None:
        self._fetch.compare()

    async def _compare_again(self) -> None:
        self._fetch.compare()

    def _go(self) -> None:
        self._runners.go()

    def _full(self) -> bool:
        return self._settler.full

    def _written(self) -> None:
        """Settlements were written: what waited for that may go on."""
        self._runners.go()
        self._fetch.room()

    def _fired(self, queue: str, task: str, version: str, delay: float) -> None:
        """A schedule has added such a job."""
        self.notice(queue, task, version, self._loop.time() + self._around.offset + delay if delay else None)

    def _stalled(self) -> bool:
        return self.stalled

    def _tell_stalled(self, seconds: float) -> None:
        self._hub.emit(WorkerStalled(self._worker, seconds))

    def _prune_delay(self) -> float:
        """Workers that start together do not prune together."""
        return self._random() * self._settings.prune_every

    def _told(self, cancel: Sequence[str], paused: Sequence[str]) -> None:
        """What a beat brought."""
        if cancel:
            self.cancel(cancel)
        self._fetch.pause(paused)

    def _ends(self) -> bool:
        """Whether jobs may be cancelled that nobody wanted cancelled: the worker stops, or the whole loop ends."""
        return self._around.stopping or self._fetch.torn_down

    async def _end_loops(self, names: Sequence[str]) -> None:
        """End these services, as far as they were started."""
        if self._supervisor is not None:
            for name in names:
                if name in self._loops:
                    await self._supervisor.stop(name)

    def _joining(self) -> Joining:
        settings = self._settings
        host = socket.gethostname()
        name = settings.name or f"{host}:{os.getpid()}"
        return Joining(self._worker, name, host, os.getpid(), settings.queues or (), settings.lease_time)

    def _doing(self) -> str:
        """What holds the loop, as far as that is known; asked by the watching thread."""
        context = self._runners.current
        return "no job" if context is None else f"or after job {context.job.id} of {context.job.task}"

    def _stall_limit(self) -> float | None:
        """No less than the longest timeout among the running jobs."""
        limit = self._settings.stall_limit
        return None if limit is None else max(limit, self.register.longest_timeout())

    def _make_scheduler(self, ids: IdSource, triggers: TriggerKinds, registry: Registry) -> Scheduler | None:
        if not (self._settings.schedules and self._store.features.schedules):
            return None
        return Scheduler(
            self._store,
            kinds=triggers,
            ids=ids,
            poll=self._settings.poll,
            random=self._random,
            on_fired=self._fired,
            hub=self._hub,
            knows=registry.knows,
        )

    def _make_sweeps(self) -> Sweeps:
        return Sweeps(
            self._store,
            self._worker,
            features=self._store.features,
            poll=self._settings.poll,
            random=self._random,
            on_ready=self._hint,
        )

    def _make_settler(self) -> Settler:
        return Settler(
            self._store,
            leases=self._mine,
            around=self._around,
            hub=self._hub,
            now=self._loop.time,
            random=self._random,
            on_due=self._sweeps.due_in,
            on_room=self._written,
            unclear=self._compare,
        )

    def _make_runners(self, attempts: Attempts) -> Runners:
        return Runners(
            buffer=self._buffer,
            register=self.register,
            gate=self._gate,
            attempts=attempts,
            settler=self._settler,
            around=self._around,
            hub=self._hub,
            concurrency=self._settings.concurrency,
            on_room=self._room,
            ends=self._ends,
        )

    def _make_beats(self) -> Beats:
        return Beats(
            self._store,
            self._joining(),
            register=self.register,
            liveness=self._liveness,
            around=self._around,
            now=self._loop.time,
            stalled=self._stalled,
            told=self._told,
            forgotten=self._compare,
        )

    def _make_fetch(self) -> Fetch:
        leases = Leases(
            self._store,
            self._worker,
            mine=self._mine,
            buffer=self._buffer,
            register=self.register,
            gate=self._gate,
            settler=self._settler,
            hub=self._hub,
        )
        return Fetch(
            self._store,
            self._worker,
            poll=self._settings.poll,
            limits=self.limits,
            buffer=self._buffer,
            register=self.register,
            gate=self._gate,
            runners=self._runners,
            settler=self._settler,
            leases=leases,
            mine=self._mine,
            around=self._around,
            beat=self._beats.send,
        )

    def _make_watchdog(self) -> Watchdog:
        return Watchdog(
            self._settings.stall_warn,
            self._stall_limit,
            on_stall=self._tell_stalled,
            doing=self._doing,
            beside=StandIn(
                self._store.lifeline,
                self._worker,
                lease_time=self._settings.lease_time,
                liveness=self._liveness,
                stalled=self._stalled,
            ),
        )
