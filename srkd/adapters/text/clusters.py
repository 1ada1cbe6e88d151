"""Families of classes by clustering, if no hierarchy is given: classes whose documents use similar words."""

from __future__ import annotations

from collections.abc import Sequence

from srkd.errors import SrkdError


def families(texts: Sequence[str], labels: Sequence[str], count: int) -> dict[str, str]:
    """The family of each class, sorted by class; a family is named after its members, for example "cats+dogs".

    Each class is represented by the normalised mean of the TF-IDF vectors of its documents; Ward's clustering (J. Am.
    Stat. Assoc., 1963) merges them into `count` families. Deterministic.

    Raises:
        SrkdError: `count` is less than 1 or more than the number of classes, or the documents have no words.
    """
    import numpy as np
    from scipy.cluster.hierarchy import fcluster, ward
    from sklearn.feature_extraction.text import TfidfVectorizer

    classes = sorted(set(labels))
    if not 1 <= count <= len(classes) or len(classes) < 2:
        raise SrkdError(f"data.clusters: cannot form {count} families of {len(classes)} classes")
    try:
        vectors = TfidfVectorizer(sublinear_tf=True, max_features=20_000).fit_transform(texts)
    except ValueError as error:  # an empty vocabulary
        raise SrkdError(f"data.clusters: the training documents have no words to cluster by ({error})") from error
    known = np.asarray(labels)
    means = np.stack([np.asarray(vectors[known == name].mean(0))[0] for name in classes])
    means /= np.maximum(np.linalg.norm(means, axis=1, keepdims=True), 1e-12)
    numbers = fcluster(ward(means), count, "maxclust")
    names = {n: "+".join(c for c, m in zip(classes, numbers, strict=True) if m == n) for n in set(numbers)}
    return {name: names[number] for name, number in zip(classes, numbers, strict=True)}
