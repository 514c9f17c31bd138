"""ISIC releases in, three calibrated diagnoses out, every step reproducible."""
