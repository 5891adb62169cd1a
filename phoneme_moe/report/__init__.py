"""Routing reports: which experts of a run serve which speakers and phonemes.

The names exported here describe any routing table, including one of data other than speech
(``RoutingTable.of_labels``); ``report.run`` reports on a run folder.
"""

from phoneme_moe.report.collect.table import RoutingTable
from phoneme_moe.report.statistics import RoutingReport, summarize
from phoneme_moe.report.terminal import routing_table_text
from phoneme_moe.report.verdict import verdict

__all__ = ["RoutingReport", "RoutingTable", "routing_table_text", "summarize", "verdict"]
