# `make demo`, `make test`, `make test-peers`, `make examples`, `make bench`, `make lint`, `make stubs`, `make clean`.
# Each sets up what it needs: a virtual environment in .venv, one build in build/, the package installed into .venv.
PYTHON ?= python3
BUILD ?= build
VENV ?= .venv
BIN := $(CURDIR)/$(VENV)/bin
JOBS ?= $(shell nproc 2>/dev/null || echo 2)

.PHONY: demo test test-cpp test-python test-peers examples bench lint stubs install clean

demo: install
	cd examples/python && $(BIN)/python mnist_lenet5.py

test: test-cpp test-python

test-cpp: install
	$(BIN)/ctest --test-dir $(BUILD) --output-on-failure -j $(JOBS)

test-python: install
	$(BIN)/python -m pytest

# PyTorch is large: only the comparison asks for it, and takes one that is there.
test-peers: install
	$(BIN)/python -c "import torch" 2>/dev/null || $(BIN)/pip install -q torch==2.13.0
	$(BIN)/python -c "import safetensors" 2>/dev/null || $(BIN)/pip install -q safetensors
	$(BIN)/python -m pytest -m peers

# Every example on a short setting, the C++ ones against the installed tree.
examples: install
	$(BIN)/cmake --install $(BUILD) --prefix $(BUILD)/install --component development > /dev/null
	$(BIN)/cmake -G Ninja -S examples/cpp -B $(BUILD)/examples -DCMAKE_PREFIX_PATH=$(CURDIR)/$(BUILD)/install \
	  -DCMAKE_MAKE_PROGRAM=$(BIN)/ninja > /dev/null
	$(BIN)/cmake --build $(BUILD)/examples
	$(BIN)/python examples/run_all.py --short --cpp $(BUILD)/examples

bench: install
	$(BIN)/cmake -B $(BUILD) -DLANNER_BENCH=ON > /dev/null
	$(BIN)/cmake --build $(BUILD) -j $(JOBS)
	for b in $(BUILD)/bench/*_bench; do $$b $(BENCH_ARGS) || exit 1; done

lint: install $(VENV)/.lint
	git ls-files '*.cpp' '*.h' | xargs $(BIN)/clang-format --dry-run --Werror
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy --strict python/lanner
	$(BIN)/python tests/python/test_structure.py
	$(BIN)/python python/bindings/make_stubs.py --check

# The committed _core.pyi, made anew from the extension.
stubs: install $(VENV)/.lint
	$(BIN)/python python/bindings/make_stubs.py

install: $(VENV)/.tools
	PATH="$(BIN):$$PATH" CMAKE_BUILD_PARALLEL_LEVEL=$(JOBS) $(BIN)/pip install -q --no-build-isolation --no-deps \
	  -C build-dir=$(BUILD) -C cmake.define.LANNER_TESTS=ON .

$(VENV)/.tools: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -q --upgrade pip
	$(BIN)/pip install -q cmake ninja "scikit-build-core>=0.10" "pybind11>=3.0" "nlohmann-json>=3.11" "numpy>=1.24" "tqdm>=4.60" \
	  "pytest>=7" "hypothesis>=6" "matplotlib>=3.6" "scikit-learn>=1.2" "sacrebleu>=2.4"
	@# GoogleTest and google-benchmark from the system where that may be asked; else CMake fetches them.
	@if [ "$$(id -u)" = 0 ] && command -v apt-get > /dev/null && ! dpkg -s libgtest-dev libbenchmark-dev > /dev/null 2>&1; then \
	  apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install -y libgtest-dev libbenchmark-dev > /dev/null || true; fi
	@touch $@

$(VENV)/.lint: $(VENV)/.tools
	$(BIN)/pip install -q ruff==0.17.6 mypy==2.4.1 clang-format==18.1.8 pybind11-stubgen==3.0.0
	@touch $@

clean:
	rm -rf $(BUILD) $(VENV)
