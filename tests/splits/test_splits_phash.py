"""Perceptual hashes: one transform gives all orientations, and the candidates are complete."""

import numpy as np
import pytest
from split_world import skins

from dermaflow.splits import phash


@pytest.fixture
def rng():
    return np.random.default_rng(7)


@pytest.mark.parametrize("turn", range(8))
def test_hashes_of_all_orientations_are_those_of_the_turned_image(rng, turn):
    images = skins(rng, 5)
    straight = phash.hashes(np.ascontiguousarray(phash.turned(images, turn)))[0]
    bits = np.bitwise_count(phash.hashes(images)[turn] ^ straight)
    assert bits.max() <= 2  # float32 rounding beside the median


@pytest.mark.parametrize("few", [0, 1000])
@pytest.mark.parametrize("limit", [0, 3, 8, 10])
def test_candidates_are_those_that_all_pairs_give_each_once(rng, monkeypatch, limit, few):
    monkeypatch.setattr(phash, "FEW", few)
    base = rng.integers(0, 2**63, 40, dtype=np.uint64)
    flips = [sum(1 << int(b) for b in rng.choice(64, n, replace=False)) for n in rng.integers(0, 13, 160)]
    hashed = np.concatenate([base, np.repeat(base, 4) ^ np.array(flips, np.uint64)])
    turns = np.stack([hashed, *(rng.integers(0, 2**63, (7, len(hashed)), dtype=np.uint64))])
    turns[5] = np.roll(hashed, 7)
    first, second, turn, bits = phash.candidates(turns, limit)
    slow = [
        (a, b, t)
        for a in range(len(hashed))
        for b in range(a + 1, len(hashed))
        for t in range(8)
        if int(turns[t, a] ^ hashed[b]).bit_count() <= limit
    ]
    assert list(zip(first.tolist(), second.tolist(), turn.tolist(), strict=True)) == slow
    assert len(slow) > (10 if limit == 0 else 50)
    assert bits.tolist() == [int(turns[t, a] ^ hashed[b]).bit_count() for a, b, t in slow]
