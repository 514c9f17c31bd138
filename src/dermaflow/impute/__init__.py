"""Fill missing patient fields: fitted on training rows, applied the same everywhere.

Imports nothing: the service loads `apply` without pandas, and a change of `fitting` re-trains nothing.
"""
