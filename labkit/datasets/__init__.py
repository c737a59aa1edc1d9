"""Real data sets by name: where they are on this machine, and how to get them.

A data set is looked for in this order:

1. ``LABKIT_DATA/<study>/<file>``: a folder prepared by hand, for machines without a network;
2. the cache (``LABKIT_CACHE``, else the operating system's cache folder), laid out in the same way;
3. its source on the network, after which it is in the cache.

Whatever is found is compared with the registered checksum before its path is handed out, so a
study never computes with a truncated or edited file without knowing.

>>> from labkit import datasets
>>> datasets.get("sider").name
'oversampling/sider'
>>> datasets.get("sider").rows
1427
"""

from __future__ import annotations

from labkit.datasets.download import fetch, path
from labkit.datasets.local import DatasetStatus, cache_folder, data_folder, status, verify
from labkit.datasets.registry import REGISTRY, Dataset, get, names

__all__ = [
    "REGISTRY",
    "Dataset",
    "DatasetStatus",
    "cache_folder",
    "data_folder",
    "fetch",
    "get",
    "names",
    "path",
    "status",
    "verify",
]
