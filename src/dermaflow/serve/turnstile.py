"""What the service holds at once: bodies that arrive, and requests that wait for their turn or work.

A request is in the `Inbox` while its body arrives and at the `Turnstile` from then on, so that nobody who
sends slowly stands in the way of those who wait. Each bounds its memory for itself.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final, TypeVar

from starlette.exceptions import HTTPException
from starlette.types import Message, Receive

LEAST_BYTES: Final = 64 * 1024
"""What a body counts at least: a connection that sends nothing has its buffers and its parser too."""
GONE: Final = 499
"""The status under which those are counted who left before their turn came (nginx's number)."""

Result = TypeVar("Result")


class Inbox:
    """Bound the bytes of all bodies that are arriving.

    Who has sent little holds little, however many they are. Where the bytes would pass the bound, the body
    that has been arriving longest is given up with a 503: clients that only hold on make room for those that
    send. There are never more than `most_bytes` / LEAST_BYTES bodies.
    """

    def __init__(self, most_bytes: int) -> None:
        """Set the bound; it has to be larger than one body may be."""
        self._most_bytes = most_bytes
        self._bytes = 0
        self._bodies: dict[asyncio.Timeout, int] = {}  # the oldest first

    @asynccontextmanager
    async def place(self, receive: Receive) -> AsyncIterator[Receive]:
        """Give, for the time of reading one body, a `receive` whose bytes are counted.

        Raises:
            HTTPException: 503 with Retry-After, the body has to make room.
        """
        body = asyncio.timeout(None)  # no end of its own: who needs the room sets it
        try:
            async with body:
                self._bodies[body] = 0
                self._hold(body, LEAST_BYTES)

                async def counted() -> Message:
                    message = await receive()
                    self._hold(body, len(message.get("body", b"")))
                    return message

                yield counted
        except TimeoutError:
            raise _too_many() from None
        finally:
            self._let_go(body)

    def _hold(self, body: asyncio.Timeout, size: int) -> None:
        if body not in self._bodies:  # given up, and not yet told
            return
        self._bodies[body] += size
        self._bytes += size
        while self._bytes > self._most_bytes:
            oldest = next(iter(self._bodies))
            self._let_go(oldest)
            oldest.reschedule(0)

    def _let_go(self, body: asyncio.Timeout) -> None:
        self._bytes -= self._bodies.pop(body, 0)


class Turnstile:
    """Let `running` requests work and `waiting` more wait; all others get a 503 at once.

    A place is taken when the body is in, so that none is held by a client that sends slowly; as many bodies
    as there are places are in memory.
    """

    def __init__(self, running: int, waiting: int) -> None:
        """Set the number of places."""
        self._places = running + waiting
        self._inside = 0
        self._running = asyncio.Semaphore(running)

    def refuse_if_full(self) -> None:
        """Tell a client before it sends its body in vain.

        Raises:
            HTTPException: 503 with Retry-After, no place is left.
        """
        if self._inside >= self._places:
            raise _too_many()

    @asynccontextmanager
    async def place(self) -> AsyncIterator[asyncio.Semaphore]:
        """Take a place; the semaphore that comes with it is for `in_turn`.

        Raises:
            HTTPException: 503 with Retry-After, no place is left.
        """
        self.refuse_if_full()
        self._inside += 1
        try:
            yield self._running
        finally:
            self._inside -= 1


async def in_turn(
    turn: asyncio.Semaphore, work: Callable[[], Result], gone: Callable[[], Awaitable[bool]]
) -> Result:
    """Wait for a turn and work in a thread.

    The turn ends with the work: a thread goes on when nobody waits for it any more.

    Args:
        turn: from `Turnstile.place`.
        work: what is done.
        gone: tells whether the client has gone meanwhile; nothing is done for one that has.

    Raises:
        HTTPException: 499, the client has gone.
    """
    await gone()  # the server reads on only when asked: else it would not see the client's end
    await turn.acquire()
    try:
        left = await gone()
    except BaseException:
        turn.release()
        raise
    if left:
        turn.release()
        raise HTTPException(GONE, "the client has gone")
    working = asyncio.create_task(asyncio.to_thread(work))
    working.add_done_callback(lambda _: turn.release())
    return await asyncio.shield(working)


def _too_many() -> HTTPException:
    return HTTPException(503, "too many requests at once, try again", {"Retry-After": "1"})
