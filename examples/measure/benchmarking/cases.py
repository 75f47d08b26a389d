"""What is measured."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Case:
    method: str  # of benchmarking.methods.METHODS
    backend: str
    width: int
    batch: int = 512
    precision: str = "float32"

    def __str__(self):
        return (
            f"{self.method} ({self.backend}), width {self.width}, "
            f"batch {self.batch}, {self.precision}"
        )
