"""What is expected of the tables (Great Expectations), our own stable report of it, and Data Docs."""

import os

os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")  # before great_expectations is imported

from dermaflow.quality.docs import data_docs
from dermaflow.quality.report import Report, Result, raise_if_critical, tell_warnings
from dermaflow.quality.running import validate, validate_prepared

__all__ = [
    "Report",
    "Result",
    "data_docs",
    "raise_if_critical",
    "tell_warnings",
    "validate",
    "validate_prepared",
]
