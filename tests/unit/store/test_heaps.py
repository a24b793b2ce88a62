"""Heaps of the store in memory: what is no longer true goes, however it became untrue."""

from __future__ import annotations

from mainspring.store.memory.heaps import TIDY_ABOVE, Heap


def test_taken_entries_come_back_while_they_are_true() -> None:
    true = {(1.0, "a"), (2.0, "b"), (3.0, "c")}
    heap: Heap[tuple[float, str]] = Heap(lambda entry: entry in true)
    for entry in sorted(true):
        heap.push(entry)
        heap.push(entry)
    assert heap.take(2) == [(1.0, "a"), (2.0, "b")]
    true.remove((1.0, "a"))
    assert heap.take(5, until=2.0) == [(2.0, "b")]
    assert heap.first() == (2.0, "b")
    assert heap.take(5) == [(2.0, "b"), (3.0, "c")]


def test_the_first_later_entry_when_all_before_are_lent() -> None:
    true = {(1.0, "a"), (2.0, "b"), (3.0, "c"), (4.0, "d")}
    heap: Heap[tuple[float, str]] = Heap(lambda entry: entry in true)
    for entry in sorted(true):
        heap.push(entry)
    assert heap.take(1, until=2.0) == [(1.0, "a")]
    assert heap.first_after(2.0) == (3.0, "c")
    true.remove((3.0, "c"))
    assert heap.first_after(2.0) == (4.0, "d")
    assert heap.first_after(4.0) is None
    assert heap.take(9) == [(1.0, "a"), (2.0, "b"), (4.0, "d")], "nothing got lost by looking"


def test_untrue_entries_are_never_the_most() -> None:
    true: set[str] = set()
    heap: Heap[tuple[float, str]] = Heap(lambda entry: entry[1] in true)
    for number in range(50 * TIDY_ABOVE):
        heap.push((float(number), str(number)))
    assert len(list(heap)) <= TIDY_ABOVE
