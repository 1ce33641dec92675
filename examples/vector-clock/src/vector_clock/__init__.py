"""Vector clocks: partial order of events in a distributed system."""

from vector_clock.clock import VectorClock

__all__ = ["VectorClock"]
