"""Fill missing patient fields: fitted on training rows, applied the same everywhere."""
