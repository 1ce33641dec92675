"""One node's decisions, transition by transition, with the time as an argument."""

import random
from dataclasses import replace

import pytest

from testmesh.node.membership.membership import Membership, MembershipConfig
from testmesh.node.membership.membership_events import (
    AddressTaken,
    Effect,
    Event,
    Exchanged,
    Health,
    Heard,
    IndirectAnswered,
    Introduce,
    Leave,
    Member,
    MemberChanged,
    PingAnswered,
    PingFailed,
    SendIndirectPing,
    SendJoin,
    SendPing,
    Tick,
)

ME = Member("me:1", "boot-me")
A, B, C = Member("a:1", "boot-a"), Member("b:1", "boot-b"), Member("c:1", "boot-c")
CONFIG = MembershipConfig()
NOW = 1000.0


def knowing(*members: Member, bootstrap: tuple[str, ...] = ()) -> Membership:
    membership = Membership(ME, bootstrap, CONFIG, random.Random(1))
    membership.handle(Heard(members), NOW)
    return membership


def of(effects: list[Effect], kind: type[Effect]) -> list[Effect]:
    return [effect for effect in effects if isinstance(effect, kind)]


def changes(effects: list[Effect]) -> list[tuple[Health | None, Health]]:
    return [(e.before.health if e.before else None, e.after.health) for e in effects if isinstance(e, MemberChanged)]


def health(membership: Membership, member: Member) -> Health | None:
    found = membership.member(member.address)
    return found.health if found else None


class TestNews:
    @pytest.mark.parametrize(
        ("known", "said", "believed"),
        [
            (A, replace(A, incarnation=1), replace(A, incarnation=1)),
            (replace(A, incarnation=1), A, replace(A, incarnation=1)),
            (A, replace(A, health=Health.SUSPECT), replace(A, health=Health.SUSPECT)),
            (replace(A, health=Health.SUSPECT), A, replace(A, health=Health.SUSPECT)),
            (replace(A, health=Health.SUSPECT), replace(A, incarnation=1), replace(A, incarnation=1)),
            (replace(A, health=Health.DEAD), replace(A, health=Health.SUSPECT), replace(A, health=Health.DEAD)),
            (replace(A, health=Health.DEAD), replace(A, incarnation=1), replace(A, incarnation=1)),
            (replace(A, health=Health.DEAD), replace(A, health=Health.LEFT), replace(A, health=Health.LEFT)),
            (replace(A, incarnation=1), replace(A, health=Health.DEAD), replace(A, incarnation=1)),
            (A, replace(A, boot="boot-z"), A),
            (replace(A, boot="boot-z"), A, replace(A, boot="boot-z")),
            (A, replace(A, boot="boot-0", incarnation=1), replace(A, boot="boot-0", incarnation=1)),
            (replace(A, boot="boot-z"), replace(A, health=Health.SUSPECT), replace(A, boot="boot-z")),
            (A, replace(A, incarnation=2**62, health=Health.DEAD), A),
            (A, replace(A, incarnation=10**400), A),
            (A, replace(A, incarnation=-1, health=Health.LEFT), A),
        ],
    )
    def test_the_higher_incarnation_wins_and_at_one_incarnation_the_worse_news(
        self, known: Member, said: Member, believed: Member
    ) -> None:
        membership = knowing(replace(known, health=Health.ALIVE))
        membership.handle(Heard((known,)), NOW)

        effects = membership.handle(Heard((said,)), NOW)

        assert membership.member(A.address) == believed
        assert bool(of(effects, MemberChanged)) == (believed != known)

    def test_a_new_member_is_told_of_once(self) -> None:
        membership = knowing()

        first, second = membership.handle(Heard((A,)), NOW), membership.handle(Heard((A,)), NOW)

        assert changes(first) == [(None, Health.ALIVE)]
        assert second == []

    @pytest.mark.parametrize("gone", [Health.DEAD, Health.LEFT])
    def test_the_end_of_a_node_that_was_never_seen_is_no_news(self, gone: Health) -> None:
        membership = knowing()

        assert membership.handle(Heard((replace(A, health=gone),)), NOW) == []
        assert membership.all_members() == (ME,)

    def test_a_restart_on_the_same_address_is_told_with_both_boots(self) -> None:
        membership = knowing(A)

        (effect,) = membership.handle(Heard((replace(A, boot="boot-new", incarnation=1),)), NOW)

        assert isinstance(effect, MemberChanged)
        assert effect.before is not None
        assert (effect.before.boot, effect.after.boot) == ("boot-a", "boot-new")

    def test_a_suspect_counts_as_live_and_the_dead_do_not(self) -> None:
        membership = knowing(A, B)
        membership.handle(Heard((replace(A, health=Health.SUSPECT), replace(B, health=Health.DEAD))), NOW)

        assert membership.live() == (A.address,)

    def test_a_death_is_passed_on_at_once_and_only_once(self) -> None:
        membership = knowing(A, B, C)
        dead = replace(A, health=Health.DEAD)

        first, second = membership.handle(Heard((dead,)), NOW), membership.handle(Heard((dead,)), NOW)

        (told,) = of(first, Introduce)
        assert isinstance(told, Introduce)
        assert (sorted(told.addresses), told.updates) == ([B.address, C.address], (dead,))
        assert second == []


class TestRefuting:
    @pytest.mark.parametrize(
        ("said", "incarnation"),
        [
            (replace(ME, health=Health.SUSPECT), 1),
            (replace(ME, health=Health.DEAD, incarnation=7), 8),
            (replace(ME, health=Health.LEFT), 1),
            (replace(ME, boot="the one before", incarnation=3), 4),
            (ME, 0),
        ],
    )
    def test_what_is_not_so_is_answered_with_a_higher_incarnation(self, said: Member, incarnation: int) -> None:
        membership = knowing(A)

        assert membership.handle(Heard((said,)), NOW) == []
        assert membership.gossip()[0] == replace(ME, incarnation=incarnation)

    def test_what_was_refuted_already_is_not_again(self) -> None:
        membership = knowing(A)
        for _ in range(3):
            membership.handle(Heard((replace(ME, health=Health.SUSPECT),)), NOW)

        assert membership.me.incarnation == 1

    @pytest.mark.parametrize("believed", [A, replace(A, health=Health.SUSPECT), replace(A, boot="before")])
    def test_every_message_tells_its_reader_what_is_believed_of_it(self, believed: Member) -> None:
        membership = knowing(believed, B)
        for _ in range(100):
            membership.gossip(B.address)  # until nothing is news any more

        assert believed in membership.gossip(A.address)

    def test_a_process_on_a_contested_address_asks_who_is_reached_there_and_gives_way(self) -> None:
        membership = knowing(A)
        other = replace(ME, boot="boot-other")

        assert membership.handle(Heard((other,)), NOW) == []
        (asks,) = membership.handle(Heard((replace(other, incarnation=2),)), NOW)
        assert isinstance(asks, SendPing)
        assert asks.address == ME.address

        reached = replace(other, incarnation=4)
        assert membership.handle(PingAnswered(ME.address, (reached,)), NOW) == [AddressTaken(reached)]
        assert membership.me.health is Health.LEFT
        assert of(membership.handle(Tick(), NOW + 5), SendPing) == []

    def test_a_process_that_is_reached_at_its_contested_address_stays(self) -> None:
        membership = knowing(A)
        other = replace(ME, boot="boot-other")
        membership.handle(Heard((other,)), NOW)
        membership.handle(Heard((replace(other, incarnation=2),)), NOW)

        assert membership.handle(PingAnswered(ME.address, (membership.me,)), NOW) == []
        assert membership.me.health is Health.ALIVE


class TestPinging:
    def test_one_member_is_pinged_an_interval_and_everybody_in_turn(self) -> None:
        membership = knowing(A, B, C)
        pinged = []
        for tick in range(12):
            now = NOW + tick * CONFIG.ping_interval
            (ping,) = of(membership.handle(Tick(), now), SendPing)
            assert isinstance(ping, SendPing)
            pinged.append(ping.address)
            membership.handle(PingAnswered(ping.address, (membership.others[ping.address],)), now)

        assert set(pinged[:8]) == {A.address, B.address, C.address}

    def test_nothing_is_due_before_the_interval_is_over(self) -> None:
        membership = knowing(A)
        membership.handle(Tick(), NOW)

        assert membership.next_due() == NOW + CONFIG.ping_interval
        assert membership.handle(Tick(), NOW + CONFIG.ping_interval / 2) == []

    def test_one_whose_answer_is_awaited_is_not_pinged_again(self) -> None:
        membership = knowing(A)

        assert len(of(membership.handle(Tick(), NOW), SendPing)) == 1
        assert of(membership.handle(Tick(), NOW + CONFIG.ping_interval), SendPing) == []

    def test_an_answer_from_another_node_at_the_address_is_no_answer(self) -> None:
        membership = knowing(A, B)
        membership.handle(Tick(), NOW)

        effects = membership.handle(PingAnswered(A.address, (C,)), NOW)

        assert of(effects, SendIndirectPing)

    def test_the_dead_are_pinged_now_and_then_and_told_so(self) -> None:
        membership = knowing(A)
        dead = replace(A, health=Health.DEAD)
        membership.handle(Heard((dead,)), NOW)

        (ping,) = of(membership.handle(Tick(), NOW), SendPing)

        assert isinstance(ping, SendPing)
        assert ping.address == A.address
        assert dead in ping.updates
        membership.handle(PingAnswered(A.address, (replace(A, incarnation=1),)), NOW + 0.1)
        assert health(membership, A) is Health.ALIVE

    def test_those_who_left_are_not_pinged(self) -> None:
        membership = knowing(A)
        membership.handle(Heard((replace(A, health=Health.LEFT),)), NOW)

        assert of(membership.handle(Tick(), NOW), SendPing) == []

    @pytest.mark.parametrize(
        ("gone", "after"), [(Health.DEAD, CONFIG.forget_dead_after), (Health.LEFT, CONFIG.forget_left_after)]
    )
    def test_those_who_are_gone_are_forgotten_after_a_while(self, gone: Health, after: float) -> None:
        membership = knowing(A)
        membership.handle(Heard((replace(A, health=gone),)), NOW)
        membership.handle(Tick(), NOW + after - 1)
        assert health(membership, A) is gone

        membership.handle(Tick(), NOW + after)

        assert membership.all_members() == (ME,)

    def test_bootstrap_nodes_are_asked_for_ever_as_long_as_they_are_not_live(self) -> None:
        membership = knowing(bootstrap=(A.address,))
        asked = [of(membership.handle(Tick(), NOW + second), SendJoin) for second in range(60)]
        assert asked == [[SendJoin(A.address)]] * 60

        membership.handle(Heard((A,)), NOW + 60)
        assert of(membership.handle(Tick(), NOW + 60), SendJoin) == []

        membership.handle(Heard((replace(A, health=Health.DEAD),)), NOW + 61)
        assert of(membership.handle(Tick(), NOW + 62), SendJoin) == [SendJoin(A.address)]


class TestFailing:
    def test_a_failed_ping_is_tried_through_others_but_not_through_suspects(self) -> None:
        membership = knowing(A, B, C)
        membership.handle(Heard((replace(C, health=Health.SUSPECT),)), NOW)

        effects = membership.handle(PingFailed(A.address, refused=False), NOW)

        assert effects == [SendIndirectPing(A.address, (B.address,), CONFIG.indirect_timeout)]

    @pytest.mark.parametrize(
        ("refused", "reached", "confirmed", "then"),
        [
            (False, True, False, Health.ALIVE),
            (True, True, False, Health.ALIVE),
            (False, False, False, Health.SUSPECT),
            (True, False, False, Health.SUSPECT),
            (False, False, True, Health.SUSPECT),
            (True, False, True, Health.DEAD),
        ],
    )
    def test_what_the_others_say_decides(self, refused: bool, reached: bool, confirmed: bool, then: Health) -> None:
        membership = knowing(A, B)
        membership.handle(PingFailed(A.address, refused), NOW)

        membership.handle(IndirectAnswered(A.address, reached, confirmed), NOW + 1)

        assert health(membership, A) is then

    @pytest.mark.parametrize(
        ("first", "second", "then"),
        [(True, True, Health.DEAD), (False, False, Health.SUSPECT), (True, False, Health.SUSPECT)],
    )
    def test_with_nobody_to_ask_a_second_try_decides(self, first: bool, second: bool, then: Health) -> None:
        membership = knowing(A)

        effects = membership.handle(PingFailed(A.address, first), NOW)
        assert [type(effect) for effect in effects] == [SendPing]
        assert health(membership, A) is Health.ALIVE

        membership.handle(PingFailed(A.address, second), NOW + 1)
        assert health(membership, A) is then

    def test_an_answer_between_two_failures_starts_anew(self) -> None:
        membership = knowing(A)
        membership.handle(PingFailed(A.address, refused=True), NOW)
        membership.handle(PingAnswered(A.address, (A,)), NOW + 0.1)

        membership.handle(PingFailed(A.address, refused=True), NOW + 0.2)

        assert health(membership, A) is Health.ALIVE

    @pytest.mark.parametrize(
        "event", [PingFailed("x:1", refused=True), IndirectAnswered("x:1", reached=False, refused=True)]
    )
    def test_a_failure_of_an_unknown_node_means_nothing(self, event: Event) -> None:
        membership = knowing(A)

        assert membership.handle(event, NOW) == []
        assert membership.live() == (A.address,)


class TestSuspecting:
    def suspecting(self, *others: Member) -> Membership:
        membership = knowing(A, *others)
        membership.handle(Tick(), NOW)
        membership.handle(PingFailed(A.address, refused=False), NOW)
        if others:
            membership.handle(IndirectAnswered(A.address, reached=False, refused=False), NOW)
        else:
            membership.handle(PingFailed(A.address, refused=False), NOW)
        assert health(membership, A) is Health.SUSPECT
        return membership

    def tick_until(self, membership: Membership, since: float, until: float) -> None:
        while since < until:
            membership.handle(Tick(), since)
            since += 0.25

    def test_a_suspect_is_dead_when_its_time_is_over(self) -> None:
        membership = self.suspecting(B)
        end = NOW + CONFIG.suspicion_timeout
        self.tick_until(membership, NOW, end)
        assert health(membership, A) is Health.SUSPECT
        assert membership.next_due() <= end

        effects = membership.handle(Tick(), end)

        assert changes(effects) == [(Health.SUSPECT, Health.DEAD)]

    def test_who_only_heard_of_a_suspicion_waits_longer_than_who_began_it(self) -> None:
        membership = knowing(A, B)
        membership.handle(Heard((replace(A, health=Health.SUSPECT),)), NOW)
        end = NOW + CONFIG.suspicion_timeout * CONFIG.hearsay_factor

        self.tick_until(membership, NOW, end)
        assert health(membership, A) is Health.SUSPECT

        membership.handle(Tick(), end)
        assert health(membership, A) is Health.DEAD

    def test_who_cannot_reach_it_either_waits_no_longer_than_who_began(self) -> None:
        membership = knowing(A, B)
        membership.handle(Heard((replace(A, health=Health.SUSPECT),)), NOW)
        membership.handle(PingFailed(A.address, refused=False), NOW)
        membership.handle(IndirectAnswered(A.address, reached=False, refused=False), NOW)

        self.tick_until(membership, NOW, NOW + CONFIG.suspicion_timeout + 0.25)

        assert health(membership, A) is Health.DEAD

    def test_a_suspicion_that_came_after_it_woke_is_not_made_longer(self) -> None:
        membership = knowing(A, B)
        membership.handle(Tick(), NOW)
        membership.handle(Heard((replace(A, health=Health.SUSPECT),)), NOW + 60)

        end = NOW + 60 + CONFIG.suspicion_timeout * CONFIG.hearsay_factor
        self.tick_until(membership, NOW + 60, end + 0.25)

        assert health(membership, A) is Health.DEAD

    def test_a_suspect_is_pinged_at_once_and_its_answer_is_waited_for_as_long_as_the_suspicion_lasts(self) -> None:
        membership = knowing(A, B)
        membership.handle(Tick(), NOW)
        membership.handle(PingFailed(A.address, refused=False), NOW)

        effects = membership.handle(IndirectAnswered(A.address, reached=False, refused=False), NOW)

        (ping,) = of(effects, SendPing)
        assert isinstance(ping, SendPing)
        assert (ping.address, ping.timeout) == (A.address, CONFIG.suspicion_timeout)
        assert replace(A, health=Health.SUSPECT) in ping.updates

    def test_a_suspect_is_pinged_every_interval_and_told_so(self) -> None:
        membership = self.suspecting(B)
        for beat in (1, 2):
            pings = of(membership.handle(Tick(), NOW + beat * CONFIG.ping_interval), SendPing)
            (ping,) = [p for p in pings if isinstance(p, SendPing) and p.address == A.address]
            assert replace(A, health=Health.SUSPECT) in ping.updates

    def test_its_answer_with_a_higher_incarnation_ends_the_suspicion(self) -> None:
        membership = self.suspecting(B)

        membership.handle(PingAnswered(A.address, (replace(A, incarnation=1),)), NOW + 1)

        self.tick_until(membership, NOW + 1, NOW + 10)
        assert health(membership, A) is Health.ALIVE

    def test_a_second_suspicion_has_its_own_time(self) -> None:
        membership = self.suspecting(B)

        membership.handle(Heard((replace(A, incarnation=1, health=Health.SUSPECT),)), NOW + 1.25)

        self.tick_until(membership, NOW + 1.25, NOW + 1.25 + CONFIG.suspicion_timeout)
        assert health(membership, A) is Health.SUSPECT

    def test_the_time_this_node_stood_still_itself_does_not_count(self) -> None:
        membership = self.suspecting(B)

        membership.handle(Tick(), NOW + 60)
        assert health(membership, A) is Health.SUSPECT

        self.tick_until(membership, NOW + 60, NOW + 60 + 2 * CONFIG.ping_interval + CONFIG.suspicion_timeout)
        assert health(membership, A) is Health.DEAD

    def test_failures_after_the_death_change_nothing(self) -> None:
        membership = self.suspecting(B)
        self.tick_until(membership, NOW, NOW + CONFIG.suspicion_timeout + 0.25)
        assert health(membership, A) is Health.DEAD

        assert membership.handle(PingFailed(A.address, refused=True), NOW + 2) == []
        assert membership.handle(IndirectAnswered(A.address, reached=False, refused=True), NOW + 2) == []


class TestLeaving:
    def test_everybody_is_told(self) -> None:
        membership = knowing(A, B)

        (effect,) = membership.handle(Leave(), NOW)

        assert effect == Introduce((A.address, B.address), (replace(ME, health=Health.LEFT),))

    def test_alone_there_is_nobody_to_tell(self) -> None:
        assert knowing().handle(Leave(), NOW) == []

    def test_who_has_left_pings_nobody_joins_nobody_and_does_not_contradict(self) -> None:
        membership = knowing(A, bootstrap=("x:1",))
        membership.handle(Leave(), NOW)

        assert membership.handle(Tick(), NOW + 10) == []
        assert membership.handle(Heard((replace(ME, health=Health.DEAD),)), NOW) == []
        assert membership.me == replace(ME, health=Health.LEFT)


class TestExchanging:
    def test_who_is_dead_to_another_may_only_have_been_cut_off_from_it(self) -> None:
        membership = knowing(A, B)

        said = (C, replace(A, health=Health.DEAD), replace(B, health=Health.LEFT))
        effects = membership.handle(Exchanged(said), NOW)

        assert (health(membership, A), health(membership, B)) == (Health.ALIVE, Health.LEFT)
        assert changes(effects) == [(None, Health.ALIVE), (Health.ALIVE, Health.LEFT)]

    def test_its_own_death_is_refuted(self) -> None:
        membership = knowing(A)

        membership.handle(Exchanged((A, replace(ME, health=Health.DEAD))), NOW)

        assert membership.me.incarnation == 1


class TestGossip:
    def test_a_death_goes_before_a_storm_of_newcomers_and_its_refutation_too(self) -> None:
        membership = knowing(*(Member(f"n{i}:1", f"boot-{i}") for i in range(200)))
        dead = replace(membership.others["n7:1"], health=Health.DEAD)
        back = replace(dead, health=Health.ALIVE, incarnation=1)

        membership.handle(Heard((dead,)), NOW)
        assert all(dead in membership.gossip() for _ in range(5))

        membership.handle(Heard((back,)), NOW)
        assert all(back in membership.gossip() for _ in range(5))

    def test_an_old_death_is_no_news(self) -> None:
        membership = knowing(A, B)
        membership.handle(Heard((replace(A, health=Health.DEAD),)), NOW)
        membership.handle(Tick(), NOW + CONFIG.death_is_news + 0.1)

        assert membership.gossip() == (ME, B)

    def test_an_answer_has_room_for_more(self) -> None:
        membership = knowing(*(Member(f"n{i}:1", f"boot-{i}") for i in range(200)))

        assert len(membership.answer(None)) == 1 + CONFIG.answer_batch

    def test_news_is_sent_a_bounded_number_of_times(self) -> None:
        membership = knowing(A, B)

        messages = [membership.gossip() for _ in range(100)]

        assert messages[0] == (ME, A, B)
        assert messages[-1] == (ME,)
        assert sum(A in message for message in messages) == CONFIG.gossip_factor * 2  # ceil(log2(3 + 1)) = 2

    def test_a_message_has_room_for_the_least_sent_news_only(self) -> None:
        many = tuple(Member(f"n{i}:1", f"boot-{i}") for i in range(50))
        membership = knowing(*many)
        first, second = membership.gossip(), membership.gossip()

        assert len(first) == len(second) == 1 + CONFIG.gossip_batch
        assert set(first) & set(second) == {ME}

    def test_newer_news_of_a_member_replaces_the_older(self) -> None:
        membership = knowing(A)
        membership.handle(Heard((replace(A, incarnation=5),)), NOW)

        assert membership.gossip() == (ME, replace(A, incarnation=5))


class TestFarAhead:
    """A member that is told to have been refuted millions of times: an address could not be used any more."""

    LIE = replace(A, incarnation=2**53 - 1, health=Health.SUSPECT)

    def test_others_do_not_believe_it_but_ask_itself(self) -> None:
        membership = knowing(A)
        (asks,) = membership.handle(Heard((self.LIE,)), NOW)
        assert isinstance(asks, SendPing)
        assert asks.address == A.address
        assert membership.member(A.address) == A
        assert membership.handle(Heard((self.LIE,)), NOW) == []  # it is being asked
        assert membership.handle(PingAnswered(A.address, (A,)), NOW) == []
        assert membership.member(A.address) == A

    def test_nor_does_who_does_not_know_it(self) -> None:
        membership = knowing()
        (asks,) = membership.handle(Heard((self.LIE,)), NOW)
        assert isinstance(asks, SendPing)
        assert membership.handle(PingFailed(A.address, refused=False), NOW) == []
        assert membership.member(A.address) is None

    def test_itself_keeps_an_incarnation_that_others_believe(self) -> None:
        itself = Membership(A, (), CONFIG, random.Random(1))
        itself.handle(Heard((self.LIE,)), NOW)
        assert itself.me == A
        itself.handle(Heard((replace(A, incarnation=2**20, health=Health.SUSPECT),)), NOW)
        other = knowing(A)
        other.handle(PingAnswered(A.address, (itself.me,)), NOW)
        assert other.member(A.address) == replace(A, incarnation=2**20 + 1)

    def test_a_node_that_truly_is_so_far_is_believed_when_it_says_so_itself(self) -> None:
        membership, far = knowing(), replace(A, incarnation=3 * 2**20)
        (asks,) = membership.handle(Heard((far,)), NOW)
        assert isinstance(asks, SendPing)
        membership.handle(PingAnswered(A.address, (far, replace(B, incarnation=2**40))), NOW)
        assert membership.member(A.address) == far
        assert membership.member(B.address) is None

    def test_a_node_that_has_left_asks_nobody(self) -> None:
        membership = knowing(A)
        membership.handle(Leave(), NOW)
        assert membership.handle(Heard((self.LIE,)), NOW) == []
