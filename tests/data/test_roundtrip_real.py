"""Real cases: mask -> prepared slices -> original grid, Dice >= 0.98 for every single case."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from joblib import Parallel, delayed

from brainmtl.data.preprocessing.geometry import assemble_volume
from brainmtl.data.preprocessing.preprocess import frame_volume, prepare_mask
from brainmtl.data.records import CaseRef, Source
from brainmtl.data.sources import make_source

pytestmark = pytest.mark.real_data


def round_trip(source: Source, ref: CaseRef) -> tuple[str, float, float]:
    """Case, Dice of its mask after the way there and back, share of tumour outside the foreground."""
    case = source.load(ref)
    frame = frame_volume(case.image[0], case.spacing_mm, case.volume)
    wanted = [int(k) for k in np.flatnonzero(case.mask.any(axis=(0, 1)))]
    geometries = [frame.slice_geometry(k) for k in wanted]
    masks = [prepare_mask(case.mask[:, :, k], g) for k, g in zip(wanted, geometries, strict=True)]
    back = assemble_volume(geometries, masks)
    reference = case.volume.restore(case.mask)
    dice = 2 * (back & reference).sum() / (back.sum() + reference.sum())
    return ref.case_id, float(dice), float((case.mask & ~frame.foreground).sum() / case.mask.sum())


@pytest.mark.parametrize(("name", "cases"), [("brats", 40), ("lgg", 32)])
def test_every_mask_comes_back(real_data: Path, name: str, cases: int) -> None:
    source = make_source(name)
    refs, problems = source.discover(real_data / name)
    assert len(refs) == cases and not problems
    results = Parallel(n_jobs=2)(delayed(round_trip)(source, ref) for ref in refs)
    scores = [dice for _, dice, _ in results]
    print(f"{name}: Dice {min(scores):.4f}..{max(scores):.4f}")
    assert {case: dice for case, dice, _ in results if dice < 0.98} == {}
    # The foreground must hold the tumour: outside it a network sees a constant.
    assert {case: outside for case, _, outside in results if outside > 0.02} == {}
