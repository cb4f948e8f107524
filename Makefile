PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEMO_DATA := outputs/refshapes_hourglass
DEMO := outputs/demo
# The installed release, as its source distribution is called.
TRANSFORMERS = transformers-$(shell $(BIN)/python -c 'from importlib.metadata import version; print(version("transformers"))')

TINY_DATA := outputs/refshapes_tiny
# The first 8,000 images of the same set, whose val, testA and testB are evaluated.
TINY_EVALUATION := outputs/refshapes_tiny_evaluation
TINY := outputs/plvl-tiny-refshapes
# Where reproduce-tiny puts the checkpoint and what it makes of the typed expressions; what is there is replaced.
BUNDLE ?= checkpoints/plvl-tiny-refshapes
TYPED ?= docs/typed_expressions.md

BENCHMARKS := outputs/benchmarks
# Real images, if there are any, in a folder with images/ and labels/refcoco, and the models whose boxes are compared
# on them: a trained one and the base model with the weights of the reference run.
IMAGES ?= $(wildcard ../shared/mini_refer)
MODEL ?= checkpoints/plvl-tiny-refshapes
RANDOM_MODEL := $(BENCHMARKS)/reference_model

.PHONY: help install demo reproduce-tiny reproduce-photos benchmark check-gpu test test-lowest test-transformers \
	test-demo test-deploy test-processes coverage docs fuzz mutants lint format clean

help:
	@echo "make demo    install, teach the carried checkpoint of shapes a new one, say what that changed (minutes on 2 cores)"
	@echo "make benchmark  measure speed and memory, write docs/performance.md (about 15 minutes on 2 cores)"
	@echo "make check-gpu  check and measure all that needs a GPU, in at most 8 minutes, without installing (docs/performance.md)"
	@echo "make reproduce-tiny  make the set, train the checkpoint that the project carries, evaluate and bundle it (hours)"
	@echo "make reproduce-photos PHOTOS=DIR  train, evaluate and bundle the checkpoint of photographs (hours)"
	@echo "make test    install, check style and types, run the tests"
	@echo "make coverage  the tests, and how much of each room they run"
	@echo "make test-lowest  the tests with the lowest versions that setup.cfg admits, in an environment of their own"
	@echo "make docs    build the pages and the API reference into outputs/site"
	@echo "make mutants break the product at random places and see which breaks no test notices (see CONTRIBUTING.md)"
	@echo "make test-transformers  run Transformers' own tests of models, configurations and processors on PLVL"
	@echo "make test-processes  run the tests of trainings of several processes, and of killed ones (minutes)"
	@echo "make test-deploy  run the tests of what plvl export writes (minutes)"
	@echo "make test-demo  run the page of plvl demo in Chromium (Debian: chromium and chromium-driver)"
	@echo "make fuzz    read label files damaged in thousands of ways (minutes)"
	@echo "make format  format the code and mend what ruff can mend"
	@echo "make clean   remove outputs/ (the environment stays)"

install: $(VENV)/.installed

# The stamp is newer than setup.cfg while the environment holds what setup.cfg asks for.
$(VENV)/.installed: setup.cfg pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $@

# An image of testC, and an expression about it.
IMAGE := $(DEMO_DATA)/images/mscoco/images/train2014/refshapes_000120.jpg
EXPRESSION := the hourglass
# One thread computes, the other core reads images.
DEMO_RUN := $(BIN)/accelerate launch --config_file configuration/accelerate/cpu.yaml --num_cpu_threads_per_process 1 \
	scripts/run_grounding.py configuration/recipes/demo.yaml

demo: install
	$(BIN)/python scripts/make_refshapes.py --output $(DEMO_DATA) --num_images 1000 --seed 0 --new_shape hourglass
	$(DEMO_RUN) --do_train false --gallery_size 0 --output_dir $(DEMO)/before
	$(DEMO_RUN)
	$(BIN)/python scripts/predict.py $(IMAGE) "$(EXPRESSION)" --model shapes --output $(DEMO)/before/prediction.png
	$(BIN)/python scripts/predict.py $(IMAGE) "$(EXPRESSION)" --model $(DEMO) --output $(DEMO)/prediction.png
	@echo
	@echo "What training changed. testC: hourglasses, which the checkpoint had never seen; val: the shapes that it knew."
	@$(BIN)/python tools/before_and_after.py $(DEMO)/before $(DEMO)
	@echo
	@echo "\"$(EXPRESSION)\" before training, and after:           $(DEMO)/before/prediction.png $(DEMO)/prediction.png"
	@echo "Images of testC, the truth in green, the answer in red: $(DEMO)/gallery.png"
	@echo "The numbers:                                              $(DEMO)/metrics.json"
	@echo "Model and processor, for AutoModel.from_pretrained:       $(DEMO)"

# Each of two processes computes with one thread; a run that was stopped goes on where it was.
TINY_RUN := $(BIN)/accelerate launch --config_file configuration/accelerate/2_cpu_processes.yaml \
	--num_cpu_threads_per_process 1 scripts/run_grounding.py

reproduce-tiny: install $(TINY_DATA).made $(TINY_EVALUATION).made
	$(TINY_RUN) configuration/recipes/refshapes_tiny.yaml
	$(TINY_RUN) configuration/recipes/evaluate_refshapes_tiny.yaml
	$(BIN)/python tools/eval_by_kind.py --predictions $(TINY) --label_root $(TINY_EVALUATION)/labels
	$(BIN)/python tools/bundle_checkpoint.py shapes --model $(TINY) --output $(BUNDLE) --replace --half
	$(BIN)/python tools/eval_human_expressions.py --model $(BUNDLE) --output $(TYPED)

# All of it again, for whoever has the photographs in a folder (docs/photographs.md): make reproduce-photos PHOTOS=...
PHOTOS ?= photos
PHOTOS_MODEL := outputs/plvl-small-photos
PHOTOS_BUNDLE ?= checkpoints/plvl-small-photos
PHOTOS_GALLERY ?= docs/photographs.jpg
ANY_DATA := outputs/refshapes_any

reproduce-photos: install
	$(BIN)/python tools/prepare_photos.py --photos $(PHOTOS) --output outputs
	$(BIN)/plvl data colors outputs/photos/labels/coco/instances_train.json \
		--image_root outputs/photos/images/mscoco/images/train2014 \
		--output outputs/photos_colored/instances_train.json
	$(BIN)/python scripts/make_refshapes.py --output $(ANY_DATA) --num_images 16000 --seed 0 --none_rate 0.3 \
		--several_rate 0.2 --num_workers 2
	$(TINY_RUN) configuration/recipes/refshapes_any.yaml
	$(TINY_RUN) configuration/recipes/photos_coarse.yaml
	$(TINY_RUN) configuration/recipes/photos_fine.yaml
	$(TINY_RUN) configuration/recipes/photos_small.yaml
	$(TINY_RUN) configuration/recipes/evaluate_photos_small.yaml
	$(BIN)/python tools/bundle_checkpoint.py photos --model $(PHOTOS_MODEL) --output $(PHOTOS_BUNDLE) --replace --half
	$(BIN)/python tools/photo_gallery.py --model $(PHOTOS_BUNDLE) --output $(PHOTOS_GALLERY)

# A run that goes on does not make its images again.
$(TINY_DATA).made: NUM_IMAGES := 60000
$(TINY_EVALUATION).made: NUM_IMAGES := 8000
%.made: $(wildcard data/refshapes/*.py) | install
	$(BIN)/python scripts/make_refshapes.py --output $* --num_images $(NUM_IMAGES) --seed 0 --num_workers 2
	touch $@

benchmark: install $(if $(IMAGES),$(RANDOM_MODEL)) $(BENCHMARKS)/refshapes
	$(BIN)/python tools/benchmark.py model --output $(BENCHMARKS)/model.json \
		$(if $(IMAGES),--model $(MODEL) --random_model $(RANDOM_MODEL) --images $(IMAGES))
	$(BIN)/python tools/benchmark.py train --output $(BENCHMARKS)/train.json
	$(BIN)/python tools/benchmark.py data --output $(BENCHMARKS)/data.json --dataset refshapes \
		--image_root $(BENCHMARKS)/refshapes/images --label_root $(BENCHMARKS)/refshapes/labels
	$(BIN)/python tools/benchmark.py export --output $(BENCHMARKS)/export.json
	$(BIN)/python tools/benchmark.py folder --output $(BENCHMARKS)/folder.json
	$(BIN)/python tools/benchmark.py report $(BENCHMARKS)/*.json --output docs/performance.md

# On a machine that has PyTorch for its GPU: with .venv if it is there, else with that machine's own packages.
check-gpu:
	$(if $(wildcard $(BIN)/python),$(BIN)/python,$(PYTHON)) tools/check_gpu.py --output $(BENCHMARKS)/gpu_check.json \
		$(if $(WHEELS),--wheels $(WHEELS))

$(RANDOM_MODEL): | install
	$(BIN)/python tests/reference_values.py --model $@

$(BENCHMARKS)/refshapes: | install
	$(BIN)/python scripts/make_refshapes.py --output $@ --num_images 200 --seed 0

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python tools/lint_modeling.py

# As where text files are ASCII unless a program says otherwise: every open() of text names its encoding.
ASCII := LC_ALL=C PYTHONUTF8=0 PYTHONCOERCECLOCALE=0

test: lint
	$(ASCII) OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses 2 --dist loadfile -m "not several_processes"

# Trainings of two processes each, which have both cores to themselves.
test-processes: install
	HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m several_processes

ROOMS := configuration modeling_plvl processing data training scripts
coverage: install
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses 2 --dist loadfile $(ROOMS:%=--cov=%) --cov-report=term:skip-covered

# What `plvl export` writes, answered by each runtime.
test-deploy: install
	$(ASCII) HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses 2 --dist loadfile tests/deploy

LOWEST := .venv-lowest
test-lowest:
	test -x $(LOWEST)/bin/python || $(PYTHON) -m venv $(LOWEST)
	$(PYTHON) tests/lowest_versions.py > $(LOWEST)/constraints.txt
	$(LOWEST)/bin/python -m pip install --quiet --editable '.[dev]' --constraint $(LOWEST)/constraints.txt
	OMP_NUM_THREADS=1 $(LOWEST)/bin/python -m pytest --numprocesses 2 --dist loadfile
	OMP_NUM_THREADS=1 $(LOWEST)/bin/python -m pytest --numprocesses 2 --dist loadfile tests/deploy

docs: $(VENV)/.installed-docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet

$(VENV)/.installed-docs: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --editable '.[dev,docs]'
	touch $@

# What tests/mutants.py takes: files or folders, --number, --seed, --without.
MUTANTS ?= --number 40 --seed 0

mutants: install
	$(BIN)/python tests/mutants.py $(MUTANTS)

# Wheels carry no tests: they come with the source distribution, which is downloaded once for each release.
test-transformers: install
	test -d build/$(TRANSFORMERS)/tests || { \
		$(BIN)/python -m pip download --quiet --dest build --no-deps --no-binary transformers --no-build-isolation \
			$(subst transformers-,transformers==,$(TRANSFORMERS)) && \
		tar -xzf build/$(TRANSFORMERS).tar.gz -C build; }
	HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/transformers_suite

# Damaged label files, by the thousand.
fuzz: install
	PLVL_FUZZ_EXAMPLES=1000 OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses 2 tests/data/test_damaged_labels.py

test-demo: $(VENV)/.installed-demo
	HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/demo_in_browser

$(VENV)/.installed-demo: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --editable '.[dev,demo,demo-test]'
	touch $@

format: install
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf outputs build dist
