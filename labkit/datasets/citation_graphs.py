"""Files of the citation graphs: Planetoid's public split, and what ORNL's spiking study reads.

``ind.pubmed.allx`` (the words of Pubmed's training papers) is not registered: without a copy to
take a checksum from, nobody could tell whether a download is the right file.
"""

from __future__ import annotations

from labkit.datasets.entry import Dataset

_PLANETOID = (
    "https://raw.githubusercontent.com/kimiyoung/planetoid/"
    "af6abf468a772cc055bec88c52e4d6f51b7c37e3/data"
)
_SGNN = (
    "https://raw.githubusercontent.com/prasannadate/sgnn-superneuro/"
    "ec2c5367cc42b1da2c7b1bdc7538ab3928807c35/data"
)
_LINQS_PAPER = "Sen et al., AI Magazine 29 (2008) 93-106, doi:10.1609/aimag.v29i3.2157"

# graph, part, bytes, records, sha256
_PLANETOID_FILES = """\
cora allx 257305 1708 9419ba2f26f5c35243db64aba110e0f35a04851609e0dc5433450676ca6b8543
cora tx 148025 1000 b9afbaa4a400df991f6f02ef677e1e44da55ffc04801fd02f9e673987829226a
cora y 4054 140 94465c14eb53e04ca262198dcbb2521ee8af60fb3f3d546cd6ca24a511b0e7d1
cora ally 47959 1708 2b998f5cc7fedc86e7f97ca2498f47a1ffc1462c29e2d578b23bf3f62b6e7d71
cora ty 28135 1000 41f5ac76596a1699cc33f53084a2419e92961c42bb75f36fc38e616d348532ad
cora graph 59847 2708 58f13302f39dde8852dad6fe6d15b89b077b6d7f837626bce671ef80344b383d
cora test.index 5000 1000 297ce89af2b51a6a194181c7dbe1796c6a1cf9cd9349a88383b1b1e227867875
citeseer allx 595021 2312 2ac30345d95c9ec933a817ee0bdd6a5f077f8c184a20e696910192d534414668
citeseer tx 260321 1000 539a8906a2da97628d212f2fdd668c109a8b3f0d36574b59e5d3fd5b5303da21
citeseer y 3014 120 8ba87e515d8e3ee3cf52f6d2c5b86aa73f11ecad825a808455209ec26cd54924
citeseer ally 55623 2312 f704b2d986dde6c2669934de1f3ae5696a6cf9455c0f6b2646a2d135ea0a1c95
citeseer ty 24135 1000 55e5bd1ba1e733a04598753ad1a8d57957f4b8f89e74519f41f4f4938767e4ce
citeseer graph 61987 3327 d79a4ef9d3e7169aee8946145f6b7306e35bc79bffad26346cfb94e10e9912a7
citeseer test.index 5000 1000 2af990671580b6b2df5d158d1038f8292e30c9cd821b5453f399659b25b723d4
pubmed y 854 60 e6c807633307a07ed659249006536a147c7999c797f11a2560752990181b41b3
pubmed ally 224739 18717 0c37bbe3b5014ec365e9d393cf4791925e5ed94fb194305d74f064a8d7b50f0e
pubmed ty 12135 1000 ee2e0d4819d9fbcc403689c3bf2e49face401b605932f093bc58ab6461130fdd
pubmed graph 471808 19717 5b89f0036ca22909471f1e6558eb42fa06e0c730a577bde5b058b40638f81dc9
pubmed test.index 6000 1000 b101d421688bbaecbd82e8a18f1e282378d6830f3a37666f28ebc47f844341b5
"""
_PARTS = {
    "allx": "words of all papers but the test papers",
    "tx": "words of the test papers",
    "y": "topics of the training papers",
    "ally": "topics of all papers but the test papers",
    "ty": "topics of the test papers",
    "graph": "citations",
    "test.index": "numbers of the test papers",
}


def _planetoid(line: str) -> Dataset:
    """One file of the public split of a citation graph."""
    graph, part, size, rows, sha256 = line.split()
    return Dataset(
        name=f"spiking/planetoid_{graph}_{part.replace('.', '_')}",
        file=f"planetoid/ind.{graph}.{part}",
        url=f"{_PLANETOID}/ind.{graph}.{part}",
        sha256=sha256,
        url_sha256=sha256,
        size=int(size),
        rows=int(rows),
        summary=f"{graph.capitalize()}: {_PARTS[part]}",
        license="MIT (Planetoid)",
        citation=f"Yang et al., ICML 2016, PMLR 48:40-48; {_LINQS_PAPER}",
    )


def _linqs(
    name: str, file: str, source: str, sha256: str, size: int, rows: int, summary: str
) -> Dataset:
    """One file of the citation graphs that the spiking graph network was published with."""
    return Dataset(
        name=f"spiking/{name}",
        file=file,
        url=f"{_SGNN}/{source}",
        sha256=sha256,
        url_sha256=sha256,
        size=size,
        rows=rows,
        summary=summary,
        license="none stated (LINQS); repository BSD 3-Clause",
        citation=f"{_LINQS_PAPER}; Cong et al., ICONS 2022",
    )


CITATION_GRAPHS = (
    *(_planetoid(line) for line in _PLANETOID_FILES.splitlines()),
    _linqs(
        "linqs_cora_edges",
        "linqs/cora_edges.csv",
        "Cora/edges.csv",
        "24ccbe41ca9cb8bc54296b377481b93912b992c28caa10217b8dfaf777c9a52a",
        69_928,
        5429,
        "Cora: citations as pairs of paper ids",
    ),
    _linqs(
        "linqs_cora_topics",
        "linqs/cora_group-edges.csv",
        "Cora/group-edges.csv",
        "0baea493eeef92cd3f4d8acfb8cd55e3908d3ba260f70572bdd50a4cf8d8154d",
        62_299,
        2708,
        "Cora: topic of each paper, in the order of the random split",
    ),
    _linqs(
        "microseer_content",
        "microseer/microseer.content",
        "microseer/microseer.content",
        "ed38da13f17d7e95f2fe7e42c30f94f068ca3d853a904943c425041e93486143",
        623_667,
        84,
        "84 papers of Citeseer: words and topic",
    ),
    _linqs(
        "microseer_cites",
        "microseer/microseer.cites",
        "microseer/microseer.cites",
        "da418c01ab24f5ae947fdbc5029f5f836ca19d52867a2b6b69e13cf2c724cf2c",
        2_448,
        86,
        "84 papers of Citeseer: citations",
    ),
    _linqs(
        "microseer_indices",
        "microseer/microseer.indices",
        "microseer/microseer.indices",
        "b629be943248173683d3931fd6f5f8f2b0ffe722e42f7c86f0afc52c2b56b396",
        1_336,
        3,
        "84 papers of Citeseer: training and test papers",
    ),
)
