"""Exponential backoff with full jitter.

Source: M. Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field

BASE_SECONDS = 0.1
CAP_SECONDS = 3.0


@dataclass
class Backoff:
    """Says how long to wait before the next try, and when to give up.

    Attributes:
        budget: Seconds of failing after which it gives up; success starts them anew.
    """

    budget: float
    rng: random.Random = field(default_factory=random.Random)
    clock: Callable[[], float] = time.monotonic
    _failures: int = 0
    _since: float = 0.0

    def succeeded(self) -> None:
        """Forgets the failures so far."""
        self._failures = 0

    def next_delay(self, at_least: float | None = None) -> float | None:
        """Returns the seconds to wait after a failure, or None when it is time to give up."""
        now = self.clock()
        if self._failures == 0:
            self._since = now
        if now - self._since >= self.budget:
            return None
        ceiling = min(CAP_SECONDS, BASE_SECONDS * 2**self._failures)
        self._failures = min(self._failures + 1, 16)
        return max(self.rng.uniform(0, ceiling), at_least or 0.0)
