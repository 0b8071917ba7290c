# For those who work on the recipe itself: tests, lint, locks, benchmarks.

test: lint .venv/dev.installed .venv/embedded.installed .venv/plot.installed ## lint, then unit tests and the whole pipeline on a tiny model
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

bench-preflight: .venv/dev.installed ## time and memory of preflight for 1,000 to 100,000 rows of DATA
	@bin/python tests/bench_preflight.py

bench-make: .venv/base.installed ## how long "nothing to do" takes, beside dvc and snakemake
	@bin/python tests/bench_make.py $(CONFIG)

test-faults: .venv/base.installed ## kill fifty builds at random moments and finish each: 20 minutes
	bin/python tests/faults.py

bench-train: .venv/base.installed | $(EMBEDDED) ## the bare mlx_lm lora command and the followed one, in turns
	@bin/python tests/bench_train.py $(BASE) $(DATA) 30

bench-evaluate: .venv/base.installed ## one request at a time, concurrent, generate per prompt, and q5 itself
	@bin/python tests/bench_evaluate.py $(BUILD)

.PHONY: test lint lock bench-blas bench-preflight bench-make test-faults bench-train bench-evaluate
