"""Our own OpenAPI text of the service, made from taxonomy, limits and the bundle's view."""

from typing import Any, Final

from dermaflow.serve.champion import PROVENANCE, Loaded
from dermaflow.serve.evidence import TILES
from dermaflow.serve.form import BODY_SECONDS, MAX_AGE_YEARS, MAX_BODY_BYTES, YES_OR_NO
from dermaflow.serve.guard import ANSWER_SECONDS
from dermaflow.taxonomy import SEXES, SITES

PROBABILITY: Final = {"type": "number", "minimum": 0, "maximum": 1}
REFUSALS: Final = {
    "400": "A field is wrong, or the file is no JPEG or PNG image; the error names it.",
    "403": "Sent by a page of another address, as the browser says.",
    "408": f"The body did not arrive within {BODY_SECONDS:g} s.",
    "413": f"The request is larger than {MAX_BODY_BYTES // 2**20} MB.",
    "415": "Not multipart/form-data.",
    "421": "Sent to a name by which the service is not known; the error says how to name it.",
    "500": "An error of the service itself; its log says where.",
    "503": "Too many requests at once; see Retry-After.",
    "504": f"No answer within {ANSWER_SECONDS:g} s.",
}


def openapi(loaded: Loaded) -> dict[str, Any]:
    """Return the OpenAPI 3.1 document."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "dermaflow",
            "version": loaded.model["version"],
            "description": f"{loaded.bundle.notice} Not a medical device.",
        },
        "paths": {
            "/predict": {
                "post": _post("predict", "Three most probable diagnoses of a dermoscopic image.", "Answer")
            },
            "/explain": {
                "post": _post(
                    "explain",
                    "Where in a dermoscopic image the evidence for each diagnosis lies.",
                    "Evidence",
                )
            },
            "/model": {"get": _get("The bundle's figures and provenance.")},
            "/openapi.json": {"get": _get("This document.")},
        },
        "components": {
            "schemas": {
                "Request": _request(),
                "Answer": _answer(loaded.bundle.view.classes),
                "Evidence": _evidence(loaded.bundle.view.classes),
                "Error": _object({"error": {"type": "string"}}),
            }
        },
    }


def _post(name: str, summary: str, answer: str) -> dict[str, Any]:
    return {
        "operationId": name,
        "summary": summary,
        "requestBody": {
            "required": True,
            "content": {"multipart/form-data": {"schema": {"$ref": "#/components/schemas/Request"}}},
        },
        "responses": {
            "200": {"description": "The answer.", "content": _json(answer)},
            **_refusals(*REFUSALS),
        },
    }


def _request() -> dict[str, Any]:
    return {
        "type": "object",
        "required": ["image"],
        "additionalProperties": False,
        "properties": {
            "image": {
                "type": "string",
                "contentMediaType": "application/octet-stream",
                "description": "A JPEG or PNG file.",
            },
            "age": {
                "anyOf": [{"type": "number", "minimum": 0, "maximum": MAX_AGE_YEARS}, {"const": ""}],
                "description": "Years; empty or left out is missing.",
            },
            "sex": {"enum": ["", *SEXES], "description": "Empty or left out is missing."},
            "site": {"enum": ["", *SITES], "description": "Body site; empty or left out is missing."},
            "force": {
                "enum": ["", *YES_OR_NO],
                "description": "true: answer even if the model abstains.",
            },
        },
    }


def _answer(classes: tuple[str, ...]) -> dict[str, Any]:
    ranked = _object(
        {"diagnosis": {"enum": list(classes)}, "name": {"type": "string"}, "probability": PROBABILITY}
    )
    number_or_null = {"type": ["number", "null"]}
    none = {"type": "array", "maxItems": 0}  # of an answer that is withheld
    return _object(
        {
            "top3": {"anyOf": [{"type": "array", "minItems": 3, "maxItems": 3, "items": ranked}, none]},
            "probabilities": {
                "anyOf": [
                    _object(dict.fromkeys(classes, PROBABILITY)),
                    {"type": "object", "maxProperties": 0},
                ]
            },
            "melanoma_probability": {"anyOf": [PROBABILITY, {"type": "null"}]},
            "malignant_probability": {"anyOf": [PROBABILITY, {"type": "null"}]},
            "decision": _object(
                {
                    "refer": {"type": ["boolean", "null"]},
                    "malignant_threshold": number_or_null,
                    "sensitivity": number_or_null,
                    "prediction_set": {"type": "array", "items": {"enum": list(classes)}},
                    "set_coverage": number_or_null,
                }
            ),
            "abstained": {"type": ["string", "null"]},
            "ood_score": {"anyOf": [{"type": "number", "minimum": 0}, {"type": "null"}]},
            "imputed": {"type": "array", "items": {"enum": ["age", "sex", "site"]}},
            "filled_in": {
                "type": "object",
                "properties": {
                    "age": {"type": "number"},
                    "sex": {"type": "string"},
                    "site": {"type": "string"},
                },
                "additionalProperties": False,
            },
            **_provenance(),
        }
    )


def _evidence(classes: tuple[str, ...]) -> dict[str, Any]:
    row = {"type": "array", "minItems": TILES, "maxItems": TILES, "items": {"type": "number"}}
    tiles = {"type": "array", "minItems": TILES, "maxItems": TILES, "items": row}
    return _object(
        {
            "seen_png": {"type": "string", "contentEncoding": "base64", "contentMediaType": "image/png"},
            "maps": {
                "anyOf": [_object(dict.fromkeys(classes, tiles)), {"type": "object", "maxProperties": 0}]
            },
            "abstained": {"type": ["string", "null"]},
            **_provenance(),
        }
    )


def _provenance() -> dict[str, Any]:
    return {
        "model": _object({key: {"type": "string"} for key in PROVENANCE}),
        "notice": {"type": "string"},
        "elapsed_ms": {"type": "number", "minimum": 0},
    }


def _object(properties: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "required": list(properties),
        "additionalProperties": False,
        "properties": properties,
    }


def _refusals(*statuses: str) -> dict[str, Any]:
    return {status: {"description": REFUSALS[status], "content": _json("Error")} for status in statuses}


def _json(schema: str) -> dict[str, Any]:
    return {"application/json": {"schema": {"$ref": f"#/components/schemas/{schema}"}}}


def _get(summary: str) -> dict[str, Any]:
    return {
        "summary": summary,
        "responses": {
            "200": {"description": summary, "content": {"application/json": {"schema": {"type": "object"}}}},
            **_refusals("421"),
        },
    }
