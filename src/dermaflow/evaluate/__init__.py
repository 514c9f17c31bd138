"""Predictions in, figures out: metrics, intervals, subgroups, shortcuts, stress, reports. No torch."""
