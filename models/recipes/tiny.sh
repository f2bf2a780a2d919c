#!/bin/sh
# The embedded model, from nothing to models/tiny: characters, dialogues, filter, training, and what it is worth.
#
#   make tiny  # stopped or killed, it goes on where it was; rm -r build/tiny begins anew
#
# Two cores without a GPU, 3 GB of memory, 3 GB of disk. What comes out takes the place of models/tiny where no measure
# is worse than that of the model that is there; else this ends with 1, and models/tiny stays as it is.
set -eu

OUT=build/tiny
SHIPPED=models/tiny
mkdir -p "$OUT"

made() { # what comes of training
    [ -e "$OUT/$1/model.safetensors" ]
}

rows() { # their number, how many characters (a few more than the recipe reads), then what the talks are like
    number=$1 count=$2 && shift 2
    people=$OUT/personas-$number.jsonl talks=$OUT/dialogues-$number.jsonl
    [ -e "$people" ] || python -m models.synthesis.personas --count "$count" --seed "$number" --out "$people"
    [ -e "$talks" ] || python -m models.synthesis.smalltalk "$people" --seed "$number" --out "$talks" "$@"
    python -m models.synthesis.filter "$talks" --out "$OUT/train-$number.jsonl"
}

train() { # a recipe
    python -m models.training.sft "models/recipes/$1.yaml"
}

measure() { # a model, and what its figures are called: recall, style, the user's words; the same over a hundred turns
    [ -e "$OUT/$2.recall.json" ] || python -m models.evaluation.recall "$1" --json "$OUT/$2.recall.json"
    python -m models.evaluation drift --model "$1" --limit 40 --out "$OUT/$2.drift.jsonl"
}

made first || { rows 1 33000 --scenes 0.08; train tiny; }
made second || { rows 2 33000 --longer 0.1 --scenes 0.1 --impersonated 0.03; train tiny-longer; }
made third || {
    rows 3 11500 --longer 0.12 --scenes 0.12 --impersonated 0.04
    rows 4 2200 --longer 0.2 --scenes 0.15 --impersonated 0.06 --drills 0.1 --longest 25000
    train tiny-served
}

[ -e "$OUT/shipped" ] || { cp -r "$SHIPPED" "$OUT/shipped.part" && mv "$OUT/shipped.part" "$OUT/shipped"; }
measure "$OUT/shipped" shipped
measure "$OUT/third" third
python -m models.evaluation.succession "$OUT/third" "$OUT/shipped"
cp "$OUT/third"/* "$SHIPPED"
