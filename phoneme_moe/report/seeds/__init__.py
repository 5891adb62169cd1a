"""Routing reports of several runs of one recipe, which differ in their seed, in one."""
