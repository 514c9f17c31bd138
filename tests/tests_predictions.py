"""A made-up world: cases, hold-out and members' predictions with known truth, for figures and ensemble."""

import numpy as np
import pandas as pd

from dermaflow.evaluate.members import Member
from dermaflow.taxonomy import DIAGNOSES, NINE, SITES

SHARES = np.array([0.15, 0.4, 0.1, 0.05, 0.1, 0.03, 0.03, 0.04, 0.1])
CENTRES = np.array(["HAM", "BCN", "MSK", "SIIM"])


def made_cases(rng, n=600, folds=3, shares=SHARES):
    """Cases and hold-out; two images a group, patient fields with gaps, centre tied to size and class."""
    groups = np.arange(n) // 2
    diagnosis = np.array(DIAGNOSES)[rng.choice(9, n, p=shares)]
    hold_out = groups % 5 == 0
    centre = np.where(diagnosis == "UNK", "SIIM", CENTRES[rng.integers(0, 3, n)])
    width = pd.Series(centre).map({"HAM": 600, "BCN": 1024, "MSK": 2000, "SIIM": 6000}).to_numpy()
    age = rng.integers(2, 18, n) * 5.0
    cases = pd.DataFrame(
        {
            "image_id": [f"ISIC_{i:07d}" for i in range(n)],
            "release": np.where(centre == "SIIM", "isic2020", "isic2019"),
            "store": "isic2019",
            "diagnosis": pd.Series(diagnosis, dtype=object).where(~hold_out, None),
            "group": groups.astype(np.int32),
            "split": np.where(hold_out, "hold_out", "train"),
            "fold": np.where(hold_out, -1, groups % folds).astype(np.int8),
            "why_dropped": None,
            "age_years": np.where(rng.random(n) < 0.1, np.nan, age).astype(np.float32),
            "sex": pd.Series(rng.choice(["female", "male"], n), dtype=object).where(
                rng.random(n) < 0.95, None
            ),
            "site": rng.choice(SITES, n),
            "centre": centre,
            "width": width,
            "height": (width * 0.75).astype(int),
        }
    )
    dropped = cases.iloc[:3].assign(
        image_id=["ISIC_D1", "ISIC_D2", "ISIC_D3"],
        split="dropped",
        group=-1,
        fold=-1,
        why_dropped="duplicate",
    )
    holdout = pd.DataFrame(
        {"image_id": cases.image_id[hold_out], "diagnosis": diagnosis[hold_out]}
    ).reset_index(drop=True)
    return pd.concat([cases, dropped], ignore_index=True), holdout


def made_funnel(cases, holdout):
    """Rows as in splits/funnel.csv."""
    known = cases.merge(holdout.rename(columns={"diagnosis": "hidden"}), on="image_id", how="left")
    known["diagnosis"] = known.diagnosis.fillna(known.hidden)
    dropped = known.split == "dropped"
    steps = [("listed", known), ("dropped: duplicate", known[dropped])]
    steps += [(name, known[known.split == name]) for name in ("hold_out", "train")]
    counted = [
        rows.groupby(["release", "diagnosis"]).size().rename("images").reset_index().assign(step=step)
        for step, rows in steps
    ]
    return pd.concat(counted, ignore_index=True)[["step", "release", "diagnosis", "images"]]


def made_member(rng, cases, holdout, model="a", fold=0, *, drawn=None, skill=2.0, noise=0.5, view=NINE):
    """One member that learned from classes drawn by `drawn`; its plain logits are noisier."""
    k = len(view.classes)
    drawn = np.full(k, 1 / k) if drawn is None else drawn
    known = cases.merge(holdout.rename(columns={"diagnosis": "hidden"}), on="image_id", how="left")
    truth = known.diagnosis.fillna(known.hidden)
    rows = (known.split == "hold_out") | ((known.split == "train") & (known.fold == fold))
    target = np.array([view.target(code) for code in truth[rows]])
    seed = int(skill * 1000)  # the evidence is the image's own: the same for all members
    evidence = np.random.default_rng(seed).normal(size=(len(known), k))[rows.to_numpy()]
    evidence[np.arange(len(target)), target] += skill
    logits = evidence * skill + np.log(drawn)
    frame = {
        "image_id": known.image_id[rows].to_list(),
        "split": np.where(known.split[rows] == "hold_out", "hold_out", "out_of_fold"),
        "features": [np.zeros(2, np.float32)] * len(target),
        "middle": list(np.random.default_rng([fold, seed]).normal(size=(len(target), 4)).astype(np.float32)),
    }
    for prefix, scale in (("logit", noise), ("plain", noise + 1)):
        said = (logits + rng.normal(size=logits.shape) * scale).astype(np.float32)
        frame |= {f"{prefix}_{code}": said[:, c] for c, code in enumerate(view.classes)}
    config = {
        "fold": fold,
        "view": view.name,
        "learned_prior": drawn.tolist(),
        "learned_by_centre": {name: drawn.tolist() for name in CENTRES},
    }
    return Member.of(model, config, pd.DataFrame(frame))


def made_members(rng, cases, holdout, models=("a", "b"), folds=3, **how):
    """All members, models first."""
    return [made_member(rng, cases, holdout, model, fold, **how) for model in models for fold in range(folds)]
