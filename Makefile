# `make demo` and `make test` each do everything on a fresh clone: environment, install, run.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
# basicsr is built from source and its build wants torch: the same constraints must reach that build too.
export PIP_CONSTRAINT = $(CURDIR)/constraints.txt
export PIP_BUILD_CONSTRAINT = $(CURDIR)/constraints.txt
export PIP_DISABLE_PIP_VERSION_CHECK = 1

.PHONY: demo test test-capped test-cluster soak lint docs wheels check-wheel clean
demo: $(VENV)/.installed
	$(BIN)/python tools/demo.py $(if $(DATA),--data "$(DATA)") $(ARGS)

# Each folder in a process of its own, as many at a time as there are cores; the failed ones are named at the end.
test: $(VENV)/.installed
	$(BIN)/python $(if $(ARGS),-m pytest $(ARGS),tests/run_folders.py)

# What depends on the processor, as one without VNNI, BF16 and AMX computes it. (oneDNN's own caps below AVX-512 confuse
# OpenVINO: int8 is off there.)
test-capped: $(VENV)/.installed
	ONEDNN_MAX_CPU_ISA=AVX512_CORE $(BIN)/python tests/run_folders.py -m isa

# Ray clusters of two nodes on this machine, one of which is killed. Minutes.
test-cluster: $(VENV)/.installed
	SRKD_CLUSTER=1 $(BIN)/python -m pytest tests/cluster tests/compression/test_on_ray.py --timeout 1800 $(ARGS)

# The long forms of tests/robustness (10,000 fuzzed inputs a reader, 2,000 mixed images, hundreds of kills), and then
# the whole suite over and over. Hours.
TIMES ?= 20
soak: $(VENV)/.installed
	SRKD_SOAK=1 $(BIN)/python -m pytest tests/robustness --timeout 10000 $(ARGS)
	for time in $$(seq $(TIMES)); do echo "suite, $$time of $(TIMES)"; $(MAKE) test ARGS= || exit 1; done

lint: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mypy --platform win32 --cache-dir .mypy_cache/win32
	$(BIN)/lint-imports

docs: $(VENV)/.installed
	$(BIN)/python tools/figures.py --check
	$(BIN)/mkdocs build --strict

# The wheels of srkd and of srkd-upscale, in dist/. The second exports every model of the zoo and compares it with torch.
wheels: $(VENV)/.installed
	$(BIN)/python tools/build_wheels.py $(ARGS)

# Builds srkd-upscale with one model, installs it into an environment of its own, and compares its pixels and its size.
check-wheel: $(VENV)/.installed
	$(BIN)/python tools/check_wheel.py $(ARGS)

$(VENV)/.installed: setup.cfg pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --use-pep517 --editable '.[adapters,cluster,deploy,dev,docs,encoders,fast,formats,litert,ncnn,report,serve,teachers,video]'
	touch $@

clean:
	rm -rf $(VENV) build dist *.egg-info
