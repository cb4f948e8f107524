PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
REFSHAPES := outputs/refshapes
QUICKSTART := outputs/quickstart
# The installed release, as its source distribution is called.
TRANSFORMERS = transformers-$(shell $(BIN)/python -c 'from importlib.metadata import version; print(version("transformers"))')

.PHONY: help install demo test test-transformers lint format clean

help:
	@echo "make demo    install, make RefShapes, train, evaluate and ground an expression (a few minutes on 2 cores)"
	@echo "make test    install, check the style, run the tests"
	@echo "make test-transformers  run Transformers' own tests of models, configurations and processors on PLVL"
	@echo "make format  format the code and mend what ruff can mend"
	@echo "make clean   remove outputs/ (the environment stays)"

install: $(VENV)/.installed

# The stamp is newer than setup.cfg while the environment holds what setup.cfg asks for.
$(VENV)/.installed: setup.cfg pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $@

demo: install
	$(BIN)/python scripts/make_refshapes.py --output $(REFSHAPES) --num_images 1200 --seed 0
	$(BIN)/accelerate launch --config_file configuration/accelerate/cpu.yaml \
		scripts/run_grounding.py configuration/recipes/quickstart.yaml
	$(BIN)/python scripts/predict.py $(QUICKSTART)/example.png "$$(cat $(QUICKSTART)/example.txt)" \
		--model $(QUICKSTART) --output $(QUICKSTART)/prediction.png
	@echo
	@echo "The gallery of val pictures:  $(QUICKSTART)/gallery.png"
	@echo "The expression just grounded: $(QUICKSTART)/prediction.png"
	@echo "The numbers:                  $(QUICKSTART)/metrics.json"
	@echo "Model and processor:          $(QUICKSTART) (AutoModel.from_pretrained takes this folder)"

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

test: lint
	$(BIN)/python -m pytest

# Wheels carry no tests: they come with the source distribution, which is downloaded once for each release.
test-transformers: install
	test -d build/$(TRANSFORMERS)/tests || { \
		$(BIN)/python -m pip download --quiet --dest build --no-deps --no-binary transformers --no-build-isolation \
			$(subst transformers-,transformers==,$(TRANSFORMERS)) && \
		tar -xzf build/$(TRANSFORMERS).tar.gz -C build; }
	HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/transformers_suite

format: install
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf outputs build dist
