"""Routing reports: what the experts of a run do for which speakers and phonemes.

The names here describe any routing table, also one of data that are not speech
(``RoutingTable.of_labels``); ``report.run`` reports on a run folder.
"""

from phoneme_moe.report.collect.table import RoutingTable
from phoneme_moe.report.statistics import RoutingReport, summarize
from phoneme_moe.report.terminal import routing_table_text
from phoneme_moe.report.verdict import verdict

__all__ = ["RoutingReport", "RoutingTable", "routing_table_text", "summarize", "verdict"]
