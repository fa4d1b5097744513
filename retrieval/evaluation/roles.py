"""Which of its splits a collection is measured on, by its role."""

from collections.abc import Container, Mapping

from retrieval.data.collection import Collection
from retrieval.errors import DataError

TEST, DEV = "test", "dev"
"""Splits; ``dev`` is the first part of the prefixes of dev metrics, too."""


def split_of_test(splits: Container[str]) -> str | None:
    """The test's: ``test``, else ``dev``, as of MS MARCO, whose test judgements are not public, else none."""
    return next((split for split in (TEST, DEV) if split in splits), None)


def split_of_dev(splits: Container[str]) -> str | None:
    """The in-domain dev set's: ``dev``, or none where it is missing or serves as the test."""
    return DEV if DEV in splits and split_of_test(splits) != DEV else None


def split_of_robust_dev(splits: Container[str]) -> str | None:
    """A robust-dev collection's, all of which is in this role: ``dev``, else ``test``, else none."""
    return DEV if DEV in splits else split_of_test(splits)


def evaluation_split(collection: Collection) -> str:
    """:func:`split_of_test` of a collection.

    Raises:
        DataError: It has none.
    """
    return _found(collection, split_of_test(collection.splits))


def dev_splits(
    in_domain: Collection, robust_dev: Mapping[str, Collection]
) -> dict[str, tuple[Collection, str]]:
    """Collection and split of each dev set: ``eff``, where there is one, and ``ood/<domain>``.

    Raises:
        DataError: A robust-dev collection has no split to evaluate on.
    """
    own = split_of_dev(in_domain.splits)
    chosen = {} if own is None else {"eff": (in_domain, own)}
    return chosen | {f"ood/{name}": at for name, at in robust_dev_splits(robust_dev).items()}


def robust_dev_splits(robust_dev: Mapping[str, Collection]) -> dict[str, tuple[Collection, str]]:
    """Collection and split of each robust-dev domain.

    Raises:
        DataError: One has no split to evaluate on.
    """
    return {
        name: (collection, _found(collection, split_of_robust_dev(collection.splits)))
        for name, collection in robust_dev.items()
    }


def _found(collection: Collection, split: str | None) -> str:
    if split is None:
        raise DataError(f"{collection.folder}: no split to evaluate on; add qrels/test.tsv or qrels/dev.tsv")
    return split
