"""A comparison as files that a person, a program or trec_eval reads.

``write_report(comparison, dataset, "report")`` writes all of them, `write_page` the HTML page alone; `markdown` and
`write_trec` need no extra.
"""

from embedtune.report.in_markdown import markdown
from embedtune.report.trec import write_trec
from embedtune.report.writing import check_report_folder, write_page, write_report

__all__ = ["check_report_folder", "markdown", "write_page", "write_report", "write_trec"]
