"""Labels as a PyTorch data set: one epoch of walks per pass."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

_LABEL = "NeuralOperatorLabels.dataset"


@functools.cache
def label_dataset() -> Any:
    """The data set class. Requires PyTorch."""
    import torch
    from torch.utils.data import IterableDataset, get_worker_info

    class LabelDataset(IterableDataset):  # type: ignore[misc]
        def __init__(self, labels: Any, inputs: tuple[Any, ...], shuffle: bool, count: int) -> None:
            self.labels, self.shuffle, self.count = labels, shuffle, count
            self.inputs = tuple(torch.as_tensor(x) for x in inputs)
            for k, x in enumerate(self.inputs):
                if x.ndim == 0 or len(x) != count:
                    raise ValueError(f"{_LABEL}: inputs[{k}] has shape {tuple(x.shape)}, expected ({count}, ...), one entry per label")

        def __len__(self) -> int:
            return self.count

        def __iter__(self) -> Iterator[tuple[Any, ...]]:
            if get_worker_info() is not None:
                raise RuntimeError(
                    f"{_LABEL}: a worker of a DataLoader would not share its walks; pass num_workers=0, because walks use threads anyway"
                )
            result = self.labels.epoch()
            columns = (*self.inputs, torch.as_tensor(result.value), torch.as_tensor(result.stderr))
            order = torch.randperm(self.count) if self.shuffle else torch.arange(self.count)
            for i in order.tolist():
                yield tuple(column[i] for column in columns)

    return LabelDataset
