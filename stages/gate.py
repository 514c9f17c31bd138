"""Stage gate: hold the ensemble against fixed limits; what fails is said, not raised."""

from dermaflow import outputs, params, stage, tracking
from dermaflow.bundle import gate
from dermaflow.bundle.params import GateParams


def main() -> None:
    bundle = outputs.read_json(outputs.path("bundle/bundle.json"))["digest"]
    metrics = outputs.read_json(outputs.path("ensemble/metrics.json"))
    names = params.names("releases")
    stress = gate.joined([outputs.read_json(outputs.path(f"stress/{name}.json")) for name in names])
    limits = params.load(GateParams)
    result = gate.gate(bundle, metrics, stress, limits)
    outputs.write_json(outputs.path("gate.json"), result)
    scores = {name: check["figure"] for name, check in result["checks"].items() if "." not in name}
    tracking.stage(
        "gate",
        params=limits.model_dump(),
        metrics={"passed": int(result["passed"]), **scores, "stress": stress},
        artifacts={"outputs/gate.json": ""},
    )
    for failure in gate.failures(result):
        print(f"gate: {failure}")


if __name__ == "__main__":
    stage.run(main)
