"""Pictures of the page against those kept in the repository: alike enough, whatever the machine's fonts.

A kept picture is a quarter of the size of what was seen. It is compared in tiles, each where it fits best within a few
pixels: letters that are drawn a little differently, or a line that stands a little lower, are no difference; a panel
that is gone, a map in other colours or a part in another place is.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

KEPT = Path(__file__).parent / "pictures"
SHARE = 4
TILE, SHIFT = 16, 5
DIFFERENT = 16.0
"""From which difference, of 255, a tile is another one."""
MOST_TILES = 0.005
MOST_HEIGHT = 0.04


@dataclass(frozen=True)
class Difference:
    """How a picture differs from the one kept: the share of tiles that are others, the worst, and the heights."""

    tiles: float
    worst: float
    where: tuple[int, int]
    heights: tuple[int, int]

    @property
    def small(self) -> bool:
        """Whether the two show the same."""
        kept, seen = self.heights
        return self.tiles <= MOST_TILES and abs(kept - seen) <= MOST_HEIGHT * kept

    def __str__(self) -> str:
        x, y = (SHARE * TILE * i for i in self.where)
        return (
            f"{self.tiles:.1%} of the tiles differ, most at {x}, {y} (by {self.worst:.0f} of 255); "
            f"heights {self.heights[0] * SHARE} kept, {self.heights[1] * SHARE} seen"
        )


def small(path: Path) -> Image.Image:
    """Return what was seen at a quarter of its size, in few colours, as it is kept."""
    with Image.open(path) as seen:
        size = (seen.width // SHARE, seen.height // SHARE)
        return seen.convert("RGB").resize(size, Image.Resampling.BOX).quantize(64, dither=Image.Dither.NONE)


def keep(path: Path, name: str) -> None:
    """Keep a picture as the one to compare with."""
    KEPT.mkdir(exist_ok=True)
    small(path).save(KEPT / f"{name}.png", optimize=True)


def read(path: Path) -> np.ndarray:
    """Return a picture's colours, [y, x, colour]."""
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB"), dtype=float)


def compare(path: Path, name: str) -> Difference:
    """Return how what was seen differs from the picture kept under a name; without one it is an AssertionError."""
    kept = KEPT / f"{name}.png"
    assert kept.is_file(), f"no picture {name} is kept; look at {path} and run `make pictures`."
    with Image.open(kept) as picture:
        return differ(
            np.asarray(picture.convert("RGB"), dtype=float), np.asarray(small(path).convert("RGB"), dtype=float)
        )


def differ(kept: np.ndarray, seen: np.ndarray) -> Difference:
    """Compare two pictures [y, x, colour] tile by tile, each tile of the first where it fits best in the second.

    A tile is told by its mean colour and by how much its lightness varies: letters of another font vary as much.
    """
    height, width = (max(sizes) for sizes in zip(kept.shape[:2], seen.shape[:2], strict=True))
    first, second = (_framed(each, height, width, kept[0, 0]) for each in (kept, seen))
    told = _tiles(first[SHIFT : SHIFT + height, SHIFT : SHIFT + width])
    best = np.full(told.shape[:2], np.inf)
    for down in range(2 * SHIFT + 1):
        for right in range(2 * SHIFT + 1):
            moved = _tiles(second[down : down + height, right : right + width])
            best = np.minimum(best, np.abs(told - moved).max(2))
    where = np.unravel_index(int(best.argmax()), best.shape)
    place = (int(where[1]), int(where[0]))
    return Difference(float((best > DIFFERENT).mean()), float(best.max()), place, (kept.shape[0], seen.shape[0]))


def _framed(picture: np.ndarray, height: int, width: int, ground: np.ndarray) -> np.ndarray:
    """Return the picture on a ground of that size, with room to move all around it."""
    whole = np.broadcast_to(ground, (height + 2 * SHIFT, width + 2 * SHIFT, 3)).copy()
    whole[SHIFT : SHIFT + picture.shape[0], SHIFT : SHIFT + picture.shape[1]] = picture
    return whole


def _tiles(picture: np.ndarray) -> np.ndarray:
    """Return [row, column, (red, green, blue, deviation of the lightness)] of tiles."""
    rows, columns = (size // TILE for size in picture.shape[:2])
    cut = picture[: rows * TILE, : columns * TILE].reshape(rows, TILE, columns, TILE, 3)
    return np.concatenate([cut.mean((1, 3)), cut.mean(4).std((1, 3))[..., None]], axis=2)
