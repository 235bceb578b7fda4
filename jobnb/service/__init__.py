"""The service: one detached process per store and cluster that decides what runs, when, and again.

Run by ``python -m jobnb.service`` or, for a Dask object that cannot be handed over, in a thread of its owner.
It never runs user code and never unpickles anything.
"""
