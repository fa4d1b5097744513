"""The public sets of BEIR: archive, checksum, splits, and what evaluation has to know of each.

Checksums and splits are those of the table in BEIR's README (beir-cellar/beir). An archive that has been
replaced since, as those of fever and webis-touche2020 once were, does not match and is refused.
"""

from dataclasses import dataclass

BASE_URL = "https://public.ukp.informatik.tu-darmstadt.de/thakur/BEIR/datasets"
_FORUMS = (
    "android", "english", "gaming", "gis", "mathematica", "physics",
    "programmers", "stats", "tex", "unix", "webmasters", "wordpress",
)  # fmt: skip


@dataclass(frozen=True)
class BeirSet:
    """One set; the archive of ``name`` holds it in a folder of the same name."""

    name: str
    md5: str
    """Of the archive."""
    megabytes: int
    """Size of the archive."""
    splits: tuple[str, ...]
    """Splits that are used; all of them but MS MARCO's ``test``, which are the 43 queries of TREC DL 2019."""
    evaluated: str = "test"
    """The split that results are published for."""
    drop_identical: bool = False
    """Queries are passages of the corpus: the passage with the query's own id never counts."""
    archive: str = ""
    """Name of the archive where it is not the set's."""
    folder: str = ""
    """Folder in the archive where it is not the set's name."""

    @property
    def file(self) -> str:
        """File name of the archive."""
        return f"{self.archive or self.name}.zip"


_TRAIN_DEV_TEST, _TRAIN_TEST, _DEV_TEST, _TEST = (
    ("train", "dev", "test"), ("train", "test"), ("dev", "test"), ("test",),
)  # fmt: skip
_SETS = (
    BeirSet("msmarco",          "444067daf65d982533ea17ebd59501e4", 1082, ("train", "dev"), evaluated="dev"),
    BeirSet("trec-covid",       "ce62140cb23feb9becf6270d0d1fe6d1",   74, _TEST),
    BeirSet("nfcorpus",         "a89dba18a62ef92f7d323ec890a0d38d",    2, _TRAIN_DEV_TEST),
    BeirSet("nq",               "d4d3d2e48787a744b6f6e691ff534307",  498, _TEST),
    BeirSet("hotpotqa",         "f412724f78b0d91183a0e86805e16114",  654, _TRAIN_DEV_TEST),
    BeirSet("fiqa",             "17918ed23cd04fb15047f73e6c3bd9d9",   18, _TRAIN_DEV_TEST),
    BeirSet("arguana",          "8ad3e3c2a5867cdced806d6503f29b99",    4, _TEST, drop_identical=True),
    BeirSet("webis-touche2020", "46f650ba5a527fc69e0a6521c5a23563",  227, _TEST),
    BeirSet("quora",            "18fb154900ba42a600f84b839c173167",   16, _DEV_TEST, drop_identical=True),
    BeirSet("dbpedia-entity",   "c2a39eb420a3164af735795df012ac2c",  639, _DEV_TEST),
    BeirSet("scidocs",          "38121350fc3a4d2f48850f6aff52e4a9",  142, _TEST),
    BeirSet("fever",            "5a818580227bfb4b35bb6fa46d9b6c03", 1237, _TRAIN_DEV_TEST),
    BeirSet("climate-fever",    "8b66f0a9126c521bae2bde127b4dc99d", 1229, _TEST),
    BeirSet("scifact",          "5f7d1de60b170fc8027bb7898e2efca1",    3, _TRAIN_TEST),
    *(
        BeirSet(f"cqadupstack-{forum}", "4e41456d7df8ee7760a7f866133bda78", 5344, _TEST,
                archive="cqadupstack", folder=f"cqadupstack/{forum}")
        for forum in _FORUMS
    ),
)  # fmt: skip

BEIR_SETS: dict[str, BeirSet] = {row.name: row for row in _SETS}
"""Name -> set. The twelve forums of CQADupStack share one archive; BEIR reports their mean."""
