"""Encoders: bundles of towers and the shared text encoder."""
