"""Runs a coroutine from a script, from inside a running event loop, or in a notebook."""

import asyncio
import contextlib
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

__all__ = ["run_anywhere"]

T = TypeVar("T")


def run_anywhere(start: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run to the end and return the result; where a loop is running already, in a thread with a loop of its own.

    An event loop cannot be entered twice, and patching it so that it can breaks the clients that live in it. Ctrl-C
    cancels the coroutine, which may still tidy up.

    Args:
        start: Makes the coroutine, in the thread that runs it.
    """
    # Run outside of the except clause: all that is raised in there would have its RuntimeError for a first cause.
    return _in_thread(start) if _is_loop_running() else asyncio.run(start())


def _is_loop_running() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _in_thread(start: Callable[[], Coroutine[Any, Any, T]]) -> T:
    results: list[T] = []
    errors: list[BaseException] = []
    running: list[tuple[asyncio.AbstractEventLoop, asyncio.Task[T]]] = []
    done = threading.Event()  # a join that Ctrl-C breaks off takes the thread for ended ever after (bpo-45274)

    async def watched() -> None:
        task = asyncio.ensure_future(start())
        running.append((asyncio.get_running_loop(), task))
        results.append(await task)

    def work() -> None:
        try:
            asyncio.run(watched())
        except BaseException as error:  # raised in the thread that waits
            errors.append(error)
        finally:
            done.set()

    threading.Thread(target=work, name="embedtune-loop", daemon=True).start()
    try:
        done.wait()
    except BaseException:
        for loop, task in running:
            with contextlib.suppress(RuntimeError):  # it has just ended
                loop.call_soon_threadsafe(task.cancel)
        done.wait()
        raise
    if errors:
        raise errors[0]
    return results[0]
