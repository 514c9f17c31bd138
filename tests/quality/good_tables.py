"""Good tables, that every rule holds for; the tests beside this file spoil one thing at a time."""

import hashlib

import numpy as np
import pandas as pd

from dermaflow import outputs
from dermaflow.taxonomy import DIAGNOSES, SITES

SEVEN = ["MEL", "NV", "BCC", "AKIEC", "BKL", "DF", "VASC"]
WORDS_2020 = {
    "melanoma": "MEL",
    "nevus": "NV",
    "seborrheic keratosis": "BKL",
    "unknown": "UNK",
}


def released(ids, labels, codes, **columns):
    count = len(ids)
    frame = pd.DataFrame(
        {
            "image_id": ids,
            "part": "train",
            "row": range(1, count + 1),
            "raw_label": labels,
            "diagnosis": codes,
            "rule_id": [f"rule:{label}" for label in labels],
            "age_years": [float(5 * (i % 18)) for i in range(count)],
            "sex": ["female", "male"] * (count // 2) + ["female"] * (count % 2),
            "site": [SITES[i % 6] for i in range(count)],
            "raw_site": "back",
            "patient_id": None,
            "lesion_id": None,
            "duplicate_of": None,
            "confirm_type": None,
            "centre": "unknown",
            **columns,
        }
    )
    return outputs.releases.check(frame)


def tables():
    """Three releases: 14 images of 2018, all within the 30 of 2019; 12 of 2020 with one duplicate pair."""
    ids = [f"ISIC_{i:07d}" for i in range(30)]
    lesions = [f"HAM_{i:07d}" for i in range(14)] + [f"BCN_{i:07d}" for i in range(16)]
    first = [SEVEN[i % 7] for i in range(14)]
    second = [("SCC" if i % 2 else "AK") if label == "AKIEC" else label for i, label in enumerate(first)]
    second += [DIAGNOSES[i % 8] for i in range(16)]
    words = list(WORDS_2020) * 3
    twins = [f"ISIC_{i:07d}" for i in range(500, 512)]
    patients = [f"IP_{i // 2:07d}" for i in range(12)]
    words[1] = words[0]
    test = released(["ISIC_0000900"], ["x"], ["NV"], patient_id="IP_0000077", part="test")
    test[["raw_label", "diagnosis", "rule_id"]] = None
    return {
        "isic2018": released(
            ids[:14], first, first, lesion_id=lesions[:14], confirm_type="histopathology", centre="HAM"
        ),
        "isic2019": released(ids, second, second, lesion_id=lesions, centre=["HAM"] * 14 + ["BCN"] * 16),
        "isic2020": pd.concat(
            [
                released(
                    twins,
                    words,
                    [WORDS_2020[word] for word in words],
                    patient_id=patients,
                    duplicate_of=[None, twins[0], *[None] * 10],
                    centre="SIIM",
                ),
                test.assign(centre="SIIM"),
            ],
            ignore_index=True,
        ),
    }


def facts(rows):
    """Image facts of each table's images."""
    return {
        release: pd.DataFrame(
            {
                "image_id": table["image_id"],
                "part": "train",
                "file": table["image_id"] + ".jpg",
                "width": np.int32(600),
                "height": np.int32(450),
                "bytes": np.int64(9000),
                "sha256": [hashlib.sha256(f"{image}".encode()).hexdigest() for image in table["image_id"]],
                "phash": np.uint64(1),
                "thumbnail": [bytes(4096)] * len(table),
                "readable": True,
                "problem": pd.Series([None] * len(table), dtype="str"),
            }
        )
        for release, table in rows.items()
    }


def prepared():
    """Cases and patients as impute leaves them: 24 cases, two images a lesion, three folds and a hold-out."""
    count = 24
    split = ["hold_out" if i < 6 else "train" for i in range(count)]
    cases = pd.DataFrame(
        {
            "image_id": [f"ISIC_{i:07d}" for i in range(count)],
            "release": "isic2018",
            "store": "isic2018",
            "diagnosis": [None if i < 6 else ["NV", "MEL"][i % 2] for i in range(count)],
            "group": [i // 2 for i in range(count)],
            "split": split,
            "fold": [-1 if i < 6 else (i - 6) // 6 for i in range(count)],
            "why_dropped": None,
            "age_years": 50.0,
            "sex": "male",
            "site": "torso",
            "patient_id": [f"IP_{i // 2}" for i in range(count)],
            "lesion_id": [f"HAM_{i // 2}" for i in range(count)],
            "confirm_type": None,
            "centre": "HAM",
            "width": 600,
            "height": 450,
        }
    )
    cases = outputs.cases.check(cases)
    patients = pd.DataFrame(
        {
            "image_id": cases["image_id"],
            "age_years": 50.0,
            "sex": "male",
            "site": "torso",
            "age_missing": False,
            "sex_missing": False,
            "site_missing": True,
        }
    )
    return cases, outputs.patients.check(patients)
