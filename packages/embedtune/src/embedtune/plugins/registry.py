"""Discovers plugins one by one, and asks their hooks; knows nothing of what the answers mean."""

import logging
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import EntryPoint, entry_points

import pluggy

from embedtune.errors import EmbedtuneError, PluginConflictError, PluginLoadError
from embedtune.plugins import hookspecs
from embedtune.plugins.backends import TrainingEvent

__all__ = ["DISABLE_VARIABLE", "PluginInfo", "PluginRegistry"]

logger = logging.getLogger(__name__)

DISABLE_VARIABLE = "EMBEDTUNE_DISABLE_PLUGINS"
"""Environment variable: names of entry points that are not loaded, with commas between."""


@dataclass(frozen=True)
class PluginInfo:
    """One installed plugin, for ``embedtune plugins``."""

    name: str
    """Entry-point name; ``embedtune`` for the built-ins."""
    distribution: str
    """Distribution and version."""
    error: BaseException | None = None
    """What it raised when it was loaded or asked."""

    def __str__(self) -> str:
        return f"{self.name!r} of {self.distribution}"


class PluginRegistry:
    """The plugins of one set and the calls to their hooks.

    pluggy stops a call at the first plugin that raises, and drops a second plugin of one name without a
    word; here each implementation is called in its own try, and nothing is dropped.

    Args:
        found: Entry points to load instead of the installed ones; for tests.
    """

    def __init__(self, found: Iterable[EntryPoint] | None = None) -> None:
        self._pluggy = pluggy.PluginManager(hookspecs.PROJECT_NAME)
        self._pluggy.add_hookspecs(hookspecs)
        self._infos: dict[str, PluginInfo] = {}
        from embedtune.plugins import builtin  # the built-ins import the formats, which import this package

        self.register(builtin, "embedtune", "embedtune")
        group = entry_points(group=hookspecs.PROJECT_NAME) if found is None else found
        disabled = set(filter(None, os.environ.get(DISABLE_VARIABLE, "").replace(" ", "").split(",")))
        for point in sorted(group, key=lambda point: (point.name, _distribution(point))):
            if point.name not in disabled:
                self._load(point)

    def register(self, plugin: object, name: str, distribution: str) -> None:
        """Add a plugin by hand.

        Args:
            plugin: A module or object with functions marked by `hookimpl`.
            name: Its name in listings and messages.
            distribution: Where it comes from, in messages.

        Raises:
            pluggy.PluginValidationError: If it implements a hook that does not exist.
        """
        info = PluginInfo(name, distribution)
        if str(info) in self._infos:
            raise ValueError(f"A plugin {info} is there already.")
        try:
            self._pluggy.register(plugin, name=str(info))
            self._pluggy.check_pending()
        except pluggy.PluginValidationError:
            self._pluggy.unregister(name=str(info))
            raise
        self._infos[str(info)] = info

    def _load(self, point: EntryPoint) -> None:
        info = PluginInfo(point.name, _distribution(point))
        if str(info) in self._infos:
            return  # the same distribution twice on sys.path, as after an editable install
        try:
            self.register(point.load(), info.name, info.distribution)
        except (
            Exception,
            SystemExit,
        ) as error:  # a broken plugin must not stop the others; it is raised when asked for
            self._mark_broken(info, error)

    def _mark_broken(self, info: PluginInfo, error: BaseException) -> None:
        logger.debug("plugin %s is broken", info, exc_info=error)
        self._infos[str(info)] = replace(info, error=error)

    @property
    def installed(self) -> Sequence[PluginInfo]:
        """All plugins, built-ins first, broken ones with their error."""
        return tuple(self._infos.values())

    def rows(self, hook: str) -> list[tuple[PluginInfo, object]]:
        """All rows that the implementations of a *collect* hook yield, with who yields them."""
        rows: list[tuple[PluginInfo, object]] = []
        for implementation in getattr(self._pluggy.hook, hook).get_hookimpls():
            info = self._infos[implementation.plugin_name]
            try:
                rows += [(info, _named(row)) for row in implementation.function()]
            except (Exception, SystemExit) as error:  # as for one that does not load
                self._mark_broken(info, error)
        return rows

    def claim(self, hook: str, thing: object, **more: object) -> object | None:
        """Show an object to all implementations of a *claim* hook.

        Raises:
            PluginConflictError: If two of them answer.
            PluginLoadError: If none answers and one of them failed.
        """
        claims: list[tuple[PluginInfo, object]] = []
        failure: tuple[PluginInfo, Exception] | None = None
        for implementation in getattr(self._pluggy.hook, hook).get_hookimpls():
            info = self._infos[implementation.plugin_name]
            arguments = {"thing": thing, **more}
            try:
                claimed = implementation.function(**{name: arguments[name] for name in implementation.argnames})
            except EmbedtuneError:
                raise  # it knew the object and refuses it, with a message for the user
            except Exception as error:
                failure = (info, error)
                continue
            if claimed is not None:
                claims.append((info, claimed))
        if len(claims) > 1:
            raise PluginConflictError(
                f"A {type(thing).__name__} is claimed by {' and '.join(str(info) for info, _ in claims)}. Disable "
                f"one of them by its entry-point name: {DISABLE_VARIABLE}=name."
            )
        if not claims and failure is not None:
            raise PluginLoadError(
                f"The plugin {failure[0]} failed on a {type(thing).__name__}: {failure[1]}"
            ) from failure[1]
        return claims[0][1] if claims else None

    def training_event(self, event: TrainingEvent) -> None:
        """Tell all plugins; an error in one is logged and goes no further."""
        for implementation in self._pluggy.hook.embedtune_training_event.get_hookimpls():
            try:
                implementation.function(event)
            except Exception:
                logger.exception("plugin %s failed on a training event", implementation.plugin_name)


def _named(row: object) -> object:
    if not isinstance(getattr(row, "name", None), str):
        raise TypeError(f"a row must have a name, as the classes of embedtune.plugins have; got {row!r:.80}")
    return row


def _distribution(point: EntryPoint) -> str:
    return f"{point.dist.name} {point.dist.version}" if point.dist is not None else "unknown distribution"
