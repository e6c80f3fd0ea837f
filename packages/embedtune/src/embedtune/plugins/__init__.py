"""Hooks, what they yield, and the manager that asks them."""

from embedtune.plugins.backends import (
    DatasetFormat,
    EmbedderBackend,
    IndexedEngine,
    LLMBackend,
    RerankerBackend,
    SearchBackend,
    SearchEngine,
    TrainingEvent,
    TunerBackend,
)
from embedtune.plugins.hookspecs import hookimpl
from embedtune.plugins.manager import PluginManager, plugin_manager
from embedtune.plugins.registry import PluginInfo

__all__ = [
    "DatasetFormat",
    "EmbedderBackend",
    "IndexedEngine",
    "LLMBackend",
    "PluginInfo",
    "PluginManager",
    "RerankerBackend",
    "SearchBackend",
    "SearchEngine",
    "TrainingEvent",
    "TunerBackend",
    "hookimpl",
    "plugin_manager",
]
