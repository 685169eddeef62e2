"""Drives the election: looks at the Lease, does what domain.lease decides, and lets the leader's work run."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Protocol

import structlog
import trio

from klag_trio.domain.lease import (
    Action,
    Candidate,
    Lease,
    View,
    claim,
    decide,
    free_at,
    leads_until,
    observe,
    release,
)
from klag_trio.kubernetes.leases import LeaseConflict, LeaseUnavailable
from klag_trio.services.tenure import Tenure
from klag_trio.stopping import RELEASE_SECONDS

# A standby that looks this often takes over so soon after a lease was given back.
_LOOK_SECONDS = 1.0
_RELEASE_PAUSE = 0.2


class Leases(Protocol):
    """The Lease that the election is about."""

    async def read(self) -> Lease | None:
        """Give it as it is now; raises LeaseUnavailable."""

    async def write(self, lease: Lease) -> Lease:
        """Write it on top of the version that it names; raises LeaseConflict, LeaseUnavailable."""

    async def aclose(self) -> None:
        """Let go of the connection."""


class Elector:
    """Takes part in the election, for ever; runs `lead` while this replica leads, and no longer.

    The lead ends at `tenure.until`, before another replica can take the lease, whether or not the API server
    answers by then. No fault of the API server ends the elector.
    """

    def __init__(
        self,
        leases: Leases,
        me: Candidate,
        tenure: Tenure,
        lead: Callable[[], Awaitable[None]],
        *,
        wall_clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._leases = leases
        self._me = me
        self._tenure = tenure
        self._lead = lead
        self._wall_clock = wall_clock
        self._log = structlog.get_logger(__name__).bind(identity=me.identity)
        self._view: View | None = None
        # Whether the view is what is stored unless others wrote: after a write of ours that was answered.
        self._sure = False
        self._wrote = False
        self._pause = 0.0
        self._told = ""

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Run for election; give the lease back on the way out, after the leader's work has ended."""
        task_status.started()
        try:
            while True:
                await self._stand_by()
                self._log.info("leading")
                await self._reign()
        finally:
            self._tenure.until = self._tenure.now()
            with trio.move_on_after(RELEASE_SECONDS, shield=True):
                await self._release()
            await self._leases.aclose()

    async def _stand_by(self) -> None:
        """Look and try until this replica leads."""
        while not self._tenure.holds():
            await self._attempt()
            if not self._tenure.holds():
                self._tell()
                await trio.sleep(max(self._pause, self._until_next_look()))

    async def _reign(self) -> None:
        """Let the leader work and renew the lease until that fails for too long."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._lead)
            while (left := self._tenure.until - self._tenure.now()) > 0:
                with trio.move_on_after(left):
                    await trio.sleep(max(self._pause, self._me.retry))
                    await self._attempt()
            nursery.cancel_scope.cancel()
        if not self._tenure.trouble and self._tenure.holder == self._me.identity:
            self._tenure.trouble = "the lease was not renewed in time"
        self._told = self._tenure.reason()
        self._log.warning("stopped leading", reason=self._told)

    async def _attempt(self) -> None:
        """Ask the API server once, or twice where a look turns out to be old; never takes long."""
        self._pause = 0.0
        seconds = self._me.term / 2
        leads = self._tenure.holds()
        try:
            with trio.fail_after(seconds):
                try:
                    await self._step()
                except LeaseConflict:
                    self._sure = False
                    await self._step()
        except LeaseConflict:
            self._trouble("others write the lease at the same time")
        except LeaseUnavailable as exc:
            self._pause = min(exc.retry_after, self._me.duration)
            self._trouble(str(exc))
        except trio.TooSlowError:
            self._trouble(f"the API server did not answer within {seconds:g} s")
        else:
            if self._tenure.trouble and leads and self._tenure.holds():
                self._log.info("the lease is renewed again")
                self._told = ""
            self._tenure.trouble = ""

    async def _step(self) -> None:
        if not self._sure or self._view is None:
            lease = await self._leases.read()
            self._view = observe(self._view, lease, self._tenure.now())
        # Until a write is answered, what is stored is not known.
        self._sure = False
        leading = self._tenure.until if self._tenure.holds() else None
        now = self._tenure.now()
        match decide(self._view, self._me, leads_until=leading, now=now):
            case Action.ACQUIRE | Action.RENEW:
                self._wrote = True
                lease = await self._leases.write(claim(self._view.lease, self._me, self._wall_clock()))
                self._view = View(lease, self._tenure.now())
                self._sure = True
                self._tenure.until = leads_until(now, self._me)
            case Action.STEP_DOWN:
                self._tenure.until = now
        self._tenure.holder = "" if self._view.lease is None else self._view.lease.holder

    def _until_next_look(self) -> float:
        regular = min(_LOOK_SECONDS, self._me.retry)
        if self._view is None or self._tenure.trouble:
            return regular
        # The moment at which it can be taken lies between two looks.
        left = free_at(self._view, self._me) - self._tenure.now()
        return min(regular, left) if left > 0 else regular

    def _trouble(self, reason: str) -> None:
        """A renewal that fails is worth a line, once; the lead may well survive it."""
        self._sure = False
        self._tenure.trouble = reason
        self._tell()

    def _tell(self) -> None:
        if self._tenure.holds():
            line, text = "cannot renew the lease", self._tenure.trouble
        else:
            line, text = "standing by", self._tenure.reason()
        if text != self._told:
            self._told = text
            say = self._log.warning if self._tenure.trouble else self._log.info
            say(line, reason=text)

    async def _release(self) -> None:
        """Give the lease back if it is ours; a write that is still under way fails by its version then."""
        while self._wrote:
            try:
                lease = await self._leases.read()
                if lease is None or not self._me.holds(lease):
                    return
                await self._leases.write(release(lease, self._wall_clock()))
            except LeaseConflict:
                continue
            except LeaseUnavailable:
                await trio.sleep(_RELEASE_PAUSE)
            else:
                self._log.info("gave the lease back")
                return
