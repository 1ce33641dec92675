"""Fetches an evaluation's repositories once its owner has acknowledged it, and settles what became of each."""

import contextlib
import errno
import logging
import threading
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from testmesh.errors import DiskFullError, InfrastructureError, SourceError, SubmissionError, TestmeshError
from testmesh.logs import about
from testmesh.model import Evaluation, Source
from testmesh.node.copying.archives import ArchiveStore
from testmesh.node.copying.copies import with_holders
from testmesh.node.copying.durable import DurableCopies
from testmesh.node.detector import Detector
from testmesh.node.membership.ownership import rendezvous
from testmesh.node.storage.ledger import Ledger
from testmesh.node.storage.replica import Changes
from testmesh.sealing import unseal
from testmesh.settings import Settings
from testmesh.testing.archive import ArchiveLimits, check_archive
from testmesh.testing.github import RepositoryFetcher
from testmesh.testing.notes import joined
from testmesh.testing.repository_url import parse_repository_url

log = logging.getLogger(__name__)
_AT_ONCE = 4
_SETTLE_AGAIN_S = 5.0
_AGAIN_S = 10.0  # after a fault of this node's own
_TRIES = 6  # then it is final, as an evaluation must not wait for ever; a full disk is waited for


@dataclass(frozen=True, slots=True)
class _Try:
    """To fetch one source, for the owner that the evaluation names."""

    evaluation: Evaluation
    index: int
    faults: int = 0  # of this node, so far


class SourceResolver:
    """Safe from any thread. `live` gives the addresses of the other live nodes."""

    def __init__(
        self,
        settings: Settings,
        ledger: Ledger,
        archives: ArchiveStore,
        durable: DurableCopies,
        fetcher: RepositoryFetcher,
        detector: Detector,
        seal_key: str,
        live: Callable[[], tuple[str, ...]],
    ) -> None:
        self._settings = settings
        self._ledger = ledger
        self._archives = archives
        self._durable = durable
        self._fetcher = fetcher
        self._detector = detector
        self._seal_key = seal_key
        self._live = live
        self._limits = ArchiveLimits(settings.max_upload, settings.max_unpacked, settings.max_entries)
        self._fetching: set[tuple[str, int, int]] = set()
        self._waiting: list[_Try] = []  # for the next time
        self._alarm: threading.Timer | None = None
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._fetchers = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="source")

    def resolve(self, evaluation: Evaluation) -> None:
        """Begin to fetch every source of an own evaluation that is not resolved and not being fetched."""
        if evaluation.cancelled:
            return
        for index, source in enumerate(evaluation.sources):
            place = (evaluation.id, evaluation.epoch, index)
            with self._lock:
                if source.is_resolved or place in self._fetching:
                    continue
                self._fetching.add(place)
            self._fetchers.submit(self._fetch, _Try(evaluation, index))

    def stop(self) -> None:
        with self._lock:
            self._stopped.set()
            if self._alarm is not None:
                self._alarm.cancel()
        self._fetchers.shutdown(wait=False, cancel_futures=True)

    def _fetch(self, this: "_Try") -> None:
        evaluation, index = this.evaluation, this.index
        done, faults = False, this.faults
        try:
            if self._is_wanted(evaluation, index):
                with contextlib.ExitStack() as kept:
                    resolved, is_fault = self._outcome(this, kept)
                    if resolved is not None:
                        self._settle_for_sure(evaluation, index, resolved)
                if resolved is not None and resolved.archive:  # it may not have been wanted any more
                    self._archives.drop(resolved.archive, self._is_named)
                done, faults = resolved is not None, faults + is_fault
            else:
                done = True
        except Exception:  # of the store: then nothing could be settled either
            log.exception(
                "what became of %s is not known; it is tried again",
                evaluation.sources[index].url,
                extra=about(evaluation=evaluation.id),
            )
        finally:
            with self._lock:
                if done:
                    self._fetching.discard((evaluation.id, evaluation.epoch, index))
                else:
                    self._wait_for_next(replace(this, faults=faults))

    def _wait_for_next(self, this: "_Try") -> None:
        """Under the lock. Nobody else's fetch waits meanwhile."""
        self._waiting.append(this)
        if self._alarm is None and not self._stopped.is_set():
            self._alarm = threading.Timer(_AGAIN_S, self._try_again)
            self._alarm.daemon = True
            self._alarm.start()

    def _try_again(self) -> None:
        with self._lock:
            waiting, self._waiting, self._alarm = self._waiting, [], None
            if not self._stopped.is_set():
                for this in waiting:
                    self._fetchers.submit(self._fetch, this)

    def _is_wanted(self, evaluation: Evaluation, index: int) -> bool:
        """By the newest record: it may have been cancelled, resolved or handed over since the fetch was asked for."""
        newest = self._ledger.store.evaluation(evaluation.id)
        if newest is not None and self._ledger.owner_of(newest) != self._settings.advertise:
            return False
        if newest is None or newest.pruned or newest.cancelled or newest.finished_at is not None:
            return False
        if (newest.owner, newest.epoch) != (self._settings.advertise, evaluation.epoch):
            return False
        return not newest.sources[index].is_resolved

    def _is_named(self, digest: str) -> bool:
        return bool(self._ledger.store.naming_archive(digest))

    def _outcome(self, this: "_Try", kept: contextlib.ExitStack) -> tuple[Source | None, bool]:
        """What is final: the source, or why nobody can have it. None: try again; and whether this node is at fault.

        A full disk is waited for. `kept` ends when the archive may be dropped, unless a record names it by then.
        """
        source = this.evaluation.sources[this.index]
        try:
            return self._fetched(this.evaluation, source, kept), False
        except (SourceError, SubmissionError) as error:
            return replace(source, error=error.detail), False
        except Exception as error:
            name = f"{source.url} of evaluation {this.evaluation.id}"
            if _is_full(error):
                log.warning(
                    "%s waits for room on the disk, or for another node: %s",
                    name,
                    error,
                    extra=about(evaluation=this.evaluation.id),
                )
                return None, False
            log.exception(
                "fetching %s failed, try %d", name, this.faults + 1, extra=about(evaluation=this.evaluation.id)
            )
            if this.faults + 1 < _TRIES:
                return None, True
            return replace(source, error="This node could not fetch the repository; its log says why."), True

    def _fetched(self, evaluation: Evaluation, source: Source, kept: contextlib.ExitStack) -> Source:
        repository = parse_repository_url(source.url or "")
        token = evaluation.sealed_token
        part = self._settings.data_dir / "incoming" / f"{uuid.uuid4()}.zip"
        try:
            plain = unseal(self._seal_key, token, evaluation.id) if token else None
            fetched = self._fetcher.fetch(repository, plain, part)
            check_archive(part, self._limits)
            projects = self._detector.projects(part, source.name, self._staffs_tests(evaluation), prefix=True)
            with self._archives.taking() as take:
                archive = take(part)
                kept.enter_context(self._archives.keeping([archive]))
        finally:
            part.unlink(missing_ok=True)
        notes = " ".join(fetched.notes)
        projects = tuple(replace(p, detail=joined((p.detail, notes))) for p in projects)
        return replace(source, commit=fetched.commit, archive=archive, projects=projects)

    def _staffs_tests(self, evaluation: Evaluation) -> Path | None:
        if evaluation.tests_archive is None:
            return None
        path = self._archives.path(evaluation.tests_archive)
        if path is None:  # without them the student's own tests would give the grade
            raise InfrastructureError("The staff's tests are not on this node; it needs them to plan what is run.")
        return path

    def _settle_for_sure(self, evaluation: Evaluation, index: int, resolved: Source) -> None:
        """Until the store takes it: nobody else would tell the evaluation that it can go on."""
        while True:
            try:
                self._settle(evaluation, index, replace(resolved, epoch=evaluation.epoch))
            except TestmeshError as error:
                log.warning(
                    "evaluation %s: what became of %s is not stored: %s",
                    evaluation.id,
                    resolved.url,
                    error,
                    extra=about(evaluation=evaluation.id),
                )
                if self._stopped.wait(_SETTLE_AGAIN_S):
                    return
            else:
                return

    def _settle(self, evaluation: Evaluation, index: int, resolved: Source) -> None:
        """Merge what became of one source; an archive is on another node too before its modules start."""
        if not self._is_wanted(evaluation, index):
            return
        newest = self._ledger.store.evaluation(evaluation.id) or evaluation
        sources = (*newest.sources[:index], resolved, *newest.sources[index + 1 :])
        settled = replace(newest, sources=sources)
        if resolved.archive:
            settled = with_holders(settled, self._settings.advertise)

            def order() -> list[str]:
                return sorted(rendezvous(evaluation.id, self._live()), key=lambda a: a not in newest.holders)

            try:
                others = self._durable.make_durable(settled, order, self._settings.replicas - 1)
                settled = with_holders(settled, *others)
            except TestmeshError as error:
                log.warning(
                    "evaluation %s goes on with its sources on this node alone: %s",
                    evaluation.id,
                    error,
                    extra=about(evaluation=evaluation.id),
                )
        self._ledger.merge(Changes((settled,)), publish=True)


def _is_full(error: BaseException | None) -> bool:
    """Whether the disk had no room, whatever that was told as."""
    while error is not None:
        if isinstance(error, DiskFullError) or (
            isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
        ):
            return True
        error = error.__cause__ or error.__context__
    return False
