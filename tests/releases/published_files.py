"""Tiny releases in the official layouts, for the tests beside this file."""

SEVEN = ["MEL", "NV", "BCC", "AKIEC", "BKL", "DF", "VASC"]
NINE = ["MEL", "NV", "BCC", "AK", "BKL", "DF", "VASC", "SCC", "UNK"]


def write(path, lines):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def one_hot(labels, classes):
    return [
        f"{image}," + ",".join("1.0" if name == label else "0.0" for name in classes)
        for image, label in labels.items()
    ]


def write_2018(folder, labels=None):
    labels = labels or {"ISIC_0000001": "NV", "ISIC_0000002": "AKIEC", "ISIC_0000003": "MEL"}
    header = "image," + ",".join(SEVEN)
    write(folder / "ISIC2018_Task3_Training_GroundTruth.csv", [header, *one_hot(labels, SEVEN)])
    lesions = [f"{image},HAM_000000{i},histopathology" for i, image in enumerate(labels)]
    write(
        folder / "ISIC2018_Task3_Training_LesionGroupings.csv",
        ["image,lesion_id,diagnosis_confirm_type", *lesions],
    )
    ham = [
        f"HAM_000000{i},{image},{label.lower()},histo,50.0,male,scalp"
        for i, (image, label) in enumerate(labels.items())
    ]
    write(folder / "HAM10000_metadata.csv", ["lesion_id,image_id,dx,dx_type,age,sex,localization", *ham])
    return folder


def write_2019(folder, labels=None):
    labels = labels or {
        "ISIC_0000001": "NV",
        "ISIC_0000002": "SCC",
        "ISIC_0000003": "MEL",
        "ISIC_0000009": "AK",
    }
    header = "image," + ",".join(NINE)
    write(folder / "ISIC_2019_Training_GroundTruth.csv", [header, *one_hot(labels, NINE)])
    rows = [f"{image},55,anterior torso,BCN_000000{i},female" for i, image in enumerate(labels)]
    write(
        folder / "ISIC_2019_Training_Metadata.csv",
        ["image,age_approx,anatom_site_general,lesion_id,sex", *rows],
    )
    return folder


def write_2020(folder, rows=None, pairs=()):
    rows = rows or [("ISIC_0100001", "IP_1", "nevus"), ("ISIC_0100002", "IP_1", "unknown")]
    header = (
        "image_name,patient_id,sex,age_approx,anatom_site_general_challenge,diagnosis,benign_malignant,target"
    )
    lines = [
        f"{image},{patient},male,45.0,torso,{word},x,{int(word.lower() == 'melanoma')}"
        for image, patient, word in rows
    ]
    write(folder / "train.csv", [header, *lines])
    if pairs:
        write(
            folder / "2020_Challenge_duplicates.csv",
            ["ISIC_id,ISIC_id_paired,partition", *(f"{a},{b},train" for a, b in pairs)],
        )
    return folder


COLUMNS_OF_THE_ARCHIVE = [
    "isic_id", "attribution", "copyright_license", "age_approx", "anatom_site_general",
    "diagnosis_1", "diagnosis_2", "diagnosis_3", "diagnosis_4", "diagnosis_5",
    "diagnosis_confirm_type", "image_type", "lesion_id", "patient_id", "sex",
]  # fmt: skip
MELANOMA = "Malignant:Malignant melanocytic proliferations (Melanoma):Melanoma, NOS"
NEVUS = "Benign:Benign melanocytic proliferations:Nevus"


def write_archive(folder, rows=None):
    """Write metadata.csv; rows: image id to what differs from a dermoscopic nevus, `path` the diagnosis."""
    rows = rows or {
        "ISIC_0000001": {},
        "ISIC_0000002": {"path": MELANOMA},
        "ISIC_0700003": {"age_approx": ""},
    }
    lines = []
    columns = list(COLUMNS_OF_THE_ARCHIVE)
    columns += sorted({name for row in rows.values() for name in row} - {*columns, "path"})
    for number, (image, given) in enumerate(rows.items(), start=1):
        path = given.get("path", NEVUS).split(":")
        cells = {
            "isic_id": image,
            "attribution": "Some Clinic",
            "copyright_license": "CC-BY",
            "age_approx": "55",
            "anatom_site_general": "anterior torso",
            **{f"diagnosis_{level}": name for level, name in enumerate(path, start=1)},
            "diagnosis_confirm_type": "histopathology",
            "image_type": "dermoscopic",
            "lesion_id": f"IL_000000{number}",
            "patient_id": f"IP_000000{number}",
            "sex": "female",
            **{name: value for name, value in given.items() if name != "path"},
        }
        lines.append(
            ",".join(f'"{cell}"' if "," in (cell := cells.get(name, "")) else cell for name in columns)
        )
    write(folder / "metadata.csv", [",".join(columns), *lines])
    return folder


def write_dataverse(folder, words=None):
    """HAM10000 as Dataverse gives it: metadata and two folders of images, no ground truth."""
    words = words or {"ISIC_0000001": "nv", "ISIC_0000002": "akiec", "ISIC_0000003": "mel"}
    rows = [
        f"HAM_000000{i},{image},{dx},histo,50.0,male,scalp" for i, (image, dx) in enumerate(words.items())
    ]
    write(folder / "HAM10000_metadata.csv", ["lesion_id,image_id,dx,dx_type,age,sex,localization", *rows])
    return folder
