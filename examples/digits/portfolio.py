"""Write the portfolio document of the trained digits models."""

from collections.abc import Sequence
from datetime import date

from examples.digits.data import DOMAINS
from examples.digits.train import GENERALIST, Trained

TASK = "classify-digit"
DATASET = "sklearn-digits-validation"
KINDS = {
    "as-written": "as they were written",
    "inverted": "with ink and paper swapped",
    "rotated": "turned by 90 degrees",
    "noisy": "under heavy noise",
    "shifted": "written small and off centre",
}


def portfolio(trained: Sequence[Trained]) -> dict[str, object]:
    """The portfolio as plain values, with the generalist last in the chain."""
    ordered = sorted(trained, key=lambda one: one.name == GENERALIST)
    return {
        "specialists": [_card(one) for one in ordered],
        "routes": [_route([one.name for one in ordered]), _untold()],
    }


def _card(one: Trained) -> dict[str, object]:
    """One specialist's card, with evidence for all domains: also for those it does not claim."""
    return {
        "name": one.name,
        "version": "1",
        "description": _description(one),
        "model": {"uri": str(one.path), "sha256": one.sha256},
        "task": TASK,
        "domains": list(one.domains),
        "modality": "image",
        "cost": 1.0,
        "owner": "examples",
        "evidence": [_evidence(one, domain) for domain in one.accuracy],
        "resources": {"cpus": 0.1},
        "batching": {"max_size": 64},
    }


def _evidence(one: Trained, domain: str) -> dict[str, object]:
    """Accuracy in one domain, to four places, as it was measured today."""
    return {
        "metric": "accuracy",
        "value": round(one.accuracy[domain], 4),
        "dataset": DATASET,
        "domain": domain,
        "rows": one.rows,
        "measured": date.today().isoformat(),
    }


def _description(one: Trained) -> str:
    """What the model reads, in a sentence."""
    if one.domains == DOMAINS:
        return "Reads handwritten digits of 8 by 8 pixels in all five domains."
    kinds = " or ".join(KINDS[domain] for domain in one.domains)
    return f"Reads handwritten digits of 8 by 8 pixels, {kinds}."


def _route(names: Sequence[str]) -> dict[str, object]:
    """The route over all models, in the given order."""
    return {
        "name": "digits",
        "description": "Reads a handwritten digit with the specialist of its domain.",
        "requirements": {"task": TASK},
        "chain": [{"name": name} for name in names],
    }


def _untold() -> dict[str, object]:
    """The route that is told no domain: it looks at the image, and learns who reads such ones."""
    return {
        "name": "digits-untold",
        "description": "Reads a handwritten digit with whom it has learned to be best at such.",
        "requirements": {"task": TASK},
        "order": "scored",
        "preferences": {"preset": "quality", "weights": {"cost": 0.0, "latency": 0.0}},
        "content": {"input": "image"},
        "learning": {"mode": "apply", "min_labels": 1000, "discount": 1.0},  # nothing drifts
    }
