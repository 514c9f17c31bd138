"""The drawn demo release: a dermoscopy world in the official layouts that proves nothing medical."""

from dermaflow.sample.release import ENTRIES, SEED, SampleSummary, draw, tree_digest

__all__ = ["ENTRIES", "SEED", "SampleSummary", "draw", "tree_digest"]
