"""Which split of a collection is measured, by the collection's role."""

from collections.abc import Container, Mapping

from retrieval.data.collection import Collection
from retrieval.errors import DataError

TEST, DEV = "test", "dev"


def tested_split(splits: Container[str]) -> str | None:
    """``test``, or ``dev`` of a collection whose test judgements are not public (MS MARCO)."""
    return next((split for split in (TEST, DEV) if split in splits), None)


def dev_split(splits: Container[str]) -> str | None:
    """That of the in-domain collection: ``dev``, unless it serves as its test."""
    return DEV if DEV in splits and tested_split(splits) != DEV else None


def robust_dev_split(splits: Container[str]) -> str | None:
    """``dev``, or ``test`` where there is none: all of a robust-dev collection is in this role."""
    return DEV if DEV in splits else tested_split(splits)


def evaluation_split(collection: Collection) -> str:
    """:func:`tested_split` of a collection.

    Raises:
        DataError: It has none.
    """
    return _found(collection, tested_split(collection.splits))


def dev_splits(
    in_domain: Collection, robust_dev: Mapping[str, Collection]
) -> dict[str, tuple[Collection, str]]:
    """Collection and split of each dev set: ``eff``, where there is one, and ``ood/<domain>``.

    Raises:
        DataError: A robust-dev collection has no split to evaluate on.
    """
    own = dev_split(in_domain.splits)
    chosen = {} if own is None else {"eff": (in_domain, own)}
    return chosen | {f"ood/{name}": at for name, at in robust_dev_splits(robust_dev).items()}


def robust_dev_splits(robust_dev: Mapping[str, Collection]) -> dict[str, tuple[Collection, str]]:
    """Collection and split of each robust-dev domain.

    Raises:
        DataError: One has no split to evaluate on.
    """
    return {
        name: (collection, _found(collection, robust_dev_split(collection.splits)))
        for name, collection in robust_dev.items()
    }


def _found(collection: Collection, split: str | None) -> str:
    if split is None:
        raise DataError(f"{collection.folder}: no split to evaluate on; add qrels/test.tsv or qrels/dev.tsv")
    return split
