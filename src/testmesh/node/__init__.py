"""One node's life: membership, replication, ownership and the use case of an evaluation."""
