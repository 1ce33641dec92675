"""PURE: the times and numbers of the membership."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class MembershipConfig:
    """Seconds, and how they add up.

    Silent node: the wait for the next ping (up to two `ping_interval`, until its neighbour on the ring has its turn), a
    failed direct ping (`ping_timeout`), a failed indirect one (all helpers are asked at once, and answer after half of
    `indirect_timeout`) and the suspicion: 0..1.0 + 0.5 + 0.5 + 2.1 = 3.1 to 4.1.
    So a silence of 2 s ends 1.1 before its suspicion does, at least. Whoever suspects a member pings it at once, then
    every `ping_interval`, and waits for the answers as long as the suspicion lasts: a node that is busy, and answers
    everything 2 s late, still refutes in time.
    Gone process (refused): 0..1.0 + one indirect round.
    """

    ping_interval: float = 0.5
    ping_timeout: float = 0.5
    indirect_timeout: float = 1.0
    indirect_count: int = 3  # helpers of an indirect ping
    suspicion_timeout: float = 2.1
    hearsay_factor: float = 2.0  # how much longer who only heard of a suspicion waits: who began it tells of the death
    bootstrap_interval: float = 1.0
    revive_interval: float = 2.0  # one dead member is pinged this often, by a node in a mesh of up to `revivers`
    revivers: int = (
        16  # in a larger one each does so less often: else an address would be hammered when its node is dead
    )
    forget_left_after: float = 3600.0
    forget_dead_after: float = 7 * 86400.0  # longer than any partition: only who is remembered is looked for
    gossip_batch: int = 12  # updates on one ping, which must fit in the first line of a request
    answer_batch: int = 32  # and on its answer
    death_is_news: float = 10.0  # later it is not passed on: a partition may have healed, and it would kill the living
    returned_lately: float = 3.0  # what a member tells of deaths is not believed so soon after it was dead itself
    gossip_factor: int = 4  # an update is sent gossip_factor * ceil(log2(n + 1)) times
