#!/usr/bin/env bash
# Records the runs that the page opens on, with the default model: `bash assets/recorded/make.sh` after the frames' format changes.
# Of each, NAME.frames is what the page fetches at once, NAME.deep what it fetches of one layer or one choice.
set -euo pipefail
cd "$(dirname "$0")/../.."

record() {  # name, then what python -m model takes
    local name=$1 kept
    kept=$(mktemp -d)
    shift
    .venv/bin/python -m model "$@" -o "$kept/run.trace"
    .venv/bin/python -m viz "$kept/run.trace" -o "assets/recorded/$name.frames"
    rm -r "$kept"
}

record 1-a-fact "The capital of France is Paris. The capital of Italy is" --max-new-tokens 8
record 2-a-story "Once upon a time, a small robot" --temperature 0.8 --top-p 0.95 --seed 1 --max-new-tokens 24
record 3-a-chat-turn "Name three primary colors." --chat --max-new-tokens 16

measured() {  # the file, then what python -m model takes: times are this machine's, so nothing else may run on it
    local file=$1
    shift
    .venv/bin/python -m model "$@" -o "assets/recorded/$file"
}

measured measured.measurement measure "The capital of France is Paris. The capital of Italy is" --max-new-tokens 24
measured compressed.trials cache "Once upon a time, a small robot found a door in the forest. Behind it" --max-new-tokens 32
measured four-texts.batching serve "The capital of France is Paris. The capital of Italy is" "The capital of France is Paris. The capital of Spain is" \
    "Once upon a time, a small robot found a door in the forest. Behind it" "def is_even(n):
    return" --max-new-tokens 10 --token-budget 16 --together 3 --blocks 16
measured a-refrain.speculation speculate "The cat sat on the mat. The dog sat on the log. The cat sat on the mat. The dog sat" --max-new-tokens 24
measured capitals.beams beams "The capital of France is Paris. The capital of Italy is" --max-new-tokens 8
