"""Groups of images that never part, the hold-out, the folds, and the certificate that nothing leaks."""

from dermaflow.splits.certificate import certify, check_certificate
from dermaflow.splits.params import SplitParams
from dermaflow.splits.split import Split, split

__all__ = ["Split", "SplitParams", "certify", "check_certificate", "split"]
