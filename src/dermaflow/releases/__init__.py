"""Published files of each ISIC release -> one table of rows; merging, checking, downloading them."""

from dermaflow.releases.dispatch import READERS, collections, find_release, image_folders, read
from dermaflow.releases.locate import locate
from dermaflow.releases.reconcile import merge

__all__ = ["READERS", "collections", "find_release", "image_folders", "locate", "merge", "read"]
