"""Files of the parallel-training study: measured runs on A100 clusters, all-reduce tables, a text.

The runs and tables were published with the simulator vTrain as what it was validated against.
"""

from __future__ import annotations

from labkit.datasets.entry import Dataset

_VTRAIN = (
    "https://raw.githubusercontent.com/VIA-Research/vTrain/f8dda8473a48b373b1d25f51f52d685bff5150c5"
)
_CHAR_RNN = (
    "https://raw.githubusercontent.com/karpathy/char-rnn/6f9487a6fe5b420b7ca9afb0d7c078e37c1d1b4e"
)
_PAPER = "Bang et al., vTrain, MICRO 2024, arXiv:2312.12391"

# device, devices, bytes, sha256
_ALL_REDUCE = """\
a100 2 56570 ee8af71dc3e230d7d7d631d25952abd275cc9428677dc379016ba00f41bec1d0
a100 4 56676 f15f717ef367935e0d892e13426ddeaae134789a5b418586ea1073271392b120
a100 8 56700 ce464790da4e7913c91c889b0686f98c753a12dfa57e01e817515440c48bf420
v100 2 56478 fa768419a866b4f0538ed33f8d50a16e835668450d89e31649533127318cb891
v100 4 55758 f1c6987554bd78e33da11b08ea76d54eda79c89248a760b0ae337199aef22c33
v100 8 57366 df3fbc89c786840422ddd1eccee4f379ad9007fe3210232ee90b486137efb8a8
"""


def _runs(nodes: str, sha256: str, size: int, rows: int, summary: str) -> Dataset:
    """One table of measured training steps."""
    return Dataset(
        name=f"llm_parallel/vtrain_{nodes}",
        file=f"vtrain/ground_truth_{nodes}.csv",
        url=f"{_VTRAIN}/data/ground_truth_{nodes}.csv",
        sha256=sha256,
        url_sha256=sha256,
        size=size,
        rows=rows,
        summary=summary,
        license="MIT (vTrain)",
        citation=_PAPER,
    )


def _all_reduce(line: str) -> Dataset:
    """One table of all-reduce times, 1 MiB to 1 GiB."""
    device, devices, size, sha256 = line.split()
    return Dataset(
        name=f"llm_parallel/nccl_allreduce_{device}_{devices}",
        file=f"vtrain/{device}_allreduce_gpu{devices}.txt",
        url=f"{_VTRAIN}/trace/{device}/AR_GPU{devices}_1M_1024M_LUT",
        sha256=sha256,
        url_sha256=sha256,
        size=int(size),
        rows=1024,
        summary=f"NCCL all-reduce of {devices} {device.upper()} in a node, 1 MiB to 1 GiB",
        license="MIT (vTrain)",
        citation=_PAPER,
    )


LLM_PARALLEL_RUNS = (
    _runs(
        "multi",
        "bea3aa76f8198da40d4a1e8f3fea74d0e7760a85d51ef59d25719f5a55063cdb",
        5_300,
        109,
        "Measured GPT training steps, 3.6B to 175B on 64 to 512 A100",
    ),
    _runs(
        "single",
        "92589d1ff671e7294bd7585c2cc44df1ba044bad24bc01acb032fb8402314b47",
        58_476,
        1440,
        "Measured GPT training steps on 2 to 8 A100 of a node",
    ),
    *(_all_reduce(line) for line in _ALL_REDUCE.splitlines()),
    Dataset(
        name="llm_parallel/tinyshakespeare",
        file="text/tinyshakespeare.txt",
        url=f"{_CHAR_RNN}/data/tinyshakespeare/input.txt",
        sha256="86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed",
        url_sha256="86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed",
        size=1_115_394,
        rows=40_000,
        summary="Works of Shakespeare as one text, in lines",
        license="public domain text; repository MIT",
        citation="Karpathy, char-rnn, 2015",
    ),
)
