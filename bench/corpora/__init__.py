"""The projects that are measured with: made here, or got from the package index."""
