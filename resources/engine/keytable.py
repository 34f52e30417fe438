"""A map from 64-bit keys to 64-bit numbers in two flat arrays: what the engine remembers of each request.

A dict of strings would take ten times the memory, and memory must not matter at a million requests.
"""

from __future__ import annotations

import itertools
import mmap
from collections.abc import Iterator

_MASK = (1 << 64) - 1
_SHARD_BITS = 4
_SHIFT = 64 - _SHARD_BITS


def key_of(*parts: str) -> int:
    """Hash strings to a key, for use within this process alone.

    Args:
        parts: The strings, in order.

    Returns:
        A 64-bit number, never 0. Among a million keys two are equal with a chance of 3e-8.
    """
    return (hash(parts) & _MASK) or 1


def _zeros(count: int) -> memoryview:
    """Pages of their own: those that a table outgrows go back to the system at once."""
    return memoryview(mmap.mmap(-1, 8 * count, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)).cast("Q")


class _Shard:
    """Open addressing with linear probing."""

    __slots__ = ("_keys", "_size", "_slots", "_values")

    def __init__(self, expected: int) -> None:
        self._allocate(1 << max(6, (expected * 3 // 2).bit_length()))

    def _allocate(self, slots: int) -> None:
        self._slots, self._size = slots, 0
        self._keys, self._values = _zeros(slots), _zeros(slots)

    def __len__(self) -> int:
        return self._size

    def _slot(self, key: int) -> int:
        keys, mask = self._keys, self._slots - 1
        slot = key & mask
        while keys[slot] not in (key, 0):
            slot = (slot + 1) & mask
        return slot

    def get(self, key: int) -> int | None:
        """The value stored under `key`, or None."""
        slot = self._slot(key)
        return self._values[slot] if self._keys[slot] else None

    def add(self, key: int, value: int) -> bool:
        """Store `value` under `key` if nothing is there yet; whether there was not."""
        if 3 * self._size >= 2 * self._slots:
            self._grow()
        slot = self._slot(key)
        if self._keys[slot]:
            return False
        self._keys[slot], self._values[slot] = key, value & _MASK
        self._size += 1
        return True

    def put(self, key: int, value: int) -> None:
        """Store `value` (64 bits, not negative) under `key`, in place of what was there."""
        if 3 * self._size >= 2 * self._slots:
            self._grow()
        slot = self._slot(key)
        if not self._keys[slot]:
            self._keys[slot] = key
            self._size += 1
        self._values[slot] = value & _MASK

    def _grow(self) -> None:
        old = self.items()
        self._allocate(2 * self._slots)
        for key, value in old:
            self.put(key, value)

    def items(self) -> Iterator[tuple[int, int]]:
        """All pairs, in no particular order."""
        # The arrays are taken now, not when the first pair is: `_grow` puts others in their place.
        pairs = zip(self._keys, self._values, strict=True)
        return ((key, value) for key, value in pairs if key)


class KeyTable:
    """16 to 43 bytes a key. Keys are numbers from `key_of`, values 64 bits.

    In shards, so that one that grows needs room for itself twice, not for all.
    """

    __slots__ = ("_shards",)

    def __init__(self, expected: int = 0) -> None:
        """Make an empty table.

        Args:
            expected: Keys that there will be, about; the table grows where there are more.
        """
        self._shards = [_Shard(expected >> _SHARD_BITS) for _ in range(1 << _SHARD_BITS)]

    def __len__(self) -> int:
        return sum(map(len, self._shards))

    def get(self, key: int) -> int | None:
        """The value stored under `key`, or None."""
        return self._shards[key >> _SHIFT].get(key)

    def add(self, key: int, value: int) -> bool:
        """Store `value` under `key` if nothing is there yet; whether there was not."""
        return self._shards[key >> _SHIFT].add(key, value)

    def put(self, key: int, value: int) -> None:
        """Store `value` (64 bits, not negative) under `key`, in place of what was there."""
        self._shards[key >> _SHIFT].put(key, value)

    def items(self) -> Iterator[tuple[int, int]]:
        """All pairs, in no particular order."""
        return itertools.chain.from_iterable(shard.items() for shard in self._shards)
