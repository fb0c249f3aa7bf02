"""Where a stage's time goes."""

import contextlib
import dataclasses
import time
from collections.abc import Iterator, Sequence

from kdgan.run.population import Population


@dataclasses.dataclass
class Phases:
    """Seconds that a stage spent outside of its steps; what its populations spent inside is their own."""

    evaluate: float = 0.0
    save: float = 0.0

    @contextlib.contextmanager
    def timed(self, name: str) -> Iterator[None]:
        """Add what happens inside to the phase `name`."""
        started = time.monotonic()
        yield
        setattr(self, name, getattr(self, name) + time.monotonic() - started)

    def of_all(self, populations: Sequence[Population]) -> dict[str, float]:
        """Phase -> seconds: data (making host batches), step (their compilation included), evaluate, save."""
        data = sum(population.data_seconds for population in populations)
        steps = sum(population.seconds for population in populations) - data
        return {"data": data, "step": steps, **dataclasses.asdict(self)}
