"""Random verbs on the store in memory, which is the model, and on another store beside it.

Both have the same clock and the same source of ids, and the same opinion on who is dead. After every step all that
can be read must be equal, and what no sequence of verbs may break must hold. Any answer may get lost: the verb has
been carried out, nobody heard of it, and it is sent again.
"""

from __future__ import annotations

from collections.abc import Awaitable

from hypothesis import strategies as st
from hypothesis.stateful import Bundle, MultipleResults, initialize, multiple, precondition, rule

from mainspring.model.record import FOREVER, Failure, Hook, JobRecord, NewGroup, NewJob, Settlement
from mainspring.model.states import SETTLE_KINDS, SettleKind
from mainspring.store.base import Beat, Claim, Lane, Store
from tests.stateful.pair import ALL, WORKERS, Pair

TASKS = ("a", "b")
QUEUES = ("default", "mail")
LANES = tuple(Lane(queue, task, "", cap) for queue in QUEUES for task, cap in (("a", 1), ("a", 9), ("b", 9)))
HOOKS = (
    Hook(on="dead", task="on_dead"),
    Hook(on="expired", task="on_expired"),
    Hook(on="cancelled", task="on_cancelled"),
)
KEYS = ("k", "K", "k ")
DURATIONS = (0.0, 0.5, 7.0, 60.0)

lost = st.booleans()
moments = st.sampled_from(DURATIONS)


class SideBySide(Pair):
    """Give `other` to compare a store with the model."""

    jobs: Bundle[str] = Bundle("jobs")
    leases: Bundle[JobRecord] = Bundle("leases")

    @initialize(target=jobs, hooked=st.booleans(), wait=st.booleans())
    def begin(self, hooked: bool, wait: bool) -> MultipleResults[str]:
        """A chain of three, a fan-in of two, one job with a key."""
        hooks = HOOKS if hooked else ()
        chain = [NewJob(id=self.make(), task="a", hooks=hooks, unique="k")]
        for _ in range(2):
            chain.append(NewJob(id=self.make(), task="a", waits_on=chain[-1].id, root=chain[0].id, hooks=hooks))
        return multiple(*self.added(chain, [], False), *self._group(2, wait, hooks, False))

    # --- jobs

    @rule(target=jobs, task=st.sampled_from(TASKS), queue=st.sampled_from(QUEUES), delay=moments,
          expires=st.sampled_from([None, None, 5.0, 50.0]), priority=st.integers(-1, 1),
          key=st.sampled_from([None, None, *KEYS]), window=st.sampled_from([None, 30.0, FOREVER]),
          hooked=st.booleans(), lose=lost)  # fmt: skip
    def add(self, task: str, queue: str, delay: float, expires: float | None, priority: int, key: str | None,
            window: float | None, hooked: bool, lose: bool) -> str:  # fmt: skip
        new = NewJob(id=self.make(), task=task, queue=queue, delay=delay, expires_in=expires, priority=priority,
                     unique=key, unique_for=window if key else None, hooks=HOOKS if hooked else ())  # fmt: skip
        return self.added([new], [], lose)[0]

    @rule(target=jobs, after=jobs, twice=st.booleans(), delay=moments, key=st.sampled_from([None, *KEYS]), lose=lost)
    def add_waiting(self, after: str, twice: bool, delay: float, key: str | None, lose: bool) -> MultipleResults[str]:
        if self.seen.get(after) is None:
            return multiple()
        first = NewJob(id=self.make(), task="a", waits_on=after, root=after, delay=delay, unique=key)
        chain = [first]
        if twice:
            chain.append(NewJob(id=self.make(), task="b", waits_on=first.id, hooks=HOOKS))
        return multiple(*self.added(chain, [], lose))

    @rule(target=jobs, size=st.integers(1, 3), wait=st.booleans(), key=st.sampled_from([None, None, *KEYS]), lose=lost)
    def add_group(self, size: int, wait: bool, key: str | None, lose: bool) -> MultipleResults[str]:
        """With a key that may be taken, for the first member: it may be left out."""
        return multiple(*self._group(size, wait, HOOKS, lose, key))

    def _group(self, size: int, wait: bool, hooks: tuple[Hook, ...], lose: bool, key: str | None = None) -> list[str]:
        group = self.make()
        members = [
            NewJob(id=self.make(), task="a", group=group, hooks=hooks, unique=None if number else key)
            for number in range(size)
        ]
        last = NewJob(id=self.make(), task="b", waits_on=group, hooks=hooks)
        return self.added(
            [*members, last], [NewGroup(id=group, size=size, on_failure="wait" if wait else "stop")], lose
        )

    @rule(job=jobs)
    def add_again(self, job: str) -> None:
        if job in self.seen:
            [answer] = self.both("add", lambda store: store.add([NewJob(id=job, task="other")]))
            assert answer == (job, False)

    # --- work

    @rule(target=leases, worker=st.sampled_from(WORKERS), lanes=st.lists(st.sampled_from(LANES), max_size=4, unique=True),
          limit=st.integers(1, 4), suspects=st.integers(0, 1), lose=lost)  # fmt: skip
    def claim(
        self, worker: str, lanes: list[Lane], limit: int, suspects: int, lose: bool
    ) -> MultipleResults[JobRecord]:
        each_once = list({lane[:3]: lane for lane in lanes or LANES[1:3]}.values())
        request = Claim(worker, next(self.claims), each_once, limit, suspects)
        repeat = request._replace(repeat=True)
        claimed = self.both(
            "claim", lambda store: store.claim(request), (lambda store: store.claim(repeat)) if lose else None
        )
        self.leased = self.leased or bool(claimed.jobs)
        return multiple(*claimed.jobs)

    @rule(target=jobs, chosen=st.lists(st.integers(0, 99), min_size=1, max_size=4),
          kinds=st.lists(st.sampled_from(SETTLE_KINDS), min_size=4, max_size=4), after=moments,
          ran=st.sampled_from([None, 0.25]), child=st.sampled_from([None, None, "", "k"]), lose=lost)  # fmt: skip
    def settle(self, chosen: list[int], kinds: list[SettleKind], after: float, ran: float | None,
               child: str | None, lose: bool) -> MultipleResults[str]:  # fmt: skip
        """What runs now; several in one call."""
        running = [job for job in self.seen.values() if job.state == "running"]
        given = [running[number % len(running)] for number in chosen] if running else []
        return self.settled(given, kinds, after, ran, child, lose)

    @precondition(lambda self: self.leased)
    @rule(given=st.lists(leases, min_size=1, max_size=3), kind=st.sampled_from(SETTLE_KINDS), lose=lost)
    def settle_anything(self, given: list[JobRecord], kind: SettleKind, lose: bool) -> None:
        """Any lease that was ever given: again, too late, or for the first time."""
        self.settled(given, [kind] * len(given), 0.0, 0.25, None, lose)

    def settled(self, given: list[JobRecord], kinds: list[SettleKind], after: float, ran: float | None,
                child: str | None, lose: bool) -> MultipleResults[str]:  # fmt: skip
        children = [] if child is None or not given else [
            NewJob(id=self.make(), task="a", unique=child or None, parent=given[0].id)
        ]  # fmt: skip
        batch = [
            self.said(job, kind, after, ran, children if number == 0 else [])
            for number, (job, kind) in enumerate(zip(given, kinds, strict=False))
        ]
        self.both("settle", lambda store: store.settle(batch), (lambda store: store.settle(batch)) if lose else None)
        return multiple(*(each.id for each in children))

    def said(
        self, job: JobRecord, kind: SettleKind, after: float, ran: float | None, children: list[NewJob]
    ) -> Settlement:
        """Completions are plain, as most are."""
        if kind == "complete" and not children:
            return Settlement(job=job.id, lease=job.lease, kind=kind, ran=ran, result=b"1")
        return Settlement(
            job=job.id, lease=job.lease, kind=kind, after=after, ran=ran, follow_ups=tuple(children),
            error=Failure(type="E", message=kind), counters={"rule": job.lease} if after else None,
        )  # fmt: skip

    @rule(worker=st.sampled_from(WORKERS), lose=lost)
    def complete_all(self, worker: str, lose: bool) -> None:
        """Whatever this worker runs ends well."""
        mine = [job for job in self.seen.values() if job.state == "running" and job.worker == worker]
        self.settled(mine, ["complete"] * len(mine), 0.0, 0.25, None, lose)

    # --- people

    @rule(chosen=st.lists(jobs, min_size=1, max_size=3), lose=lost)
    def cancel(self, chosen: list[str], lose: bool) -> None:
        self.both("cancel", lambda store: store.cancel(chosen), (lambda store: store.cancel(chosen)) if lose else None)

    @rule(chosen=st.lists(jobs, min_size=1, max_size=2), force=st.booleans(), fresh=st.booleans(), lose=lost)
    def replay(self, chosen: list[str], force: bool, fresh: bool, lose: bool) -> None:
        def act(store: Store) -> Awaitable[object]:
            return store.replay(chosen, force=force, fresh=fresh)

        self.both("replay", act, act if lose else None)

    @rule(chosen=st.lists(jobs, min_size=1, max_size=2), offset=st.sampled_from([-5.0, 0.0, 3.0, 90.0]), lose=lost)
    def reschedule(self, chosen: list[str], offset: float, lose: bool) -> None:
        def act(store: Store) -> Awaitable[object]:
            return store.reschedule(chosen, self.clock.now() + offset)

        self.both("reschedule", act, act if lose else None)

    @rule(chosen=st.lists(jobs, min_size=1, max_size=2), lose=lost)
    def delete(self, chosen: list[str], lose: bool) -> None:
        self.forget_groups()
        self.both("delete", lambda store: store.delete(chosen), (lambda store: store.delete(chosen)) if lose else None)

    @rule(queue=st.sampled_from(QUEUES), paused=st.booleans())
    def pause(self, queue: str, paused: bool) -> None:
        self.both("pause", lambda store: store.pause(queue) if paused else store.resume(queue))

    # --- upkeep

    @rule(seconds=st.sampled_from([0.5, 3.0, 10.0, 70.0]))
    def advance(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @rule(worker=st.sampled_from((*WORKERS, "nobody")), lose=lost)
    def sweep(self, worker: str, lose: bool) -> None:
        self.both(
            "sweep", lambda store: store.sweep(worker, ALL), (lambda store: store.sweep(worker, ALL)) if lose else None
        )

    @rule(worker=st.sampled_from(WORKERS))
    def die(self, worker: str) -> None:
        self.dead.names.add(worker)

    @precondition(lambda self: self.dead.names)
    @rule()
    def return_from_the_dead(self) -> None:
        """A process of the same name; its old leases may be settled late."""
        for worker in sorted(self.dead.names):
            self.join(worker)
        self.dead.names.clear()

    @rule(
        worker=st.sampled_from(WORKERS), died=st.booleans(), started=st.none() | st.lists(jobs, max_size=3), lose=lost
    )
    def leave(self, worker: str, died: bool, started: list[str] | None, lose: bool) -> None:
        def act(store: Store) -> Awaitable[object]:
            return store.leave(worker, died=died, started=started)

        self.both("leave", act, act if lose else None)
        self.join(worker)

    @rule(worker=st.sampled_from(WORKERS), told=st.none() | jobs, stalled=st.booleans())
    def beat(self, worker: str, told: str | None, stalled: bool) -> None:
        progress = [] if told is None else [(told, b'"%d"' % len(self.seen))]
        reply = self.both("beat", lambda store: self.sorted_beat(store, Beat(worker, progress, stalled)))
        if told is not None and reply:
            self.both("progress", lambda store: store.progress(told))

    @rule(age=st.sampled_from([1.0, 20.0]), lose=lost)
    def prune(self, age: float, lose: bool) -> None:
        self.forget_groups()
        retention = {"completed": age, "dead": 2 * age, "cancelled": age, "expired": age}

        def act(store: Store) -> Awaitable[object]:
            return self.pruned(store, retention)

        self.both("prune", act, act if lose else None)
