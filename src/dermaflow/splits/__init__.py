"""Groups of images that never part, the hold-out, the folds, and the certificate that nothing leaks.

Imports nothing, so that training depends on `certificate` alone.
"""
