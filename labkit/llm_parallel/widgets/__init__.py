"""Views with controls; `explorers` are for notebooks, `controls` what they are made of."""

from labkit.llm_parallel.widgets.explorers import (
    ScheduleExplorer,
    StrategyExplorer,
    schedule_explorer,
    strategy_explorer,
)

__all__ = ["ScheduleExplorer", "StrategyExplorer", "schedule_explorer", "strategy_explorer"]
