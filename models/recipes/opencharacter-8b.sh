#!/bin/sh
# OpenCharacter 8B, from a list of personas to a report: PH-Instruct, LIMA and Alpaca, strategy G, as in the paper.
#
#   sh models/recipes/opencharacter-8b.sh          # in the repository's root; stopped, it goes on where it was
#
# One machine with 8 GPUs of 80 GB, 400 GB of disk, and access to the gated Llama 3 and LIMA on the Hugging Face hub.
# Wall-clock and cost are computed, none of it was measured. A token takes 2 FLOPs a parameter where it is read or
# written, 6 where a LoRA is trained and 8 where all weights are, activations computed twice; an H100 gives 989 TFLOPS,
# of which 25 % come out where the 70B writes and 40 % where it reads or the 8B is trained; an hour of one costs $3.
#   profiles    20,000 of them       12 M tokens   0.2 h    $6   on all eight GPUs, as the next two
#   dialogues  306,000 of them      270 M tokens   5.3 h  $127
#   filter     all read once more   280 M tokens   3.4 h   $83
#   sft        one epoch, LoRA      310 M tokens  10.5 h   $31   on one GPU; all weights on eight: 1.7 h, $42
#   evaluation 1,000 questions        1 M tokens   0.2 h    $1   on one GPU, and some $20 for the judge
# The data it is made from may be used for research alone, hence --purpose research; Llama 3 may improve only Llamas.
set -eu

TEACHER=${TEACHER:-meta-llama/Meta-Llama-3-70B-Instruct}  # loaded here; or a name behind TEACHER_URL
RECIPE=${RECIPE:-models/recipes/llama-3-8b-lora.yaml}
MODEL=${MODEL:-build/opencharacter-8b-lora}               # where RECIPE writes
OUT=build/8b
PERSONAGYM=${PERSONAGYM:?a checkout of PersonaGym, whose questions are asked}
JUDGE_KEY_FILE=${JUDGE_KEY_FILE:?a file with the key of who judges}

synthesize() { # the command, then its arguments
    command=$1 && shift
    python -m "models.synthesis.$command" "$@" --model "$TEACHER" --gpus 8 ${TEACHER_URL:+--url "$TEACHER_URL"} \
        --purpose research
}

# LIMA's rows are read from the file itself: what stands beside it on the hub is a script, and none is run.
hf download GAIR/lima train.jsonl --repo-type dataset --local-dir "$OUT/lima"

synthesize profiles proj-persona/PersonaHub:persona --limit 20000 --out "$OUT/profiles.jsonl"
synthesize dialogues "$OUT/profiles.jsonl" --strategy G --characters 3 --out "$OUT/written.jsonl" \
    --instructions proj-persona/PersonaHub:instruction --instructions tatsu-lab/alpaca \
    --instructions "$OUT/lima/train.jsonl"
synthesize filter "$OUT/written.jsonl" --critic --out "$OUT/dialogues.jsonl"

export CUDA_VISIBLE_DEVICES=0                             # the 8B needs no more than one
python -m models.training.sft "$RECIPE" --purpose research # LoRA is merged, and written for vLLM

OPENCHARACTER_MODEL=$MODEL OPENCHARACTER_DATA_DIR=$OUT/server python -m app serve &
SERVER=$!
trap 'kill $SERVER' EXIT
until curl -sf localhost:8000/ready >/dev/null; do
    kill -0 $SERVER # it has died, if this fails
    sleep 5
done
python -m models.evaluation personagym --data "$PERSONAGYM" --light --mode opencharacter --temperature 0.9 \
    --url http://127.0.0.1:8000/v1 --model "$(basename "$MODEL")" --judge-url "${JUDGE_URL:-https://api.openai.com/v1}" \
    --judge-model "${JUDGE:-gpt-4o-2024-08-06}" --judge-api-key-file "$JUDGE_KEY_FILE" --out "$OUT/personagym.jsonl"
python -m models.evaluation report "$OUT"/*.scores.json --out "$OUT/report.html"
