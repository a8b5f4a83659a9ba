"""What a line looked like when it was well: small enough to live in a snapshot's manifest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.drift.features import FeatureStatistics, input_series
from service.drift.predictions import prediction_series
from service.drift.series import FEWEST_ROWS, UNWATCHED, SeriesStatistics, require_rows

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Reference:
    """The reference of one model: its inputs, and where known its outputs and its loss.

    >>> rng = np.random.default_rng(0)
    >>> reference = Reference.of(rng.normal(size=(2000, 2)), names=["temp_c", "bar"])
    >>> Reference.from_dict(reference.to_dict()).features.names
    ('temp_c', 'bar')
    """

    rows: int
    features: FeatureStatistics
    inputs: SeriesStatistics
    predictions: SeriesStatistics | None = None
    loss: SeriesStatistics | None = None

    @classmethod
    def of(
        cls,
        x: NDArray[np.floating],
        names: Sequence[str],
        probabilities: NDArray[np.floating] | None = None,
        loss: NDArray[np.floating] | None = None,
    ) -> Reference:
        """From recent rows in order of arrival.

        `x` `(n, F)` raw readings, NaN for missing; `probabilities` `(n, K)` (or a regression's
        outputs); `loss` `(n,)`, NaN or absent where unlabelled. The loss is left out of the
        reference where fewer than `FEWEST_ROWS` are known. Raises ReferenceTooShortError.
        """
        require_rows(len(x))
        readings: Array = np.asarray(x, dtype=np.float64)
        features = FeatureStatistics.of(readings, names)
        series, _ = input_series(features, readings, np.full((1, readings.shape[1]), np.nan))
        known = None if loss is None else np.asarray(loss, dtype=np.float64)
        known = None if known is None else known[np.isfinite(known)][:, None]
        enough = known is not None and len(known) >= FEWEST_ROWS
        return cls(
            len(readings),
            features,
            SeriesStatistics.of(series),
            None
            if probabilities is None
            else SeriesStatistics.of(prediction_series(np.asarray(probabilities, np.float64))),
            SeriesStatistics.of(known) if known is not None and enough else None,
        )

    @property
    def unwatched(self) -> list[str]:
        """Sensors whose readings then were such that nothing can be held against them."""
        count = len(self.features.names)
        lost = (self.inputs.spread >= UNWATCHED).reshape(-1, count)
        return [n for i, n in enumerate(self.features.names) if lost[:, i].any()]

    def to_dict(self) -> dict[str, Any]:
        """JSON-serialisable: about 3 kB a feature."""
        return {
            "rows": self.rows,
            "features": self.features.to_dict(),
            "inputs": self.inputs.to_dict(),
            "predictions": self.predictions and self.predictions.to_dict(),
            "loss": self.loss and self.loss.to_dict(),
        }

    @classmethod
    def from_dict(cls, plain: dict[str, Any]) -> Reference:
        """The inverse of `to_dict`. Raises KeyError where a field is absent."""
        optional = {
            k: SeriesStatistics.from_dict(plain[k]) if plain[k] else None
            for k in ("predictions", "loss")
        }
        return cls(
            plain["rows"],
            FeatureStatistics.from_dict(plain["features"]),
            SeriesStatistics.from_dict(plain["inputs"]),
            **optional,
        )
