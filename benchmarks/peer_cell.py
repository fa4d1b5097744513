"""One cell as a script of sentence-transformers does it: a program of its own, as in a shell loop.

``python -m benchmarks.peer_cell FOLDER MODEL FRACTION STRATEGY STEPS PRECISION``: BEIR folders ``train-*``
and ``test-*`` below ``FOLDER``, the untrained model ``FOLDER/MODEL``. Trains with
MultipleNegativesRankingLoss, for ``pareto`` with batches of the robust-training domains in turn, measures
every test set with InformationRetrievalEvaluator, and prints nDCG@10. ``PRECISION`` is ``32``, or ``bf16``:
it trains in it, and the trained model is cast to it before it is measured.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

BATCH = 64


def _read(folder: Path, split: str) -> tuple[dict[str, str], dict[str, str], dict[str, set[str]]]:
    from beir.datasets.data_loader import GenericDataLoader

    corpus, queries, qrels = GenericDataLoader(str(folder)).load(split)
    texts = {key: f"{value['title']} {value['text']}".strip() for key, value in corpus.items()}
    return texts, queries, {query: set(judged) for query, judged in qrels.items()}


def _pairs(folder: Path, fraction: float) -> Any:
    from datasets import Dataset

    corpus, queries, relevant = _read(folder, "train")
    pairs = [(queries[query], corpus[one]) for query in relevant for one in relevant[query]]
    chosen = np.random.default_rng(1).permutation(len(pairs))[: max(BATCH, int(fraction * len(pairs)))]
    return Dataset.from_dict(
        {"query": [pairs[row][0] for row in chosen], "passage": [pairs[row][1] for row in chosen]}
    )


def _train(folder: Path, name: str, fraction: float, strategy: str, steps: int, precision: str) -> Any:
    from sentence_transformers import (
        SentenceTransformer,
        SentenceTransformerTrainer,
        SentenceTransformerTrainingArguments,
    )
    from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss

    model = SentenceTransformer(str(folder / name), device="cpu")
    data = {"in-domain": _pairs(folder / "train-in-domain", fraction)}
    if strategy == "pareto":
        others = [one for one in sorted(folder.glob("train-*")) if one.name != "train-in-domain"]
        data |= {one.name: _pairs(one, 1.0) for one in others}
    arguments = SentenceTransformerTrainingArguments(
        output_dir=str(folder / "output"),
        max_steps=steps,
        per_device_train_batch_size=BATCH,
        multi_dataset_batch_sampler="round_robin" if len(data) > 1 else "proportional",
        bf16=precision == "bf16",
        use_cpu=True,
        report_to="none",
        save_strategy="no",
        logging_strategy="no",
        disable_tqdm=True,
    )
    SentenceTransformerTrainer(
        model=model, args=arguments, train_dataset=data, loss=MultipleNegativesRankingLoss(model)
    ).train()
    return model


def main() -> None:
    """Train and measure."""
    from sentence_transformers.sentence_transformer.evaluation import InformationRetrievalEvaluator

    place, name, fraction, strategy, steps, precision = sys.argv[1:]
    folder = Path(place)
    model = _train(folder, name, float(fraction), strategy, int(steps), precision)
    if precision == "bf16":
        model.bfloat16()
    found = {}
    for test in sorted(folder.glob("test-*")):
        corpus, queries, relevant = _read(test, "test")
        evaluator = InformationRetrievalEvaluator(
            queries,
            corpus,
            relevant,
            name=test.name,
            ndcg_at_k=[10],
            mrr_at_k=[10],
            precision_recall_at_k=[100],
        )
        values = evaluator(model)
        found[test.name] = next(value for key, value in values.items() if key.endswith("ndcg@10"))
    print(json.dumps(found))


if __name__ == "__main__":
    main()
