"""The demo's population: which lesions and patients there are, and which pictures of them are published.

In: how many images, and a seed. Out: a `World` of listings (rows of the official tables) and pictures
(files to draw). Nothing is drawn here; `tables.py` writes the rows, `release.py` the files.
"""

from dataclasses import dataclass, field, replace
from typing import Final

from dermaflow.errors import DataError
from dermaflow.sample.integers import Stream
from dermaflow.sample.lesion import TONES

FULL_IMAGES: Final = 360
"""Images of the committed demo release, about; what `images=None` draws."""
MOST_IMAGES: Final = 4000
"""A little above it 2020's block of free ids runs out."""

IMAGE_SIZES: Final = {
    "HAM": ((600, 450, 1),),
    "BCN": ((512, 512, 2),),
    "MSK": ((512, 384, 2), (640, 480, 1), (511, 383, 2)),
    "SIIM": ((640, 480, 1), (512, 384, 2), (624, 351, 3), (640, 480, 1), (480, 360, 2)),
    "LARGE": ((750, 500, 4), (816, 612, 4), (750, 500, 4), (1000, 750, 4)),
}
"""Canvas width, height and the factor by which the file is larger; LARGE is 3000 pixels and more."""

_LESIONS: Final = {
    "HAM": {"NV": 30, "MEL": 11, "BCC": 9, "AK": 6, "SCC": 6, "BKL": 11, "DF": 7, "VASC": 7},
    "BCN": {"NV": 9, "MEL": 9, "BCC": 9, "AK": 8, "SCC": 8, "BKL": 7, "DF": 6, "VASC": 6},
    "MSK": {"NV": 3, "MEL": 3, "BKL": 2},
    "unknown": {"NV": 5, "MEL": 3, "BKL": 2},
}
_LEAST: Final = {"HAM": 2, "BCN": 2, "MSK": 1, "unknown": 1}
_SIIM: Final = {
    "unknown": ("UNK", 38),
    "nevus": ("NV", 12),
    "melanoma": ("MEL", 4),
    "seborrheic keratosis": ("BKL", 4),
    "lichenoid keratosis": ("BKL", 2),
    "lentigo NOS": ("BKL", 1),
}
_VIEWS: Final = (1, 2, 1, 1, 3, 1, 2, 1)  # pictures of each lesion, in turn
_TESTS: Final = {"validation": 8, "isic2018": 14, "isic2019": 14, "isic2020": 18}
_DIAGNOSES: Final = ("NV", "MEL", "BKL", "BCC", "NV", "AK", "VASC", "NV", "SCC", "DF")
_IDS: Final = {"isic2018": 9953001, "isic2019": 9984001, "isic2020": 9993001, "downsampled": 9953701}
"""First numbers of blocks that no published image of 2018 to 2020 uses."""

_AGES: Final = {
    "NV": (15, 60), "UNK": (20, 65), "MEL": (35, 85), "BCC": (50, 85), "AK": (55, 85),
    "SCC": (55, 85), "BKL": (45, 85), "DF": (25, 65), "VASC": (20, 75),
}  # fmt: skip
_HAM_SITES: Final = {
    "back": ("posterior torso", "torso"),
    "lower extremity": ("lower extremity", "lower extremity"),
    "upper extremity": ("upper extremity", "upper extremity"),
    "abdomen": ("anterior torso", "torso"),
    "chest": ("anterior torso", "torso"),
    "trunk": ("", "torso"),
    "face": ("head/neck", "head/neck"),
    "neck": ("head/neck", "head/neck"),
    "scalp": ("head/neck", "head/neck"),
    "foot": ("lower extremity", "lower extremity"),
    "acral": ("palms/soles", "palms/soles"),
    "genital": ("oral/genital", "oral/genital"),
}
"""A place in HAM10000's words: 2019's words (none for trunk, as published) and 2020's."""
_USUAL: Final = (
    "back", "back", "back", "lower extremity", "lower extremity", "abdomen", "upper extremity", "chest",
    "face", "neck", "foot", "back", "acral", "genital",
)  # fmt: skip
_SUNNY: Final = ("face", "face", "scalp", "neck", "upper extremity", "back", "chest", "lower extremity")
_SUN: Final = frozenset({"AK", "SCC", "BCC"})


@dataclass(frozen=True)
class Patient:
    """Whose skin it is; None is a gap in the published table."""

    tone: int
    age: int | None
    sex: str | None
    patient_id: str = ""


@dataclass(frozen=True)
class LesionCase:
    """One lesion: what it is, whose, and where.

    Attributes:
        name: seeds everything drawn of it.
        diagnosis: one of the nine.
        raw: the diagnosis in 2020's words, or empty.
        centre: HAM, BCN, MSK, unknown or SIIM.
        patient: its bearer.
        place: key of the places in HAM10000's words, or None where the table has a gap.
        lesion_id: as published, or empty.
    """

    name: str
    diagnosis: str
    raw: str
    centre: str
    patient: Patient
    place: str | None
    lesion_id: str = ""

    @property
    def site_2019(self) -> str:
        """The place in 2019's words, empty if unknown."""
        return _HAM_SITES[self.place][0] if self.place else ""

    @property
    def site_2020(self) -> str:
        """The place in 2020's words, empty if unknown."""
        return _HAM_SITES[self.place][1] if self.place else ""


@dataclass(frozen=True)
class Listing:
    """One image as a release lists it: `part` is train, validation or test."""

    image_id: str
    release: str
    part: str
    lesion: LesionCase


@dataclass(frozen=True)
class Picture:
    """One photograph to draw, and all files that hold it byte for byte.

    Attributes:
        lesion: what it shows.
        view: seeds angle, light, hair and so on.
        width, height: of the canvas, pixels.
        factor: the file is so many times larger.
        files: paths below the target.
        masks: image ids whose mask it is.
        copy: mirrored and stored again at a lower quality (a near-duplicate).
    """

    lesion: LesionCase
    view: str
    width: int
    height: int
    factor: int
    files: tuple[str, ...]
    masks: tuple[str, ...]
    copy: bool = False


@dataclass
class World:
    """All that is published.

    Attributes:
        listings: training images of 2018 are listed once, under 2018; 2019's tables list them too.
        pictures: files to draw.
        pairs: official duplicates of 2020: kept id, repeated id, part.
        unlisted: further pairs that no table names: ids, and `identical` or `mirrored`.
    """

    seed: int
    listings: list[Listing] = field(default_factory=list)
    pictures: list[Picture] = field(default_factory=list)
    pairs: list[tuple[str, str, str]] = field(default_factory=list)
    unlisted: list[tuple[str, str, str]] = field(default_factory=list)


FOLDERS: Final = {
    ("isic2018", "train"): "isic2018/ISIC2018_Task3_Training_Input",
    ("isic2018", "validation"): "isic2018/ISIC2018_Task3_Validation_Input",
    ("isic2018", "test"): "isic2018/ISIC2018_Task3_Test_Input",
    ("isic2019", "train"): "isic2019/ISIC_2019_Training_Input",
    ("isic2019", "test"): "isic2019/ISIC_2019_Test_Input",
    ("isic2020", "train"): "isic2020/train",
    ("isic2020", "test"): "isic2020/test",
}
"""Where each release keeps the images of each part, as published."""


def populate(images: int, seed: int) -> World:
    """Decide on all lesions, patients, pictures and duplicates.

    Args:
        images: wanted number, about; every diagnosis keeps at least four lesions, so below 90 the
            release grows no smaller.
        seed: another one makes another release.

    Raises:
        DataError: more than `MOST_IMAGES` are wanted.
    """
    if images > MOST_IMAGES:
        raise DataError(
            f"{images} images are wanted", "the demo release", f"Ask for at most {MOST_IMAGES} images."
        )
    builder = _Builder(World(seed), images)
    builder.years_2018_and_2019()
    builder.year_2020()
    builder.tests()
    builder.duplicates()
    return builder.world


class _Builder:
    """Adds one year after the other; keeps the counters that ids and gaps come from."""

    def __init__(self, world: World, images: int) -> None:
        self.world, self.images = world, images
        self.stream = Stream(world.seed, "world")
        self.next_id = dict(_IDS)
        self.lesions = 0
        ids_2020 = range(_IDS["isic2020"], _IDS["isic2020"] + 999)
        self.ids_2020 = iter(self.stream.child("ids").shuffled(ids_2020))

    def scaled(self, count: int, least: int) -> int:
        return max(least, (2 * count * self.images + FULL_IMAGES) // (2 * FULL_IMAGES))

    def years_2018_and_2019(self) -> None:
        for centre, counts in _LESIONS.items():
            plan = [code for code, n in counts.items() for _ in range(self.scaled(n, _LEAST[centre]))]
            release = "isic2018" if centre == "HAM" else "isic2019"
            turns: dict[str, int] = {}
            for number, diagnosis in enumerate(self.stream.child(centre).shuffled(plan)):
                lesion = self.lesion(diagnosis, centre, self.patient(diagnosis))
                turn = turns[diagnosis] = turns.get(diagnosis, len(diagnosis) + len(centre)) + 1
                views = 1 if centre == "unknown" else _VIEWS[turn % len(_VIEWS)]
                for view in range(views):
                    reduced = centre == "unknown" and number % 2 == 0
                    self.publish(lesion, release, "train", str(view), downsampled=reduced)

    def year_2020(self) -> None:
        plan = [
            (raw, code)
            for raw, (code, n) in _SIIM.items()
            for _ in range(self.scaled(n, 8 if code == "UNK" else 1))
        ]
        plan = self.stream.child("SIIM").shuffled(plan)
        at, number = 0, 0
        while at < len(plan):
            size = 1 + number % 5  # lesions of this patient
            patient = self.patient(
                self.stream.choice(("NV", "UNK", "MEL")), patient_id=f"IP_{9900001 + 37 * number}"
            )
            for raw, code in plan[at : at + size]:
                self.publish(self.lesion(code, "SIIM", patient, raw), "isic2020", "train", "0")
            at, number = at + size, number + 1

    def tests(self) -> None:
        for name, count in _TESTS.items():
            part = "validation" if name == "validation" else "test"
            release = "isic2018" if name == "validation" else name
            patient = self.patient("NV", patient_id="IP_9970001")
            for number in range(self.scaled(count, 4)):
                diagnosis = _DIAGNOSES[number % len(_DIAGNOSES)]
                centre = {"isic2018": "HAM", "isic2019": "BCN", "isic2020": "SIIM"}[release]
                if number % 3 == 0 or centre != "SIIM":
                    patient = self.patient(diagnosis, patient_id=f"IP_{9970001 + number}")
                if centre == "SIIM" and diagnosis not in ("MEL", "BKL"):
                    diagnosis = ("NV", "UNK")[number % 2]
                self.publish(self.lesion(diagnosis, centre, patient), release, part, "0")

    def duplicates(self) -> None:
        """Repeat some pictures under another id: official pairs, and what nobody listed."""
        for part, count in (("train", 4), ("test", 2)):
            for listing in self.some("isic2020", part, self.scaled(count, 1)):
                again = self.repeat(listing, listing.lesion, "isic2020", copy=False)
                self.world.pairs.append((listing.image_id, again, part))
        for listing in self.some("isic2019", "train", 1, only="NV"):  # and called by another name
            again = self.repeat(listing, self.relabelled(listing, "MEL"), "isic2019", copy=False)
            self.world.unlisted.append((listing.image_id, again, "identical"))
        for kind, count in (("identical", 2), ("mirrored", 2)):
            for listing in self.some("isic2019", "train", self.scaled(count, 1)):
                other = self.relabelled(listing, listing.lesion.diagnosis)
                again = self.repeat(listing, other, "isic2019", copy=kind == "mirrored")
                self.world.unlisted.append((listing.image_id, again, kind))
        for listing in self.some("isic2019", "train", 1, only="NV"):  # published again a year later
            patient = replace(listing.lesion.patient, patient_id="IP_9960001")
            lesion = replace(listing.lesion, raw="nevus", centre="SIIM", lesion_id="", patient=patient)
            again = self.repeat(listing, lesion, "isic2020", copy=True)
            self.world.unlisted.append((listing.image_id, again, "mirrored"))

    def relabelled(self, listing: Listing, diagnosis: str) -> LesionCase:
        """Return the listing's lesion as if it were another one, so that no table ties the two."""
        return replace(
            listing.lesion, diagnosis=diagnosis, lesion_id=self.new_lesion_id(listing.lesion.centre)
        )

    def some(self, release: str, part: str, count: int, *, only: str = "") -> list[Listing]:
        """Return listings spread over a part (of 2019: over Barcelona's) that are not repeated yet."""
        used = {name for pair in [*self.world.pairs, *self.world.unlisted] for name in pair}
        fits = [
            item for item in self.world.listings
            if (item.release, item.part) == (release, part)
            and (not only or item.lesion.diagnosis == only)
            and (release == "isic2020" or item.lesion.centre == "BCN")
            and item.image_id not in used
        ]  # fmt: skip
        step = max(len(fits) // (count + 1), 1)
        return fits[step // 2 :: step][:count]

    def patient(self, diagnosis: str, patient_id: str = "") -> Patient:
        low, high = _AGES[diagnosis]
        stream = self.stream.child("patient", self.lesions, patient_id)
        age = 5 * ((stream.integer(low, high) + 2) // 5)
        number = self.lesions
        return Patient(
            tone=min(stream.integer(0, TONES), stream.integer(0, TONES - 1)),
            age=None if number % 37 == 11 else age,  # noqa: PLR2004 - gaps, as the published tables have
            sex=None if number % 41 == 7 else stream.choice(("female", "male")),  # noqa: PLR2004
            patient_id=patient_id,
        )

    def lesion(self, diagnosis: str, centre: str, patient: Patient, raw: str = "") -> LesionCase:
        self.lesions += 1
        stream = self.stream.child("lesion", self.lesions)
        place = stream.choice(_SUNNY if diagnosis in _SUN and stream.chance(700) else _USUAL)
        if diagnosis == "DF" and stream.chance(500):
            place = "lower extremity"
        if centre == "HAM" and self.lesions % 41 == 9:  # noqa: PLR2004 - a word that 2019 has no site for
            place = "trunk"
        gap = self.lesions % 43 == 5  # noqa: PLR2004
        name = f"lesion/{self.lesions}"
        return LesionCase(
            name, diagnosis, raw, centre, patient, None if gap else place, self.new_lesion_id(centre)
        )

    def new_lesion_id(self, centre: str) -> str:
        if centre not in ("HAM", "BCN", "MSK"):
            return ""
        self.next_id[centre] = self.next_id.get(centre, 9000) + 1
        return f"{centre}_{self.next_id[centre]:07d}"

    def new_image_id(self, release: str, *, downsampled: bool = False) -> str:
        if release == "isic2020":
            return f"ISIC_{next(self.ids_2020)}"
        kind = "downsampled" if downsampled else release
        self.next_id[kind] += 1
        return f"ISIC_{self.next_id[kind] - 1}" + ("_downsampled" if downsampled else "")

    def publish(
        self, lesion: LesionCase, release: str, part: str, view: str, *, downsampled: bool = False
    ) -> None:
        image_id = self.new_image_id(release, downsampled=downsampled)
        number = len(self.world.pictures)
        kind = {"unknown": "MSK"}.get(lesion.centre, lesion.centre)
        if release == "isic2020" and part == "train":
            siim = sum(item.release == "isic2020" for item in self.world.listings)
            kind = "LARGE" if siim % 14 == 3 else "SIIM"  # noqa: PLR2004 - a handful
            number = siim // 14 if kind == "LARGE" else number
        width, height, factor = IMAGE_SIZES[kind][number % len(IMAGE_SIZES[kind])]
        files = [f"{FOLDERS[release, part]}/{image_id}.jpg"]
        if release == "isic2018" and part == "train" and number % 2:  # 2019's folder has it too
            files.append(f"{FOLDERS['isic2019', 'train']}/{image_id}.jpg")
        masks = (image_id,) if part == "train" else ()
        self.world.pictures.append(Picture(lesion, view, width, height, factor, tuple(files), masks))
        self.world.listings.append(Listing(image_id, release, part, lesion))

    def repeat(self, listing: Listing, lesion: LesionCase, release: str, *, copy: bool) -> str:
        """Publish the picture of a listing again under a new id: the same bytes, or a mirrored copy."""
        image_id = self.new_image_id(release)
        file = f"{FOLDERS[release, listing.part]}/{image_id}.jpg"
        masks = (image_id,) if listing.part == "train" else ()
        place, old = next(
            (place, picture)
            for place, picture in enumerate(self.world.pictures)
            if any(name.endswith(f"/{listing.image_id}.jpg") for name in picture.files)
        )
        if copy:
            self.world.pictures.append(replace(old, files=(file,), masks=masks, copy=True))
        else:
            self.world.pictures[place] = replace(old, files=(*old.files, file), masks=old.masks + masks)
        self.world.listings.append(Listing(image_id, release, listing.part, lesion))
        return image_id
