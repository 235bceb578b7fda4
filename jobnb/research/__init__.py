"""The backtest engine: bars, strategies, one compiled kernel, parameter sweeps and their results.

Nothing is imported here, so that a front door takes only what it needs.
"""
