"""The front half of an evaluation, as verbs: receive, detect, make durable, acknowledge."""

import contextlib
import threading
import uuid
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import replace
from pathlib import Path

from testmesh.clock import Clock
from testmesh.errors import (
    ConflictError,
    MalformedError,
    NotFoundError,
    PeerError,
    QueueFullError,
)
from testmesh.model import Evaluation, Options, Source, SourceKind
from testmesh.node.copying.archives import ArchiveStore
from testmesh.node.copying.claims import KEY_USED
from testmesh.node.copying.copies import with_holders
from testmesh.node.copying.holding import Holding
from testmesh.node.detector import Detector
from testmesh.node.membership.ownership import rendezvous
from testmesh.node.messaging.peers import PeerClient
from testmesh.node.storage.ledger import Ledger
from testmesh.node.storage.replica import Changes
from testmesh.sealing import seal
from testmesh.settings import Settings
from testmesh.testing.archive import ArchiveLimits, check_archive
from testmesh.testing.cohort import noted
from testmesh.testing.repository_url import parse_repository_url

_ASK_TIMEOUT_S = 1.0
_ASK_AT_MOST = 64
_RETRY_AFTER_S = 10
_KEYS = uuid.UUID("5f0c1d9e-0d5a-4f0e-9a53-0c7a3f1f5e11")  # namespace of ids that are made from an Idempotency-Key


class Intake:
    """Safe from any thread. `live` gives the addresses of the other live nodes."""

    def __init__(
        self,
        settings: Settings,
        ledger: Ledger,
        archives: ArchiveStore,
        holding: Holding,
        detector: Detector,
        peers: PeerClient,
        clock: Clock,
        seal_key: str,
        live: Callable[[], tuple[str, ...]],
        received: Callable[[str], None],
    ) -> None:
        self._settings = settings
        self._ledger = ledger
        self._archives = archives
        self._fetcher = holding.fetcher
        self._durable = holding.durable
        self._claims = holding.claims
        self._detector = detector
        self._peers = peers
        self._clock = clock
        self._seal_key = seal_key
        self._live = live
        self._received = received
        self._limits = ArchiveLimits(settings.max_upload, settings.max_unpacked, settings.max_entries)
        self._key_locks = tuple(threading.Lock() for _ in range(64))  # of submissions with an Idempotency-Key
        self._askers = ThreadPoolExecutor(16, thread_name_prefix="ask")

    # Receiving -------------------------------------------------------------------------------

    def check_queue(self) -> None:
        waiting = len(self._ledger.store.unfinished())
        if waiting >= self._settings.max_queue:
            raise QueueFullError(
                f"{waiting} evaluations wait already; send it again in a while.", retry_after_s=_RETRY_AFTER_S
            )

    def receive_upload(
        self, upload: Path, name: str, tests: Path | None, options: Options, key: str | None, body_digest: str
    ) -> str:
        try:
            check_archive(upload, self._limits)
            if tests is not None:
                check_archive(tests, self._limits)
            projects = noted(self._detector.projects(upload, name, tests, prefix=False))
            with self._turn(key, body_digest), self._archives.taking() as take:
                evaluation_id, known = self._identify(key, body_digest)
                if known:
                    return evaluation_id
                self.check_queue()
                source = Source(SourceKind.ZIP, name, archive=take(upload), projects=projects)
                evaluation = Evaluation(
                    evaluation_id,
                    self._clock.wall(),
                    self._settings.advertise,
                    (source,),
                    options,
                    tests_archive=take(tests) if tests is not None else None,
                    body_digest=body_digest,
                    number=self._ledger.store.highest_number() + 1,
                )
                self._acknowledge(evaluation, keyed=key is not None)
        finally:
            upload.unlink(missing_ok=True)
            if tests is not None:
                tests.unlink(missing_ok=True)
        return evaluation_id

    def receive_repositories(
        self, urls: Sequence[str], token: str | None, options: Options, key: str | None, body_digest: str
    ) -> str:
        sources: list[Source] = []
        for repository in dict.fromkeys(parse_repository_url(url) for url in urls):
            name = _unique(repository.project_name, {source.name for source in sources})
            sources.append(Source(SourceKind.REPOSITORY, name, url=repository.url))
        if not sources:
            raise MalformedError('"projects" is empty; name at least one repository.')
        with self._turn(key, body_digest):
            evaluation_id, known = self._identify(key, body_digest)
            if known:
                return evaluation_id
            self.check_queue()
            evaluation = Evaluation(
                evaluation_id,
                self._clock.wall(),
                self._settings.advertise,
                tuple(sources),
                options,
                body_digest=body_digest,
                number=self._ledger.store.highest_number() + 1,
                sealed_token=seal(self._seal_key, token, evaluation_id) if token else None,
            )
            self._acknowledge(evaluation, keyed=key is not None)
            return evaluation_id

    def receive_again(self, earlier: Evaluation, project: str | None, key: str | None) -> str:
        """A new evaluation of the same sources, pinned as they were; of one project, where it is named.

        Nobody is called back: who asked to be was told of the first one, and need not be who asks for this.

        Raises:
            NotFoundError: no such project. ConflictError: its sources are not there (yet).
        """
        body_digest = f"rerun {earlier.id} {project!a}"
        with self._turn(key, body_digest):
            evaluation_id, known = self._identify(key, body_digest)
            if known:
                return evaluation_id
            sources = [source for source in earlier.sources if source.archive is not None]
            is_open = earlier.finished_at is None and not all(source.is_resolved for source in earlier.sources)
            if is_open and (project is None or project not in {found.name for found in earlier.projects}):
                raise ConflictError("Its repositories are still being fetched; ask again in a moment.")
            if project is not None:
                compared = noted(earlier.projects)  # by itself it can be compared with nothing
                sources = [
                    replace(source, projects=tuple(p for p in compared if p.name == project))
                    for source in sources
                    if any(p.name == project for p in source.projects)
                ]
                if any(source.name == project and source.archive is None for source in earlier.sources):
                    raise ConflictError(f"The source of {project} could not be had; submit it anew.")
                if not sources:
                    raise NotFoundError(f"Evaluation {earlier.id} has no project {project!r}.")
            if not sources:
                raise ConflictError("None of its sources could be had, so nothing can run again; submit it anew.")
            self.check_queue()
            evaluation = Evaluation(
                evaluation_id,
                self._clock.wall(),
                self._settings.advertise,
                tuple(replace(source, epoch=0) for source in sources),
                replace(earlier.options, callback_url=None),
                tests_archive=earlier.tests_archive,
                body_digest=body_digest,
                number=self._ledger.store.highest_number() + 1,
            )
            with self._archives.keeping(evaluation.archives):
                for digest in evaluation.archives:
                    self._fetcher.ensure(digest, earlier.holders)
                self._acknowledge(evaluation, keyed=key is not None)
            return evaluation.id

    @contextlib.contextmanager
    def _turn(self, key: str | None, body_digest: str) -> Iterator[None]:
        """Submissions with one Idempotency-Key wait for each other: the second finds what the first became.

        Raises ConflictError where another node asks for a copy of a submission with that key and another body.
        """
        if key is None:
            yield
            return
        lock = self._key_locks[zlib.crc32(key.encode()) % len(self._key_locks)]
        with lock, self._claims.hold(_id_of(key), body_digest):
            yield

    def _identify(self, key: str | None, body_digest: str) -> tuple[str, bool]:
        """The id, and whether it was acknowledged before. One key gives one id on every node."""
        if key is None:
            return str(uuid.uuid4()), False
        evaluation_id = _id_of(key)
        earlier = self.find(evaluation_id)
        if earlier is None:
            return evaluation_id, False
        if earlier.body_digest != body_digest:
            raise ConflictError(KEY_USED)
        self._acknowledge_again(earlier)
        return evaluation_id, True

    def _acknowledge(self, evaluation: Evaluation, *, keyed: bool) -> None:
        """Durable here and on as many others as the settings say, as far as they live: then it may be answered 202.

        The copies name this node as a holder, so that it is asked for the files should nobody come to tell more. With a
        key nobody has a copy before the first peer in the order has agreed that no other body goes by it.
        """
        own = replace(evaluation, holders=(self._settings.advertise,))
        others = self._durable.make_durable(
            own, lambda: rendezvous(evaluation.id, self._live()), self._settings.replicas - 1, one_first=keyed
        )
        self._check_body(evaluation)
        self._received(evaluation.id)
        self._ledger.merge(Changes((with_holders(own, *others),)), publish=True)
        self._check_body(evaluation)

    def _acknowledge_again(self, earlier: Evaluation) -> None:
        """The node that took it may be gone since it answered, or before it could: what was promised is made true."""
        if earlier.finished_at is not None or self._settings.advertise not in earlier.holders:
            return  # a holder sees to it

        def candidates() -> list[str]:
            return rendezvous(earlier.id, set(self._live()) - set(earlier.holders))

        holding = set(self._live()) & set(earlier.holders)
        others = self._durable.make_durable(earlier, candidates, max(0, self._settings.replicas - 1 - len(holding)))
        if others:
            self._ledger.merge(Changes((with_holders(earlier, *others),)), publish=True)

    def _check_body(self, evaluation: Evaluation) -> None:
        """Raises ConflictError where another node got the key at the same time, with another body, and was first."""
        kept = self._ledger.store.evaluation(evaluation.id)
        if kept is not None and kept.body_digest != evaluation.body_digest:
            raise ConflictError(KEY_USED)

    # Looking things up on the mesh ----------------------------------------------------------

    def find(self, evaluation_id: str) -> Evaluation | None:
        """From the store, or from any peer that knows it within a second."""
        evaluation = self._ledger.store.evaluation(evaluation_id)
        if evaluation is not None:
            return evaluation
        asked = rendezvous(evaluation_id, self._live())[:_ASK_AT_MOST]
        futures = [self._askers.submit(self._ask, address, evaluation_id) for address in asked]
        wait(futures, timeout=_ASK_TIMEOUT_S)
        return self._ledger.store.evaluation(evaluation_id)

    def _ask(self, address: str, evaluation_id: str) -> None:
        with contextlib.suppress(PeerError):
            for changes in self._peers.records(address, evaluation_id, _ASK_TIMEOUT_S):
                self._ledger.merge(changes, publish=False)

    def stop(self) -> None:
        self._askers.shutdown(wait=False, cancel_futures=True)


def _id_of(key: str) -> str:
    return str(uuid.uuid5(_KEYS, key))


def _unique(name: str, taken: set[str]) -> str:
    number, unique = 2, name
    while unique in taken:
        unique, number = f"{name}-{number}", number + 1
    return unique
