"""The demo: a retrieval task of the user's own Python, tuned and measured, with no network and no key."""

from embedtune.demo.packaged_model import packaged_minilm
from embedtune.demo.run import DEFAULT_FUNCTIONS, DemoResult, run_demo
from embedtune.demo.standard_library import standard_library_task

__all__ = ["DEFAULT_FUNCTIONS", "DemoResult", "packaged_minilm", "run_demo", "standard_library_task"]
