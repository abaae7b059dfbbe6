"""What a run takes from its recipe, and what its entries stand on."""

import yaml

from conftest import ROOT
from patchwork import entries

RECIPES = yaml.safe_load((ROOT / "rules/recipes.yaml").read_text())


def test_a_run_says_what_its_recipe_does_not():
    recipes = {"some": {"epochs": 4, "augmentation": {"hflip": 0.5, "scale": [0.5, 1]}, "ema_decay": 0.9}}
    run = {"recipe": "some", "model": "m", "epochs": 2, "augmentation": {"hflip": 0}, "ema_decay": None}
    assert entries.resolve(run, recipes) == {
        "recipe": "some",
        "model": "m",
        "epochs": 2,
        "augmentation": {"hflip": 0, "scale": [0.5, 1]},
    }


def test_every_recipe_tells_all_that_a_run_needs():
    for name, recipe in RECIPES.items():
        assert set(entries.NEEDED) <= set(recipe), name
        assert recipe["epochs"] % recipe["stage"] == 0, name


def test_what_stands_on_what():
    config = {
        "datasets": {
            "photos": {},
            "paintings": {},
            "stylized": {"stylize": "photos", "styles": "paintings", "stylizer": "adain"},
        },
        "models": {"cnn": {"run": "cnn"}, "student": {"run": "student"}, "other": {}},
        "runs": {
            "cnn": {"model": "cnn", "data": "photos"},
            "student": {"model": "student", "data": "stylized", "teacher": "cnn"},
        },
        "stylizers": {"adain": {"encoder": "cnn", "content": "photos", "styles": "paintings"}},
    }
    needed = entries.needed(config, [("models", "student")])
    assert {*needed} == {
        *(("models", name) for name in ("student", "cnn")),
        *(("runs", name) for name in ("student", "cnn")),
        *(("datasets", name) for name in ("photos", "stylized")),
        *(("styles", "paintings"), ("datasets", "paintings"), ("stylizers", "adain")),
    }
    assert not [*entries.circles(config)]
    config["stylizers"]["adain"]["encoder"] = "student"
    [(keys, _)] = entries.circles(config)
    assert keys == ["datasets", "stylized"]
