"""Measurements and comparisons that take longer than a test suite may."""
