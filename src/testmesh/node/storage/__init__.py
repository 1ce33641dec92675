"""What a node knows of every evaluation, merged and on the disk."""
