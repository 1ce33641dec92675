"""What a node tells of itself: how it is, all nodes with their load, metrics."""
