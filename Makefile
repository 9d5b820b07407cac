# make demo: see it train. make test: see that it works. make test-all: every test.

PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/installed
VLLM_BIN := .venv-vllm/bin
VLLM_INSTALLED := .venv-vllm/installed

.PHONY: demo test test-all test-oldest test-ray test-trainers test-vllm experiments lint format clean install

demo: $(INSTALLED)
	$(BIN)/syngrpo train configs/demo.yaml

# Two processes of one thread each; the tests of a file stay together. What is marked slow is left
# out: each behaviour keeps a fast test. tests/conftest.py orders the files.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

test: $(INSTALLED)
	$(PYTEST) -m "not slow"

test-all: $(INSTALLED)
	$(PYTEST)

# Trainer ranks on a Ray cluster of this machine, really killed.
test-ray: $(INSTALLED)
	SYNGRPO_TEST_RAY=1 $(BIN)/python -m pytest tests/workflow/test_ray_train.py

# Other trainers around the data server (docs/trainers.md). verifiers comes into a folder of its own.
# ms-swift and verl want other versions than syngrpo: environments of their own, with the small
# distribution of the client.
VERIFIERS := build/verifiers
$(VERIFIERS)/installed: pyproject.toml constraints-verifiers.txt | $(INSTALLED)
	rm -rf $(VERIFIERS)
	$(BIN)/python -m pip install --disable-pip-version-check --quiet --no-deps --target $(VERIFIERS) -r constraints-verifiers.txt
	@touch $@

test-trainers: $(INSTALLED) $(VERIFIERS)/installed .venv-swift/installed .venv-verl/installed
	PYTHONPATH=$(VERIFIERS) OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/adapters tests/data_server/test_plain_trainer.py \
		tests/data_server/test_client_distribution.py

# The oldest transformers that pyproject.toml allows, in front of the environment's own.
OLDEST := build/oldest
$(OLDEST)/installed: pyproject.toml constraints-oldest.txt | $(INSTALLED)
	rm -rf $(OLDEST)
	$(BIN)/python -m pip install --disable-pip-version-check --quiet --no-deps --target $(OLDEST) -r constraints-oldest.txt
	@touch $@

test-oldest: $(OLDEST)/installed
	PYTHONPATH=$(OLDEST) $(PYTEST) tests/policy tests/rollout/test_native_rollout.py \
		tests/rollout/test_native_decoding.py tests/workflow/test_learner_against_plain.py \
		tests/workflow/test_final_model.py tests/test_oldest_versions.py

# vLLM wants other versions of torch and transformers: an environment of its own.
test-vllm: $(VLLM_INSTALLED)
	PYTHONPATH=tests/vllm_rollouts/site:tests/support $(VLLM_BIN)/python -m pytest tests/vllm_rollouts

# The matrix of methods and seeds on the rooms world: hours; goes on where it was stopped.
experiments: $(INSTALLED)
	$(BIN)/python -m experiments.rooms run --jobs 2
	$(BIN)/python -m experiments.rooms run --jobs 2 --part longer
	$(BIN)/python -m experiments.rooms run --jobs 2 --part images
	$(BIN)/python -m experiments.rooms labels
	$(BIN)/python -m experiments.rooms dependence
	$(BIN)/python -m experiments.rooms report

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

format: $(INSTALLED)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf .venv .venv-swift .venv-verl .venv-vllm build dist .pytest_cache .ruff_cache .mypy_cache .import_linter_cache src/*.egg-info
	find src tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +

install: $(INSTALLED)

$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "error: $(PYTHON) is missing or older than Python 3.11; run: make PYTHON=python3.12" >&2; \
		exit 2; }
	@$(PYTHON) -c 'import ensurepip, venv' || { \
		echo "error: $(PYTHON) cannot make virtual environments; install its venv package" >&2; \
		exit 2; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt -e ".[dev]"
	@touch $@

$(VLLM_INSTALLED): pyproject.toml constraints-vllm.txt
	$(PYTHON) -m venv .venv-vllm
	$(VLLM_BIN)/python -m pip install --disable-pip-version-check torch==2.13.0
	$(VLLM_BIN)/python -m pip install --disable-pip-version-check --no-deps -r constraints-vllm.txt -e .
	@touch $@

# The client is built from a copy, because setuptools writes beside the source.
.venv-%/installed: constraints-%.txt packages/client/pyproject.toml
	rm -rf build/client
	mkdir -p build/client/src
	cp -r packages build/client
	cp -r src/syngrpo src/syngrpo_rooms build/client/src
	$(PYTHON) -m venv .venv-$*
	.venv-$*/bin/python -m pip install --disable-pip-version-check --no-deps -r constraints-$*.txt ./build/client/packages/client
	@touch $@
