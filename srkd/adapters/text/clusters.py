"""Families of classes where no hierarchy is given: classes whose documents use the same words."""

from __future__ import annotations

from collections.abc import Sequence

from srkd.errors import SrkdError


def families(texts: Sequence[str], labels: Sequence[str], count: int) -> dict[str, str]:
    """The family of each class, sorted by class; a family is named by its members, "cats+dogs".

    Each class is the mean of its documents' TF-IDF vectors, of length 1; Ward's clustering (J. Am. Stat. Assoc., 1963)
    joins them until `count` families are left. Nothing here is random.

    Raises:
        SrkdError: more families than classes, or no word in any document.
    """
    import numpy as np
    from scipy.cluster.hierarchy import fcluster, ward
    from sklearn.feature_extraction.text import TfidfVectorizer

    classes = sorted(set(labels))
    if not 1 <= count <= len(classes) or len(classes) < 2:
        raise SrkdError(f"data.clusters: {count} families of {len(classes)} classes cannot be made")
    try:
        vectors = TfidfVectorizer(sublinear_tf=True, max_features=20_000).fit_transform(texts)
    except ValueError as error:  # an empty vocabulary
        raise SrkdError(f"data.clusters: the training documents hold no words to tell classes by ({error})") from error
    known = np.asarray(labels)
    means = np.stack([np.asarray(vectors[known == name].mean(0))[0] for name in classes])
    means /= np.maximum(np.linalg.norm(means, axis=1, keepdims=True), 1e-12)
    numbers = fcluster(ward(means), count, "maxclust")
    names = {n: "+".join(c for c, m in zip(classes, numbers, strict=True) if m == n) for n in set(numbers)}
    return {name: names[number] for name, number in zip(classes, numbers, strict=True)}
