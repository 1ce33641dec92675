import attrs


@attrs.frozen
class VectorClock:
    counts: dict = attrs.field(factory=dict)

    def tick(self, process):
        return VectorClock({**self.counts, process: self.counts.get(process, 0) + 1})

    def merge(self, other):
        processes = self.counts.keys() | other.counts.keys()
        return VectorClock({p: max(self.counts.get(p, 0), other.counts.get(p, 0)) for p in processes})

    def before(self, other):
        return self != other and all(count <= other.counts.get(p, 0) for p, count in self.counts.items())

    def concurrent(self, other):
        return self != other and not self.before(other) and not other.before(self)
