"""Fill missing patient fields: fitted on training rows, applied the same everywhere.

The names below are loaded on first use, so that the service can import `impute.apply` without pandas.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dermaflow.impute.fitting import Fitted, apply_table, fit
    from dermaflow.impute.params import ImputeParams

__all__ = ["Fitted", "ImputeParams", "apply_table", "fit"]


def __getattr__(name: str) -> object:
    """Load what the tables' side needs."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from dermaflow.impute import fitting, params  # noqa: PLC0415 - see above

    return getattr(params if name == "ImputeParams" else fitting, name)
