"""Cell by cell: every verb of the table on a job in every state, allowed and forbidden alike.

For each line of `model.states.TABLE` a job is brought into the line's state with the line's conditions, the verb is
carried out through the store, and the job must be where the line says. For each verb and state without a line that
holds, the job must be exactly as it was, and the store must say that nothing was done.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import pytest
from msgspec.structs import replace

from mainspring.errors import Unsupported
from mainspring.model.record import NewJob
from mainspring.model.states import SETTLE_KINDS, STATES, TABLE, VERBS, Condition, Row, SettleKind, State, Verb
from mainspring.testing.contract.harness import JobFields, StoreHarness
from mainspring.testing.contract.states import HOUR, Driver, lane_of

LATER_PARTS: Final = {
    ("promote", ("due", "held")): "keys with first-in, first-out order",
    ("wait", ("there",)): "signals",
}
"""Lines that no verb of today can reach; `test_lines_of_later_parts_are_refused` says why."""

REACHABLE = [row for row in TABLE if (row.verb, row.when) not in LATER_PARTS]
FORBIDDEN: list[tuple[Verb, State]] = [
    (verb, state)
    for verb in VERBS
    for state in STATES
    if not any((row.verb, row.state, row.when) == (verb, state, ()) for row in TABLE)
]
"""Where no line holds without conditions, and none are met."""

NOTHING_DONE: dict[Verb, tuple[str, ...]] = {
    "add": ("exists",),
    "claim": ("nothing",),
    "cancel": ("ended",),
    "reschedule": ("refused",),
    "replay": ("refused",),
    "delete": ("refused",),
    "promote": ("0",),
    "expire": ("0",),
    "wake": ("",),
    "revive": ("",),
    "rescue": ("",),
}


def name_of(cell: Row | tuple[Verb, State]) -> str:
    """A readable test id."""
    if isinstance(cell, Row):
        return f"{cell.verb}-{cell.state}-{'+'.join(cell.when) or 'always'}"
    return "-".join(cell)


class CellsContract:
    """The state table, cell by cell."""

    @pytest.mark.parametrize("row", REACHABLE, ids=name_of)
    async def test_an_allowed_cell_changes_as_the_table_says(self, harness: StoreHarness, row: Row) -> None:
        scene = Scene(harness, row.verb, row.state, row.when)
        identifier = await scene.arrange()
        answer = await scene.act(identifier)
        [job] = await harness.store.get([identifier])
        assert (None if job is None else job.state) == row.to
        assert answer not in ("stale", "unknown", "refused", "conflict", "ended", "nothing", "0", "exists")

    @pytest.mark.parametrize("cell", FORBIDDEN, ids=name_of)
    async def test_a_forbidden_cell_changes_nothing_and_says_so(
        self, harness: StoreHarness, cell: tuple[Verb, State]
    ) -> None:
        verb, state = cell
        scene = Scene(harness, verb, state, ())
        identifier = await scene.arrange()
        before = await Driver(harness).job(identifier)
        history = await harness.store.attempts(identifier)
        assert before.state == state
        answer = await scene.act(identifier)
        assert await Driver(harness).job(identifier) == before
        assert await harness.store.attempts(identifier) == history
        assert answer in NOTHING_DONE.get(verb, ("stale",))

    async def test_lines_of_later_parts_are_refused(self, harness: StoreHarness) -> None:
        """When a store has steps, the lines above need cells of their own."""
        assert not harness.store.features.steps, f"write the cells of {sorted(map(str, LATER_PARTS))}"
        with pytest.raises(Unsupported):
            await harness.store.signal("job", "name", b"1")


class Scene:
    """A job in a state, the conditions of one line, and the verb to carry out."""

    def __init__(self, harness: StoreHarness, verb: Verb, state: State | None, when: Sequence[Condition]) -> None:
        self.d = Driver(harness)
        self.store = harness.store
        self.verb = verb
        self.state: State | None = state
        self.when = frozenset(when)
        self.parent: str | None = None
        self.new: NewJob | None = None

    async def arrange(self) -> str:
        """Bring a job into the state, with the conditions; returns its id."""
        if self.state is None:
            identifier = await self._not_yet_added()
        elif self.verb in ("wake", "revive") or "held" in self.when:
            identifier = await self._dependant(self.state)
        else:
            identifier = await self._alone(self.state)
        if "held" in self.when and self.parent is not None and (await self.d.job(self.parent)).terminal:
            assert await self.store.replay([self.parent], force=True) == ["replayed"]
        if "cancel requested" in self.when:
            assert await self.store.cancel([identifier]) == ["requested"]
        if "due" in self.when:
            self.d.clock.advance(HOUR)
        if self._late():
            self.d.clock.advance(61)
        return identifier

    async def act(self, identifier: str) -> str:
        """Carry out the verb; what the store said, as text."""
        if self.verb in SETTLE_KINDS:
            return await self._settle(identifier, self.verb)
        action: Callable[[str], Awaitable[str]] = getattr(self, f"_{self.verb}")
        return await action(identifier)

    # --- into the state

    def _late(self) -> bool:
        """Whether `expires` has to pass before the verb; for `expire` also where that must not matter."""
        if self.verb == "expire":
            return "expired" in self.when or self.state not in ("scheduled", "waiting", "ready")
        return self.verb == "claim" and "expired" in self.when

    async def _not_yet_added(self) -> str:
        if "held" in self.when:
            self.parent = await self.d.add()
        self.new = self.d.new(waits_on=self.parent, delay=HOUR if "delayed" in self.when else 0.0)
        return self.new.id

    async def _alone(self, state: State) -> str:
        fields: JobFields = {}
        if "expired" in self.when or self._late():
            fields["expires_in"] = 60.0
        elif self.verb == "expire":
            fields["expires_in"] = 2 * HOUR
        if state != "running":
            return (await self.d.bring(state, **fields)).id
        identifier = await self.d.add(**fields)
        if "crash limit" in self.when:
            for _ in range(2):
                await self.d.end(identifier, "crash")
        if "again" in self.when:
            await self.d.start(identifier, worker="first")
            await self.d.kill("first")
        await self.d.start(identifier)
        return identifier

    async def _dependant(self, state: State) -> str:
        """A job in the state that waits, or has waited, on a parent."""
        self.parent = await self.d.add()
        if state in ("waiting", "cancelled"):
            identifier = await self.d.add(waits_on=self.parent, delay=HOUR if "delayed" in self.when else 0.0)
            if state == "cancelled" and self.verb == "revive":
                await self.d.end(self.parent, "dead")
            elif state == "cancelled":
                await self.store.cancel([identifier])
            return identifier
        await self.d.end(self.parent)
        return (await self.d.bring(state, waits_on=self.parent)).id

    # --- the verbs

    async def _add(self, identifier: str) -> str:
        new = self.new or NewJob(id=identifier, task="other", priority=9)
        [answer] = await self.store.add([new])
        assert answer.id == identifier
        return "added" if answer.created else "exists"

    async def _promote(self, identifier: str) -> str:
        return str((await self.d.sweep()).promoted)

    async def _expire(self, identifier: str) -> str:
        return str((await self.d.sweep()).expired)

    async def _claim(self, identifier: str) -> str:
        job = await self.d.job(identifier)
        got = await self.d.claim(lane_of(job), worker="other", suspects=1)
        if any(each.id == identifier for each in got):
            return "claimed"
        return "late" if (await self.d.job(identifier)).state != job.state else "nothing"

    async def _rescue(self, identifier: str) -> str:
        worker = (await self.d.job(identifier)).worker
        await self.d.kill(worker or "w1")
        return ""

    async def _cancel(self, identifier: str) -> str:
        return (await self.store.cancel([identifier]))[0]

    async def _reschedule(self, identifier: str) -> str:
        after = 100 if "delayed" in self.when else 0
        return (await self.store.reschedule([identifier], self.d.clock.now() + after))[0]

    async def _replay(self, identifier: str) -> str:
        return (await self.store.replay([identifier], force="forced" in self.when))[0]

    async def _delete(self, identifier: str) -> str:
        return (await self.store.delete([identifier]))[0]

    async def _wake(self, identifier: str) -> str:
        assert self.parent is not None
        assert self.parent != identifier
        if (await self.d.job(self.parent)).terminal:
            assert await self.store.replay([self.parent], force=True) == ["replayed"]
        await self.d.end(self.parent)
        return ""

    async def _revive(self, identifier: str) -> str:
        assert self.parent is not None
        assert self.parent != identifier
        if (await self.d.job(self.parent)).terminal:
            assert await self.store.replay([self.parent], force=True) == ["replayed"]
        return ""

    async def _settle(self, identifier: str, kind: SettleKind) -> str:
        job = await self.d.job(identifier)
        if self.state != "running":
            job = replace(job, lease=job.lease + 1)  # a lease that nobody was given
        after = 120.0 if "expired" in self.when else 30.0 if "delayed" in self.when else 0.0
        return await self.d.settle(job, kind, after=after)
