"""Whole slices at once, for GPUs: every step of a sweep is a few large operations on all patches, without loops."""
