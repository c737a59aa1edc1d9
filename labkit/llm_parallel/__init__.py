"""The best parallel strategy for training a large language model: predicted, explained, run.

Each layer imports only those before it::

    config, models, system  ->  columns  ->  rules, outcome
    ->  flops, parameters, network, schedule  ->  memory  ->  layers  ->  cost
    ->  runs, calibrate  ->  space, search, tune, sensitivity  ->  scaling
    runtime (torch), estimate, export  use config and rules
    ->  study  ->  plots  ->  widgets
"""
