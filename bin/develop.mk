# == Develop: for those who work on the recipe itself

test: lint .venv/dev.installed .venv/embedded.installed .venv/plot.installed ## lint, unit tests, the whole pipeline on a tiny model
	OPENBLAS_NUM_THREADS=1 bin/python -m pytest -n 2 --dist loadfile $(PYTEST)

lint: .venv/dev.installed ## ruff, shellcheck, and a lint for what macOS lacks
	.venv/bin/ruff check py tests
	.venv/bin/ruff format --check py tests
	.venv/bin/shellcheck bin/*.sh bin/python .ci/run
	bin/python py/lint_portability.py Makefile bin/*.mk bin/*.sh bin/python .ci/run

lock: .venv/dev.installed ## write the locks anew from py/*.in
	for group in requirements requirements-dev requirements-embedded requirements-plot requirements-cuda12 requirements-cuda13; do \
		.venv/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate \
			--no-emit-index-url --no-emit-find-links --custom-compile-command "make lock" \
			$$([ $$group = requirements-embedded ] && echo --no-deps) py/$$group.in -o py/$$group.lock || exit 1; \
	done

bench-blas: .venv/base.installed ## the speed of a float32 product with and without OpenBLAS
	@bin/python tests/bench_blas.py

bench-preflight: .venv/dev.installed ## preflight on 1,000 to 100,000 rows of DATA
	@bin/python tests/bench_preflight.py

bench-make: .venv/base.installed ## how long "nothing to do" takes, beside dvc and snakemake
	@bin/python tests/bench_make.py $(CONFIG)

test-faults: .venv/base.installed ## kill fifty builds at random, finish each: 20 minutes
	bin/python tests/faults.py

bench-train: .venv/base.installed | $(EMBEDDED) ## mlx_lm lora bare and followed, in turns
	@bin/python tests/bench_train.py $(BASE) $(DATA) 30

bench-evaluate: .venv/base.installed ## the ways of asking 27 prompts, in turns
	@bin/python tests/bench_evaluate.py $(BUILD)

.PHONY: test lint lock bench-blas bench-preflight bench-make test-faults bench-train bench-evaluate
